"""ConvNet: the network of nearly all published dataset distillation."""

from flax import linen as nn

from jaxdd.nets.conv import avg_pool1d, avg_pool2, max_pool1d, max_pool2
from jaxdd.nets.layers import ACTIVATIONS, Conv, Dense, Norm, first_padding, flatten
from jaxdd.types import Array, Outputs

POOLINGS = {"avg": avg_pool2, "max": max_pool2, "none": lambda x: x}
POOLINGS_IN_TIME = {"avg": avg_pool1d, "max": max_pool1d, "none": lambda x: x}


class ConvBlock(nn.Module):
    """3x3 convolution, norm, activation, pooling: [B, H, W, C] -> [B, h, w, width].

    It returns the map after pooling and the one before. With `in_time` kernel and
    pooling reach along the first axis alone.
    """

    width: int
    norm: str
    activation: str
    pooling: str
    padding: int = 1
    in_time: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        along = self.in_time
        x = Conv(self.width, padding=self.padding, in_time=along, name="conv")(x)
        x = Norm(self.norm, name="norm")(x, train)
        x = ACTIVATIONS[self.activation](x)
        poolings = POOLINGS_IN_TIME if self.in_time else POOLINGS
        return poolings[self.pooling](x), x


class ConvNet(nn.Module):
    """`depth` blocks and one affine layer; 320 010 parameters at 32x32x3, 10 classes.

    Source: DC `networks.py` (ConvNet), the same in DSA, DM, MTT, FTD, TESLA, DATM, PAD.
    The head reads the last map flattened, [B, h * w * width]. Sequences [B, L, C] are
    seen as [B, L, 1, C] (ours): kernels of 3, pooling over 2 steps in time.
    """

    num_classes: int
    width: int = 128
    depth: int = 3
    norm: str = "instance"
    activation: str = "relu"
    pooling: str = "avg"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        options = self.width, self.norm, self.activation, self.pooling
        in_time = x.ndim == 3
        x = x[:, :, None] if in_time else x
        features, maps = [], []
        for i in range(self.depth):
            padding = first_padding(x.shape[1:], 1) if i == 0 else 1
            block = ConvBlock(*options, padding, in_time, name=f"block{i}")
            x, before = block(x, train)
            features.append(flatten(x))
            maps.append(before)
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features), tuple(maps))


# Share of a new batch in the running statistics of `DoublingConvNet` (FRePo).
FRESH_SHARE = 0.9


class DoublingBlock(nn.Module):
    """Norm, 3x3 convolution, activation, 2x2 pooling of [B, H, W, C]."""

    width: int
    norm: str
    activation: str
    padding: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = Norm(self.norm, FRESH_SHARE, unbiased=False, name="norm")(x, train)
        x = Conv(self.width, padding=self.padding, name="conv")(x)
        return avg_pool2(ACTIVATIONS[self.activation](x))


class DoublingConvNet(nn.Module):
    """ConvNet whose blocks double in channels: width, 2 width, 4 width, ...

    Blocks after the first have their norm in front of the convolution. Source: the
    official code of FRePo (batch norm where it matches) and RCIG (no norm).
    """

    num_classes: int
    width: int = 128
    depth: int = 3
    norm: str = "none"
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        features = []
        for i in range(self.depth):
            block = DoublingBlock(
                self.width * 2**i,
                self.norm if i else "none",
                self.activation,
                1 if i else first_padding(x.shape[1:], 1),
                name=f"block{i}",
            )
            x = block(x, train)
            features.append(flatten(x))
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features))
