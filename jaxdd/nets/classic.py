"""MLP, LeNet and AlexNet, as in the official evaluation pools (DC `networks.py`)."""

import jax
from flax import linen as nn

from jaxdd.nets.conv import max_pool2
from jaxdd.nets.layers import Conv, Dense, Norm, first_padding, flatten
from jaxdd.types import Array, Outputs


class DenseBlock(nn.Module):
    """Affine layer and ReLU: [B, F] -> [B, width]."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(Dense(self.width, name="dense")(x))


class PlainBlock(nn.Module):
    """Convolution, norm, ReLU and perhaps 2x2 max pooling of [B, H, W, C].

    It returns the map after pooling and the one before.
    """

    width: int
    size: int = 3
    padding: int = 1
    norm: str = "none"
    pool: bool = True

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        x = Conv(self.width, self.size, padding=self.padding, name="conv")(x)
        x = jax.nn.relu(Norm(self.norm, name="norm")(x, train))
        return max_pool2(x) if self.pool else x, x


class MLP(nn.Module):
    """Two hidden layers, 411 146 parameters at 32x32x3 and 10 classes."""

    num_classes: int
    width: int = 128

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        del train
        first = DenseBlock(self.width, name="block0")(flatten(x))
        second = DenseBlock(self.width, name="block1")(first)
        logits = Dense(self.num_classes, name="head")(second)
        return Outputs(logits, (first, second))


class LeNet(nn.Module):
    """Two 5x5 convolutions, two hidden layers; 62 006 parameters at 32x32x3."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        # The first convolution has no padding (32 -> 28), except for 28x28x1 images.
        padding = first_padding(x.shape[1:], 0)
        x, first = PlainBlock(6, 5, padding, name="block0")(x, train)
        features = [flatten(x)]
        x, second = PlainBlock(16, 5, 0, name="block1")(x, train)
        features.append(flatten(x))
        features.append(DenseBlock(120, name="block2")(features[-1]))
        features.append(DenseBlock(84, name="block3")(features[-1]))
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features), (first, second))


class AlexNet(nn.Module):
    """Five convolutions, one affine layer; 1 872 202 parameters at 32x32x3.

    Without norm and dropout; with norm="batch" it is the official AlexNetBN.
    """

    num_classes: int
    norm: str = "none"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Outputs:
        blocks = (
            PlainBlock(128, 5, first_padding(x.shape[1:], 2), self.norm, name="block0"),
            PlainBlock(192, 5, 2, self.norm, name="block1"),
            PlainBlock(256, 3, 1, self.norm, pool=False, name="block2"),
            PlainBlock(192, 3, 1, self.norm, pool=False, name="block3"),
            PlainBlock(192, 3, 1, self.norm, name="block4"),
        )
        features, maps = [], []
        for block in blocks:
            x, before = block(x, train)
            features.append(flatten(x))
            maps.append(before)
        logits = Dense(self.num_classes, name="head")(features[-1])
        return Outputs(logits, tuple(features), tuple(maps))
