"""Networks by name and options, as pairs of pure functions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdd.devices import policy
from jaxdd.devices.precision import AUTO
from jaxdd.errors import UserError, quoted
from jaxdd.fields.code import is_ours
from jaxdd.modality import IMAGES, SEQUENCES, VECTORS, modality_of
from jaxdd.nets.classic import MLP, AlexNet, LeNet
from jaxdd.nets.convnet import POOLINGS, ConvNet, DoublingConvNet
from jaxdd.nets.draws import draw_lecun, draw_params, initial_stats
from jaxdd.nets.layers import ACTIVATIONS, GROUPS, NORMS, first_padding
from jaxdd.nets.resnet import ResNet18
from jaxdd.nets.vgg import VGG11
from jaxdd.types import Array, Key, Network, Outputs, Params, Stats

MAX_DEPTH = 8  # the official ConvNetD1 to ConvNetD8; also keeps block names in order
ImageShape = tuple[int, ...]  # of one sample
Options = Mapping[str, Any]


class Builder(NamedTuple):
    """One network of the registry.

    Attributes:
        module: (num_classes, **options) -> flax module.
        options: options of the network with their values; None for positive integers.
        smallest: (options) -> least height and width of an image, in pixels, or least
            length of a sequence.
        fixed: options that the name determines.
        draw: (key, shapes) -> initial parameters, in the place of those that the module
            draws itself.
        takes: names of the modalities whose samples it takes.
    """

    module: Callable[..., nn.Module]
    options: Mapping[str, tuple[str, ...] | None]
    smallest: Callable[[Options], int] = lambda options: 1
    fixed: Mapping[str, str] = {}
    draw: Callable[[Key, Any], Params] | None = None
    takes: tuple[str, ...] = (IMAGES.name,)

    @property
    def written(self) -> Callable[..., Any]:
        """What a run knows the network by, see `fields.code`."""
        if is_ours(self.module):
            return self.module
        return partial(self.module, **{**self.fixed, "draw": self.draw})


# One draw for all weights, see `draws`.
_ours = partial(Builder, draw=draw_params)


def _smallest_convnet(options: Options) -> int:
    halvings = 0 if options.get("pooling") == "none" else options.get("depth", 3)
    return 2**halvings


_CONVNET: dict[str, tuple[str, ...] | None] = {
    "width": None,
    "depth": None,
    "activation": tuple(ACTIVATIONS),
    "pooling": tuple(POOLINGS),
}
_BATCH = {"norm": "batch"}
_AVERAGE = {"pooling": "avg"}
_IMAGENET = {"stem": "imagenet", **_BATCH}
_INSTANCE_OR_BATCH = {"norm": ("instance", "batch")}

NETS: dict[str, Builder] = {
    "convnet": _ours(ConvNet, {**_CONVNET, "norm": NORMS}, _smallest_convnet),
    "convnet_bn": _ours(ConvNet, _CONVNET, _smallest_convnet, _BATCH),
    "convnet_double": Builder(
        DoublingConvNet,
        {
            "width": None,
            "depth": None,
            "activation": tuple(ACTIVATIONS),
            "norm": ("none", "batch"),
        },
        _smallest_convnet,
        draw=draw_lecun,
    ),
    "convnet1d": _ours(
        ConvNet,
        {**_CONVNET, "norm": NORMS},
        _smallest_convnet,
        takes=(SEQUENCES.name,),
    ),
    "mlp": _ours(
        MLP, {"width": None}, takes=(VECTORS.name, SEQUENCES.name, IMAGES.name)
    ),
    "lenet": _ours(LeNet, {}, lambda options: 16),
    "alexnet": _ours(AlexNet, {"norm": ("none", "batch")}, lambda options: 8),
    "alexnet_bn": _ours(AlexNet, {}, lambda options: 8, _BATCH),
    "vgg11": _ours(VGG11, _INSTANCE_OR_BATCH, lambda options: 32),
    "vgg11_bn": _ours(VGG11, {}, lambda options: 32, _BATCH),
    "resnet18": _ours(ResNet18, {"width": None, **_INSTANCE_OR_BATCH}),
    "resnet18_bn": _ours(ResNet18, {"width": None}, fixed=_BATCH),
    "resnet18_ap": _ours(
        ResNet18, {"width": None, **_INSTANCE_OR_BATCH}, fixed=_AVERAGE
    ),
    "resnet18_ap_bn": _ours(ResNet18, {"width": None}, fixed={**_AVERAGE, **_BATCH}),
    "resnet18_imagenet": _ours(
        ResNet18, {"width": None}, lambda options: 32, _IMAGENET
    ),
}


def make_network(
    name: str,
    image_shape: Sequence[int],
    num_classes: int,
    *,
    width: int | None = None,
    depth: int | None = None,
    norm: str | None = None,
    activation: str | None = None,
    pooling: str | None = None,
    precision: str = AUTO,
) -> Network:
    """The network `name` for samples of `image_shape`.

    Args:
        name: a name in `NETS`.
        image_shape: (H, W, C); (L, C) of a sequence; (F,) of a vector. `modality` says
            which networks take which.
        num_classes: K.
        width, depth, norm, activation, pooling: options of the network; None for the
            official value.
        precision: of the products of the network, see `jaxdd.devices.precision`.

    Returns:
        `init(key)` gives (params, stats): nested dicts of the layers by the names
        block0, block1, ..., head, in order of depth; stats is {} without batch norm.
        `apply(params, stats, images [B, ...], train)` gives (Outputs, new stats);
        with `train`, batch norm uses the batch and updates the stats, else it uses the
        stats and the outputs have the moments of its inputs.

    Raises:
        UserError: the name or the precision is unknown, the network has no such option
            or value, or takes no samples of that many axes or of that size; in `apply`,
            samples have another shape.

    Example:
        >>> network = make_network("convnet", (8, 8, 1), 10, width=4, depth=2)
        >>> params, stats = network.init(jax.random.key(0))
        >>> outputs, _ = network.apply(params, stats, jnp.ones((2, 8, 8, 1)), False)
        >>> outputs.logits.shape, len(outputs.features)
        ((2, 10), 2)
    """
    if name not in NETS:
        raise UserError(f"network={quoted(name)} is not one of {', '.join(NETS)}")
    arguments = {
        "width": width,
        "depth": depth,
        "norm": norm,
        "activation": activation,
        "pooling": pooling,
    }
    options = {key: value for key, value in arguments.items() if value is not None}
    shape = _check_shape(image_shape, num_classes)
    check_network(name, shape)
    _check_options(name, options)
    _check_size(name, shape, options)
    module = NETS[name].module(num_classes, **NETS[name].fixed, **options)
    network = _as_functions(name, module, shape, policy.resolved(precision))
    if not is_ours(type(module)):
        _check_module(name, module, shape)
        _check_outputs(name, network, shape, num_classes)
    return network


def _check_module(name: str, module: nn.Module, shape: ImageShape) -> None:
    """Refuse a module of one's own that needs more than a network here is given.

    Raises:
        UserError: it does not take (images, train), has variables that nothing here
            updates, or draws random numbers in training.
    """
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    forward: Any = module.apply
    try:
        variables = jax.eval_shape(
            partial(module.init, train=False), jax.random.key(0), images
        )
        others = ", ".join(
            sorted(variables.keys() - {"params", "batch_stats", "moments"})
        )
        if others:
            raise UserError(
                f"the network {quoted(name)} has variables of the kind {others}, which "
                "nothing here updates: parameters and batch_stats alone can be kept"
            )
        jax.eval_shape(
            lambda v, x: forward(v, x, True, mutable=["batch_stats"]), variables, images
        )
    except flax.errors.InvalidRngError as error:
        raise UserError(
            f"the network {quoted(name)} draws random numbers in training, such as "
            "dropout, which no training here gives it: leave them out"
        ) from error
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise UserError(
            f"the network {quoted(name)} must be called with (images, train): {error}"
        ) from error


def _check_outputs(
    name: str, network: Network, shape: ImageShape, num_classes: int
) -> None:
    """Refuse a network of one's own that puts out something else than `Outputs`.

    Raises:
        UserError: it does, or its logits have another shape.
    """

    def applied(key: Key) -> Any:
        params, stats = network.init(key)
        return network.apply(params, stats, jnp.zeros((2, *shape)), False)[0]

    outputs = jax.eval_shape(applied, jax.random.key(0))
    if not isinstance(outputs, Outputs) or not outputs.features:
        raise UserError(
            f"the network {quoted(name)} must return jaxdd.types.Outputs(logits, "
            f"features) with the features of a block or more, not "
            f"{type(outputs).__name__}"
        )
    if outputs.logits.shape != (2, num_classes):
        raise UserError(
            f"the network {quoted(name)} gives logits {list(outputs.logits.shape)} for "
            f"2 samples of {num_classes} classes: they must be [2, {num_classes}]"
        )


def told_moments(outputs: Outputs, stats: Stats) -> Stats:
    """The moments of the inputs of batch norm, for every one of its layers.

    Raises:
        UserError: a batch norm of one's own does not put them out.
    """
    of_moments: Any = jax.tree.structure(outputs.moments)
    if of_moments != jax.tree.structure(stats):
        raise UserError(
            "the batch norm of this network does not tell the moments of its inputs "
            "(Outputs.moments), which are compared here: use convnet_bn or another "
            "network of the library with batch norm"
        )
    return outputs.moments


def has_batch_statistics(network: Network) -> bool:
    """Whether the network has running statistics, that is batch norm."""
    _, stats = jax.eval_shape(network.init, jax.random.key(0))
    return bool(jax.tree.leaves(stats))


def _as_functions(
    name: str, module: nn.Module, image_shape: ImageShape, precision: str
) -> Network:
    draw = NETS[name].draw
    initial = partial(module.init, train=False)

    @jax.jit
    def init(key: Key) -> tuple[Params, Stats]:
        if draw is None:
            variables = initial(key, jnp.zeros((1, *image_shape)))
            return variables.get("params", {}), variables.get("batch_stats", {})
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        shapes = jax.eval_shape(initial, key, images)
        stats = initial_stats(shapes.get("batch_stats", {}))
        return draw(key, shapes["params"]), stats

    def apply(
        params: Params, stats: Stats, images: Array, train: bool
    ) -> tuple[Outputs, Stats]:
        if images.shape[1:] != image_shape:
            raise UserError(
                f"{name} was made for images [B, {', '.join(map(str, image_shape))}], "
                f"not {list(images.shape)}"
            )
        forward: Any = module.apply  # flax declares no return type
        variables = {"params": params, **({"batch_stats": stats} if stats else {})}
        with policy.in_precision(precision):
            if not stats:
                return forward(variables, images, train), stats
            if train:
                changed = ["batch_stats"]
                outputs, new = forward(variables, images, train, mutable=changed)
                return outputs, new["batch_stats"]
            outputs, seen = forward(variables, images, train, mutable=["moments"])
            return outputs._replace(moments=seen.get("moments", ())), stats

    return Network(init, apply)


def check_network(name: str, shape: Sequence[int]) -> None:
    """Refuse a network that takes no samples of this shape.

    Args:
        name: a name in `NETS`.
        shape: of one sample.

    Raises:
        UserError: the network is for others; the sentence names those that fit.

    Example:
        >>> check_network("mlp", (30,))
    """
    modality = modality_of(shape)
    fitting = networks_for(modality.name)
    if name not in fitting:
        raise UserError(
            f"network={quoted(name)} does not take {modality.name} {modality.shape}: "
            f"use {', '.join(fitting)}"
        )


def networks_for(modality: str) -> list[str]:
    """The names of the networks that take samples of a modality, the usual one first.

    Example:
        >>> networks_for("sequences")
        ['convnet1d', 'mlp']
    """
    for name, builder in NETS.items():
        if not isinstance(builder, Builder):
            raise UserError(
                f"jaxdd.NETS[{quoted(name)}] must be a Builder of "
                f"jaxdd.nets.registry, not {type(builder).__name__}"
            )
    return [name for name, builder in NETS.items() if modality in builder.takes]


def _check_shape(image_shape: Sequence[int], num_classes: int) -> ImageShape:
    if not 1 <= len(image_shape) <= 3 or any(int(n) < 1 for n in image_shape):
        raise UserError(
            f"image_shape={image_shape} must be positive numbers: height, width, "
            "channels; length, channels; or features"
        )
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} must be at least 1")
    return tuple(int(n) for n in image_shape)


def _check_options(name: str, options: Options) -> None:
    builder = NETS[name]
    for option, value in options.items():
        if option in builder.fixed:
            raise UserError(
                f"{name} has {option}={quoted(builder.fixed[option])} by its name "
                f"and takes no {option}={quoted(value)}"
            )
        if option not in builder.options:
            available = ", ".join(builder.options) or "none"
            raise UserError(
                f"{name} has no option {option}={quoted(value)} "
                f"(its options: {available})"
            )
        allowed = builder.options[option]
        if allowed is None and value < 1:
            raise UserError(f"{option}={value} of {name} must be at least 1")
        if allowed is not None and value not in allowed:
            raise UserError(
                f"{option}={quoted(value)} of {name} is not one of {', '.join(allowed)}"
            )
    if options.get("depth", 1) > MAX_DEPTH:
        raise UserError(
            f"depth={options['depth']} of {name} must be at most {MAX_DEPTH}"
        )
    if options.get("norm") == "group" and options.get("width", GROUPS) % GROUPS:
        raise UserError(
            f"norm='group' needs a width that is a multiple of {GROUPS}, not "
            f"{options['width']}"
        )


def _check_size(name: str, image_shape: ImageShape, options: Options) -> None:
    smallest = NETS[name].smallest(options)
    sides = image_shape[:-1]
    if min(sides, default=smallest) + 2 * first_padding(image_shape, 0) < smallest:
        remedy = " or a smaller depth" if "depth" in NETS[name].options else ""
        if len(sides) == 1:
            least, actual = f"sequences of at least {smallest} steps", f"{sides[0]}"
        else:
            least = f"images of at least {smallest}x{smallest} pixels"
            actual = f"{sides[0]}x{sides[1]}"
        raise UserError(f"{name} needs {least}{remedy}, not {actual}")
