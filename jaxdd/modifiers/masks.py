"""Masks over parameters or features, which restrict what is matched (PAD's FIEM).

A mask is a function `(error) -> 0/1 tree`: `error` is a tree of squared errors with the
shapes of the parameters, gradients or features of blocks that are matched. By depth the
result is constant; by loss it is computed anew from the error, without a gradient
through the ordering.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.fields import Choice, option
from jaxdd.modifiers.depth import depth_order, layer_of, natural
from jaxdd.primitives.trees import from_named_leaves, named_leaves
from jaxdd.types import Array

KINDS = ("none", "depth", "loss")
GRANULARITIES = ("scalar", "layer")

Masking: TypeAlias = Callable[[Any], Any]  # (tree of squared errors) -> 0/1 tree


def make_mask(
    kind: str,
    ratio: float,
    granularity: str = "scalar",
    order: Sequence[str] | None = None,
) -> Masking | None:
    """A mask that drops a share of the entries.

    Args:
        kind: "none"; "depth", the first entries from shallow to deep (PAD's paper,
            section 3.3); "loss", the entries with the smallest current squared error
            (PAD's released code).
        ratio: share alpha that is dropped: exactly floor(alpha * P) scalars.
        granularity: "scalar", where the depth cut falls inside a tensor as in PAD's
            code, or "layer", where whole layers are dropped as long as they fit into
            the share (ours).
        order: the parts of a network from shallow to deep, such as ("Conv_0",
            "Conv_1", "Dense_0"), where they are not called block0, block1, ... and
            head; see `depth_order`.

    Returns:
        The mask, or None where nothing is dropped (kind "none" or ratio 0). Calling it
        raises UserError when a positive ratio drops nothing, or by depth when nothing
        says how deep the parts are.

    Raises:
        UserError: an unknown kind or granularity, or a ratio outside [0, 1).

    Example:
        >>> error = {"block0": {"bias": jnp.ones(2)}, "head": {"bias": jnp.ones(2)}}
        >>> keep = make_mask("depth", 0.5)(error)
        >>> keep["block0"]["bias"].tolist(), keep["head"]["bias"].tolist()
        ([0.0, 0.0], [1.0, 1.0])
    """
    if kind not in KINDS:
        raise UserError(
            f"unknown mask {quoted(kind)}: choose one of {', '.join(KINDS)}"
        )
    if granularity not in GRANULARITIES:
        raise UserError(
            f"unknown granularity {quoted(granularity)} of a mask: choose one of "
            f"{', '.join(GRANULARITIES)}"
        )
    if not 0 <= ratio < 1:
        raise UserError(f"the ratio of a mask must lie in [0, 1), not {ratio}")
    if kind == "none" or ratio == 0:
        return None
    makers = {
        ("depth", "scalar"): _depth_scalar,
        ("depth", "layer"): _depth_layer,
        ("loss", "scalar"): _loss_scalar,
        ("loss", "layer"): _loss_layer,
    }
    make = makers[kind, granularity]
    return lambda error: make(error, ratio, order)


def kernels_only(mask: Masking | None = None) -> Masking:
    """Only the kernels of convolutions (IDC), of what another mask keeps.

    Biases, dense layers and parameters of norms (of rank 3 in a layer norm) are left
    out. The mask raises UserError where nothing is left.

    Example:
        >>> error = {"conv": {"kernel": jnp.ones((3, 3, 1, 2)), "bias": jnp.ones(2)}}
        >>> keep = kernels_only()(error)["conv"]
        >>> float(keep["kernel"].min()), float(keep["bias"].max())
        (1.0, 0.0)
    """

    def kernels(error):
        if all(x.ndim < 4 for x in jax.tree.leaves(error)):
            raise UserError(
                "matching kernels only leaves nothing of a network without "
                "convolutions: match all tensors"
            )
        other = jax.tree.map(jnp.ones_like, error) if mask is None else mask(error)
        return jax.tree.map(lambda e, m: m * float(e.ndim == 4), error, other)

    return kernels


TENSORS = ("all", "kernels")


def _sizes(named: dict[str, Array]) -> dict[str, int]:
    return {name: int(np.prod(x.shape)) for name, x in named.items()}


def _share(total: int, ratio: float) -> int:
    dropped = int(round(ratio * total, 6))  # 0.29 * 100 is 28.999...
    if dropped == 0:
        raise UserError(
            f"a mask ratio of {ratio} drops none of {total} entries: use a larger one, "
            "or 0 for no mask"
        )
    return dropped


def _depth_scalar(error, ratio: float, order: Sequence[str] | None):
    named = named_leaves(error)
    sizes = _sizes(named)
    left = _share(sum(sizes.values()), ratio)
    keep = {}
    for name in depth_order(list(named), order):
        keep[name] = (_rank_in_torch(named[name].shape) >= left).astype(jnp.float32)
        left = max(0, left - sizes[name])
    return from_named_leaves(error, keep)


# Our axes of a leaf, from the outermost of PyTorch's to its innermost: kernels are
# [out, in, kh, kw] and [class, feature] there, [kh, kw, in, out] and [feature, class]
# here; layer norm has [C, H, W] there, [H, W, C] here. Features of the head keep our
# order H, W, C, theirs is C, H, W: a cut within the row of one class drops other
# entries of that row. Leaves of other ranks keep their order.
_IN_TORCH = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0)}


def _rank_in_torch(shape: tuple[int, ...]) -> Array:
    """The place of every entry in PyTorch's order, int32 of a shape.

    It is computed where it is needed: as a constant it would be as large as the network
    in every program.
    """
    rank, stride = jnp.zeros(shape, jnp.int32), 1
    for axis in reversed(_IN_TORCH.get(len(shape), range(len(shape)))):
        rank += stride * jax.lax.broadcasted_iota(jnp.int32, shape, axis)
        stride *= shape[axis]
    return rank


def _layers(names: Iterable[str]) -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(layer_of(name), []).append(name)
    return layers


def _depth_layer(error, ratio: float, order: Sequence[str] | None):
    named = named_leaves(error)
    sizes = _sizes(named)
    left = _share(sum(sizes.values()), ratio)
    keep, fits, dropped = {}, True, 0
    for members in _layers(depth_order(list(named), order)).values():
        weight = sum(sizes[m] for m in members)
        fits = fits and weight <= left
        left -= weight
        dropped += fits
        for m in members:
            keep[m] = jnp.full(named[m].shape, 0.0 if fits else 1.0, jnp.float32)
    if dropped == 0:
        raise UserError(
            f"a mask ratio of {ratio} drops no whole layer: use a larger one, or the "
            "granularity scalar"
        )
    return from_named_leaves(error, keep)


def _loss_scalar(error, ratio: float, order: Sequence[str] | None):
    del order
    leaves = [jax.lax.stop_gradient(x) for x in jax.tree.leaves(error)]
    flat = jnp.concatenate([x.ravel() for x in leaves])
    dropped = _share(flat.size, ratio)
    # The rank decides, not a threshold, so that ties drop exactly the share.
    smallest = jnp.argsort(flat)[:dropped]
    keep = jnp.ones(flat.size, jnp.float32).at[smallest].set(0)
    cuts = np.cumsum([x.size for x in leaves])[:-1]
    parts = [
        k.reshape(x.shape) for k, x in zip(jnp.split(keep, cuts), leaves, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(error), parts)


def _loss_layer(error, ratio: float, order: Sequence[str] | None):
    """Whole layers in order of their mean error, as long as they fit the share."""
    del order
    named = named_leaves(jax.lax.stop_gradient(error))
    sizes = _sizes(named)
    allowed = _share(sum(sizes.values()), ratio)
    layers = _layers(sorted(named, key=natural))
    weights = np.array([sum(sizes[m] for m in ms) for ms in layers.values()])
    if weights.min() > allowed:
        raise UserError(
            f"a mask ratio of {ratio} drops no whole layer: use a larger one, or the "
            "granularity scalar"
        )
    sums = [sum(jnp.sum(named[m]) for m in ms) for ms in layers.values()]
    means = jnp.stack(sums) / weights
    by_error = jnp.argsort(means)

    # A layer that does not fit is passed over: smaller ones behind it still may.
    def take(left, layer):
        weight = jnp.asarray(weights, jnp.int32)[layer]
        fits = weight <= left
        return left - jnp.where(fits, weight, 0), fits

    _, fits = jax.lax.scan(take, jnp.int32(allowed), by_error)
    dropped = jnp.zeros(len(layers), bool).at[by_error].set(fits)
    keep = {
        m: jnp.full(named[m].shape, 1.0, jnp.float32) * ~dropped[i]
        for i, ms in enumerate(layers.values())
        for m in ms
    }
    return from_named_leaves(error, keep)


def describe(
    mask: Masking, example, order: Sequence[str] | None = None
) -> dict[str, tuple[int, int]]:
    """The entries that a mask drops: {path: (dropped, size)}, shallow to deep.

    Args:
        mask: a mask; see `make_mask`.
        example: a tree of errors with concrete values.
        order: the parts of the tree, as in `make_mask`.

    Example:
        >>> error = {"block0": {"bias": jnp.ones(2)}, "head": {"bias": jnp.ones(2)}}
        >>> describe(make_mask("depth", 0.25), error)
        {'block0/bias': (1, 2), 'head/bias': (0, 2)}
    """
    keep = named_leaves(mask(example))
    return {
        name: (int(keep[name].size - keep[name].sum()), int(keep[name].size))
        for name in depth_order(list(keep), order)
    }


@dataclass(frozen=True)
class Mask(Choice):
    """A share of what is matched is dropped (PAD's FIEM).

    Attributes:
        kind: which entries are dropped: "depth", the shallowest (PAD's paper), or
            "loss", those with the smallest current error (PAD's released code).
        ratio: the share that is dropped, in [0, 1); 0 drops nothing.
        granularity: "scalar" or "layer", see `make_mask`.
    """

    subject: ClassVar[str] = "a mask"
    remedy: ClassVar[str] = "add --mask=depth or --mask=loss, or leave it out"

    kind: str = option(
        "depth",
        "which parameters or features are left out of the match: none, the shallowest "
        "(depth) or those with the smallest error (loss)",
        flag="mask",
        choices=KINDS[1:],
        opens=True,
        closes="none",
    )
    ratio: float = option(
        0.0,
        "share of the parameters or features that the mask leaves out of the "
        "match, at least 0 and below 1",
        flag="mask_ratio",
        at_least=0,
        below=1,
    )
    granularity: str = option(
        "scalar",
        "whether the mask leaves out single numbers (scalar) or whole layers (layer)",
        flag="mask_granularity",
        choices=GRANULARITIES,
    )

    def make(self) -> Masking | None:
        """The mask as a function, None where nothing is dropped."""
        return make_mask(self.kind, self.ratio, self.granularity)
