"""VGG11 with instance or batch norm, as in the official code (DC `networks.py`)."""

from flax import linen as nn

from jaxdd.nets.classic import PlainBlock
from jaxdd.nets.layers import Dense, first_padding, flatten
from jaxdd.types import Array, Outputs

# Output channels of each convolution, and whether 2x2 max pooling follows.
VGG11_BLOCKS = (
    (64, True),
    (128, True),
    (256, False),
    (256, True),
    (512, False),
    (512, True),
    (512, False),
    (512, True),
)


class VGG11(nn.Module):
    """Eight 3x3 convolutions, one affine layer; 9 231 114 parameters at 32x32x3.

    The head reads the whole last map, which is 1x1 at 32x32. The official head is
    512 -> classes at every size and so runs at 32x32 only.
    """

    num_classes: int
    norm: str = "instance"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        features, maps = [], []
        for i, (width, pool) in enumerate(VGG11_BLOCKS):
            padding = first_padding(x.shape[1:], 1) if i == 0 else 1
            block = PlainBlock(width, 3, padding, self.norm, pool, name=f"block{i}")
            x, before = block(x, train)
            features.append(flatten(x))
            maps.append(before)
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features), tuple(maps))
