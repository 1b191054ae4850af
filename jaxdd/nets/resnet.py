"""ResNet18: for small images as in DC's `networks.py`, and as for ImageNet."""

import jax
from flax import linen as nn

from jaxdd.nets.conv import avg_pool2, max_pool3
from jaxdd.nets.layers import Conv, Dense, Norm, flatten
from jaxdd.types import Array, Outputs

BLOCKS_PER_STAGE = (2, 2, 2, 2)


class Stem(nn.Module):
    """3x3 convolution, norm, ReLU: [B, H, W, C] -> [B, H, W, width].

    With the kind "imagenet" a 7x7 convolution with stride 2, and 3x3 maxima with stride
    2 behind the ReLU: a quarter of the height and the width.
    """

    width: int
    norm: str
    kind: str = "small"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        size, stride, padding = (3, 1, 1) if self.kind == "small" else (7, 2, 3)
        x = Conv(self.width, size, stride, padding, bias=False, name="conv")(x)
        x = jax.nn.relu(Norm(self.norm, name="norm")(x, train))
        return x if self.kind == "small" else max_pool3(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, H, W, C] -> [B, h, w, width].

    If it halves the map, the first convolution and that of the shortcut have a stride
    of 2, or with the pooling "avg" a stride of 1 and 2x2 means: after the first ReLU,
    and in the shortcut between convolution and norm.
    """

    width: int
    norm: str
    halve: bool
    pooling: str

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        pools = self.halve and self.pooling == "avg"
        stride = 2 if self.halve and not pools else 1
        shrink = avg_pool2 if pools else lambda x: x
        y = Conv(self.width, 3, stride, 1, bias=False, name="conv1")(x)
        y = shrink(jax.nn.relu(Norm(self.norm, name="norm1")(y, train)))
        y = Conv(self.width, 3, padding=1, bias=False, name="conv2")(y)
        y = Norm(self.norm, name="norm2")(y, train)
        if self.halve or x.shape[-1] != self.width:
            x = Conv(self.width, 1, stride, bias=False, name="shortcut_conv")(x)
            x = Norm(self.norm, name="shortcut_norm")(shrink(x), train)
        return jax.nn.relu(x + y)


class ResNet18(nn.Module):
    """Stem, eight residual blocks and one affine layer; 11 173 962 parameters.

    With the pooling "avg" it is the official ResNet18_AP (DC, in MTT's table across
    architectures): maps are halved by 2x2 means instead of strides, and the head reads
    the last map flattened instead of its mean; 11 250 762 parameters.

    Two differences from the official code (ours). Without pooling the whole last map is
    averaged instead of `avg_pool(4)`: equal from 25 to 32 pixels, where it is 4x4. And
    a stage that would leave a 1x1 map (8 pixels and less) keeps its size, because the
    instance norm of a 1x1 map is a constant and no gradient would pass.

    With the stem "imagenet" it is the network of He et al., CVPR 2016, as torchvision
    has it: every stage but the first halves its map, however small; 11 689 512
    parameters for 1000 classes.

    Blocks are numbered consecutively; block0 is the stem. The last features are the
    input of the head.
    """

    num_classes: int
    width: int = 64
    norm: str = "instance"
    pooling: str = "none"
    stem: str = "small"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        x = Stem(self.width, self.norm, self.stem, name="block0")(x, train)
        smallest = 2 if self.stem == "small" else 0
        features, maps = [flatten(x)], [x]
        for stage, blocks in enumerate(BLOCKS_PER_STAGE):
            for i in range(blocks):
                halve = stage > 0 and i == 0 and min(x.shape[1:3]) > smallest
                block = BasicBlock(
                    self.width * 2**stage,
                    self.norm,
                    halve,
                    self.pooling,
                    name=f"block{len(features)}",
                )
                x = block(x, train)
                features.append(flatten(x))
                maps.append(x)
        if self.pooling == "none":
            features[-1] = x.mean((1, 2))
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features), tuple(maps))
