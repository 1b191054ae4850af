"""ResNet18 for small images, as in the official code (DC `networks.py`)."""

import jax
from flax import linen as nn

from jaxdd.nets.layers import Conv, Dense, Norm, flatten
from jaxdd.types import Array, Outputs

BLOCKS_PER_STAGE = (2, 2, 2, 2)


class Stem(nn.Module):
    """3x3 convolution, norm, ReLU: [B, H, W, C] -> [B, H, W, width]."""

    width: int
    norm: str

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = Conv(self.width, padding=1, bias=False, name="conv")(x)
        return jax.nn.relu(Norm(self.norm, name="norm")(x, train))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, H, W, C] -> [B, h, w, width]."""

    width: int
    norm: str
    stride: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        stride = self.stride
        y = Conv(self.width, 3, stride, 1, bias=False, name="conv1")(x)
        y = jax.nn.relu(Norm(self.norm, name="norm1")(y, train))
        y = Conv(self.width, 3, padding=1, bias=False, name="conv2")(y)
        y = Norm(self.norm, name="norm2")(y, train)
        if stride > 1 or x.shape[-1] != self.width:
            x = Conv(self.width, 1, stride, bias=False, name="shortcut_conv")(x)
            x = Norm(self.norm, name="shortcut_norm")(x, train)
        return jax.nn.relu(x + y)


class ResNet18(nn.Module):
    """Stem, eight residual blocks and one affine layer; 11 173 962 parameters.

    Two steps away from the official code, equal to it from 25 to 32 pixels, where the
    last map is 4x4. The last map is averaged as a whole, not by `avg_pool(4)`. And a
    stage whose stride would leave a 1x1 map (8 pixels and less) keeps its size, because
    the instance norm of a 1x1 map is a constant and no gradient would pass.

    Blocks are numbered through: block0 is the stem. The last features are the averaged
    ones, which the head reads.
    """

    num_classes: int
    width: int = 64
    norm: str = "instance"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        x = Stem(self.width, self.norm, name="block0")(x, train)
        features = [flatten(x)]
        for stage, blocks in enumerate(BLOCKS_PER_STAGE):
            for i in range(blocks):
                halve = stage > 0 and i == 0 and min(x.shape[1:3]) > 2
                block = BasicBlock(
                    self.width * 2**stage,
                    self.norm,
                    stride=2 if halve else 1,
                    name=f"block{len(features)}",
                )
                x = block(x, train)
                features.append(flatten(x))
        features[-1] = x.mean((1, 2))
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features))
