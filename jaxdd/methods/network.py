"""The network of a run and the precision of its products, as choices."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxdd.data import Dataset
from jaxdd.devices import policy
from jaxdd.devices.precision import AUTO, PRECISIONS
from jaxdd.fields import Choice, option
from jaxdd.nets import NETS, make_network
from jaxdd.nets.layers import ACTIVATIONS
from jaxdd.nets.registry import MAX_DEPTH
from jaxdd.types import Network


def network_size(dataset: str, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, depth) of the ConvNet.

    The field's ConvNet has width 128 and as many blocks as leave 4 pixels along the
    shorter side: 3 at 28 and 32 pixels, 4 at 64, 5 at 128; of a sequence, 4 steps
    (ours). `digits` (8x8) gets width 32 and depth 2 (ours), and `waves` width 32, for
    speed.
    """
    if dataset == "digits":
        return 32, 2
    side = max(8, min(image_shape[:-1], default=8))
    depth = max(1, int(math.log2(side / 4) + 0.5))
    if len(image_shape) == 2:
        return 32 if dataset == "waves" else 128, min(depth, MAX_DEPTH)
    return 128, depth


@dataclass(frozen=True, kw_only=True)
class PrecisionFlag:
    """The flag of every program that computes with networks."""

    precision: str = option(
        AUTO,
        "precision of the products in networks: float32, tf32 (NVIDIA GPUs), bfloat16 "
        "(sums in float32), or auto, the fastest one that this device has and at which "
        "accuracy was shown to hold there",
        choices=(*PRECISIONS, AUTO),
    )


@dataclass(frozen=True, kw_only=True)
class Arithmetic(PrecisionFlag, Choice):
    """The precision of the products in networks; everything else is float32."""

    subject: ClassVar[str] = "the arithmetic"

    def resolved(self) -> "Arithmetic":
        """The same without "auto".

        Raises:
            UserError: the device in use has no such precision.
        """
        return Arithmetic(precision=policy.resolved(self.precision))


@dataclass(frozen=True)
class NetworkSpec(Choice):
    """A network by name, with what differs from its defaults.

    Attributes:
        net: a name in `nets.NETS`.
        width, depth: channels and blocks; of a ConvNet None stands for the field's.
        norm, activation, pooling: None for the network's own.
        match_norm, match_activation: of the networks that are matched, where these
            differ from those that are evaluated (FRePo, RCIG).
    """

    subject: ClassVar[str] = "the network"

    net: str = option(
        "convnet",
        f"network that is matched and evaluated: {', '.join(NETS)}; default: convnet, "
        "or the one that the method was published with; mlp for vectors and convnet1d "
        "for sequences",
        choices=NETS,
        often=True,
    )
    width: int | None = option(
        None,
        "width of the network: channels of a ConvNet's blocks, units of an MLP's "
        "layers; default: its usual one",
        above=0,
        often=True,
    )
    depth: int | None = option(
        None,
        "number of blocks of the ConvNet; default: as many as leave 4 pixels "
        "along the shorter side",
        above=0,
    )
    norm: str | None = option(
        None,
        "normalisation layers of the network: instance, batch, layer, group or "
        "none; default: the network's own",
    )
    activation: str | None = option(
        None,
        f"activation function of the network: {', '.join(ACTIVATIONS)}; default: the "
        "network's own",
    )
    pooling: str | None = option(
        None,
        "pooling layers of the network: avg, max or none; default: the network's own",
    )
    match_norm: str | None = option(
        None,
        "normalisation layers of the networks that are matched; default: those of the "
        "networks that are evaluated",
    )
    match_activation: str | None = option(
        None,
        "activation function of the networks that are matched; default: that of the "
        "networks that are evaluated",
    )

    @property
    def published_name(self) -> str:
        """The name under which presets know the network."""
        if self.norm == "batch" and not self.net.endswith("_bn"):
            return f"{self.net}_bn"  # the same network under its other name
        return self.net

    def sized(self, dataset: Dataset) -> "NetworkSpec":
        """The same network with a size, where it is a ConvNet."""
        if not self.net.startswith("convnet"):
            return self
        width, depth = network_size(dataset.name, dataset.image_shape)
        return dataclasses.replace(
            self,
            width=width if self.width is None else self.width,
            depth=depth if self.depth is None else self.depth,
        )

    @property
    def matched(self) -> "NetworkSpec":
        """The networks that are matched."""
        return dataclasses.replace(
            self,
            norm=self.norm if self.match_norm is None else self.match_norm,
            activation=self.activation
            if self.match_activation is None
            else self.match_activation,
        )

    def options(self) -> dict[str, Any]:
        """Name and options of what is evaluated, as artifacts have them."""
        options = dataclasses.asdict(self)
        name = options.pop("net")
        for matched in ("match_norm", "match_activation"):
            options.pop(matched)
        return {"name": name, **{k: v for k, v in options.items() if v is not None}}

    def make(self, dataset: Dataset, arithmetic: Arithmetic) -> Network:
        """The network for the images and classes of a dataset.

        Raises:
            UserError: it has no such option, or the images do not fit.
        """
        return network_for(dataset, self.options(), arithmetic.precision)


def network_for(dataset: Dataset, options: dict[str, Any], precision: str) -> Network:
    """The network of stored options, for the images and classes of a dataset."""
    rest = {name: value for name, value in options.items() if name != "name"}
    return make_network(
        options["name"],
        dataset.image_shape,
        dataset.num_classes,
        precision=precision,
        **rest,
    )
