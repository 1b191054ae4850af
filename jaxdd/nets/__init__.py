"""Networks by name: `make_network("convnet", (32, 32, 3), num_classes=10)`.

registry   `NETS`, the list of networks; a new one is a file here and a line there
convnet classic vgg resnet   the networks as flax modules
layers     their layers, with PyTorch's definitions
draws      their initial parameters and running statistics
conv       convolution and pooling
own        a network of other JAX code
"""

from jaxdd.nets.conv import avg_pool2, conv2d, max_pool2
from jaxdd.nets.own import as_network
from jaxdd.nets.registry import (
    NETS,
    has_batch_statistics,
    make_network,
    told_moments,
)

__all__ = [
    "NETS",
    "as_network",
    "avg_pool2",
    "conv2d",
    "has_batch_statistics",
    "make_network",
    "max_pool2",
    "told_moments",
]
