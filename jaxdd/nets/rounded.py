"""Convolutions and products of operands in bfloat16, with sums in float32.

Two bilinear primitives, convolution and weight gradient, are each other's derivatives
with respect to every operand:

    y = conv(x, w)        dx = conv(dy, w turned)      dw = gradient(x, dy)
    g = gradient(x, dy)   dx = conv(dy, dg turned)     d(dy) = conv(x, dg)

So derivatives of any order are again products of bfloat16 operands whose results are
float32. `lax.conv_general_dilated` has no derivative in these types.

On a CPU a convolution is one product: the columns of the kernel are laid side by side
in its first operand, the rows in its second, and the rows of the result are moved when
they are added. A third of the copies of patches are made, and nothing is added in
between. XLA runs a product at the full rate of the matrix unit if its result is float32
and it contracts the last axis of the one with the first of the other; hence the
transposition in the weight gradient. Elsewhere both are a convolution of the device's
library.

Source: ours.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType
from jax.typing import ArrayLike

from jaxdd.primitives.trees import vary_alike

Padding: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
NO_PADDING: Padding = ((0, 0), (0, 0))


def conv(x: Any, w: Any, padding: Padding) -> jax.Array:
    """Cross-correlation of [*G, B, H, W, C] with [*G, kh, kw, C, O], stride 1.

    G are axes along which every image batch has a kernel of its own.

    Returns:
        [*G, B, Ho, Wo, O] in the dtype of x.
    """
    return _conv_p.bind(*vary_alike(x, w), padding=padding)


def matmul(x: ArrayLike, w: ArrayLike) -> jax.Array:
    """[M, F] @ [F, O] -> [M, O], in the dtype of x: a convolution of single pixels."""
    pixels, kernel = jnp.expand_dims(x, (1, 2)), jnp.expand_dims(w, (0, 1))
    return conv(pixels, kernel, NO_PADDING)[:, 0, 0]


def pad_or_crop(x: Any, padding: Padding) -> Any:
    """Zero-pad [*G, B, H, W, C]; a negative amount crops."""
    if not any(p for pair in padding for p in pair):
        return x
    rest = [(0, 0, 0)] * (x.ndim - 3)
    config = [*rest, *((low, high, 0) for low, high in padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def image_gradient_padding(kernel: tuple[int, ...], padding: Padding) -> Padding:
    """The padding with which dy is convolved for dx; negative where it is cropped."""
    (top, bottom), (left, right) = padding
    height, width = kernel[0] - 1, kernel[1] - 1
    return (height - top, height - bottom), (width - left, width - right)


def turned(w: Any) -> Any:
    """A kernel [*G, kh, kw, C, O] turned by 180 degrees, as [*G, kh, kw, O, C]."""
    return jnp.flip(w, (-4, -3)).swapaxes(-2, -1)


def _weight_gradient(x: Any, dy: Any, padding: Padding) -> jax.Array:
    """[*G, B, H, W, C] and [*G, B, Ho, Wo, O] -> [*G, kh, kw, C, O]."""
    return _gradient_p.bind(*vary_alike(x, dy), padding=padding)


_conv_p = Primitive("jaxdd_rounded_conv")
_gradient_p = Primitive("jaxdd_rounded_weight_gradient")


# --- Shapes and derivatives -----------------------------------------------------------


def _sizes(image: Any, window: Any, padding: Padding) -> tuple[int, ...]:
    """How many places a window has in a padded image, along height and width."""
    pairs = zip(image, window, padding, strict=True)
    return tuple(n + sum(p) - k + 1 for n, k, p in pairs)


def result_type(operand: Any, shape: tuple[int, ...]) -> Any:
    """The abstract value of a result: that of an operand, in another shape.

    It varies along the axes of a mesh along which the operand does. A result that says
    otherwise takes the sum over the devices out of a derivative inside `jax.shard_map`.
    Outside of it, the axes of a result are others than those of the operand.
    """
    changes: dict[str, Any] = {"shape": shape, "weak_type": False}
    if AxisType.Explicit in operand.sharding.mesh.axis_types:
        changes["sharding"] = None
    return operand.update(**changes)


def _conv_shape(x: Any, w: Any, *, padding: Padding) -> Any:
    size = _sizes(x.shape[-3:-1], w.shape[-4:-2], padding)
    return result_type(x, (*x.shape[:-3], *size, w.shape[-1]))


def _gradient_shape(x: Any, dy: Any, *, padding: Padding) -> Any:
    size = _sizes(x.shape[-3:-1], dy.shape[-3:-1], padding)
    shape = (*x.shape[:-4], *size, x.shape[-1], dy.shape[-1])
    return result_type(x, shape)


def _image_gradient(dy: Any, w: Any, padding: Padding) -> jax.Array:
    pads = image_gradient_padding(w.shape[-4:-2], padding)
    return conv(dy, turned(w), pads)


def _conv_x(dy: Any, x: Any, w: Any, *, padding: Padding) -> jax.Array:
    del x
    return _image_gradient(dy, w, padding)


def _conv_w(dy: Any, x: Any, w: Any, *, padding: Padding) -> jax.Array:
    del w
    return _weight_gradient(x, dy, padding)


def _gradient_x(dg: Any, x: Any, dy: Any, *, padding: Padding) -> jax.Array:
    del x
    return _image_gradient(dy, dg, padding)


def _gradient_dy(dg: Any, x: Any, dy: Any, *, padding: Padding) -> jax.Array:
    del dy
    return conv(x, dg, padding)


# --- vmap: the mapped axis joins the images or the channels, or is one of G -----------


def _folded(array: Any, mapped: int, to: int) -> tuple[Any, int]:
    """An array without its mapped axis, which has become the outer part of axis `to`.

    Args:
        array: with the mapped axis.
        mapped: which one it is.
        to: axis of the array without it, negative.

    Returns:
        The array, and the size of the mapped axis.
    """
    size = array.shape[mapped]
    moved = jnp.moveaxis(array, mapped, to - 1)
    shape = list(moved.shape)
    shape[to - 1 :] = [size * shape[to], *shape[to:][1:]]
    return moved.reshape(shape), size


def _unfolded(array: Any, size: int, axis: int) -> tuple[Any, int]:
    """The opposite of `_folded`: the array, and where its mapped axis is."""
    shape = list(array.shape)
    place = len(shape) + axis
    shape[place : place + 1] = [size, shape[place] // size]
    return array.reshape(shape), place


def _conv_batch(args: Any, dims: Any, *, padding: Padding) -> tuple[Any, int]:
    (x, w), (x_dim, w_dim) = args, dims
    if w_dim is None:
        x, size = _folded(x, x_dim, -4)
        return _unfolded(conv(x, w, padding), size, -4)
    if x_dim is None:
        w, size = _folded(w, w_dim, -1)
        return _unfolded(conv(x, w, padding), size, -1)
    return conv(jnp.moveaxis(x, x_dim, 0), jnp.moveaxis(w, w_dim, 0), padding), 0


def _gradient_batch(args: Any, dims: Any, *, padding: Padding) -> tuple[Any, int]:
    (x, dy), (x_dim, dy_dim) = args, dims
    if dy_dim is None:
        x, size = _folded(x, x_dim, -1)
        return _unfolded(_weight_gradient(x, dy, padding), size, -2)
    if x_dim is None:
        dy, size = _folded(dy, dy_dim, -1)
        return _unfolded(_weight_gradient(x, dy, padding), size, -1)
    pair = jnp.moveaxis(x, x_dim, 0), jnp.moveaxis(dy, dy_dim, 0)
    return _weight_gradient(*pair, padding), 0


# --- What is computed -----------------------------------------------------------------


def _grouped(one: Any, x: Any, other: Any, in_turn: bool) -> jax.Array:
    """`one` for every entry of the axes G: in turn, or all of them at once."""
    groups = x.shape[:-4]
    if not groups:
        return one(x, other)
    flat = [a.reshape(-1, *a.shape[len(groups) :]) for a in (x, other)]
    if in_turn:
        found = lax.map(lambda pair: one(*pair), tuple(flat))
    else:
        found = jax.vmap(one)(*flat)
    return found.reshape(*groups, *found.shape[1:])


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """[m, k] @ [k, n] of bfloat16 operands, [m, n] float32."""
    return lax.dot(a, b, preferred_element_type=jnp.float32)


def _transposed(a: jax.Array) -> jax.Array:
    """[m, k] -> [k, m], laid out anew: XLA would make a slow product of the two."""
    return lax.optimization_barrier(a.T)


def _columns(x: jax.Array, size: Sequence[int], width: int, padding: Padding) -> Any:
    """What every column of a kernel sees, side by side: [Hp, B * Wo, kw * C].

    Rows are padded and not moved, so that one copy of the image serves all of them;
    they are the first axis, so that some of them are one piece of memory.
    """
    x, zero = x.astype(jnp.bfloat16).swapaxes(0, 1), jnp.zeros((), jnp.bfloat16)
    rows, (left, _) = (*padding[0], 0), padding[1]
    growth, none = size[1] - x.shape[2], (0, 0, 0)
    # `pad` alone moves and crops, in one pass; a concatenation of slices would go
    # through float32.
    columns = [
        lax.pad(x, zero, (rows, none, (left - j, growth - left + j, 0), none))
        for j in range(width)
    ]
    wide = jnp.stack(columns, 3)
    return wide.reshape(wide.shape[0], -1, width * x.shape[-1])


def _conv_products(x: jax.Array, w: jax.Array, padding: Padding) -> jax.Array:
    """The convolution of single G, float32: one product, and a sum over kernel rows."""
    kh, kw, channels, features = w.shape
    height, width = _sizes(x.shape[1:3], (kh, kw), padding)
    kernel = w.astype(jnp.bfloat16).transpose(1, 2, 0, 3)
    columns = _columns(x, (height, width), kw, padding)
    found = _dot(
        columns.reshape(-1, kw * channels), kernel.reshape(kw * channels, kh * features)
    )
    rows = found.reshape(-1, x.shape[0], width, kh, features)
    total = rows[:height, :, :, 0]
    for i in range(1, kh):
        total += rows[i : i + height, :, :, i]
    return total.swapaxes(0, 1)


def _gradient_products(x: jax.Array, dy: jax.Array, padding: Padding) -> jax.Array:
    """The weight gradient of single G, float32: one product per kernel row."""
    height, width, features = dy.shape[1:]
    kh, kw = _sizes(x.shape[1:3], (height, width), padding)
    channels = x.shape[-1]
    columns = _columns(x, (height, width), kw, padding)
    dy = dy.astype(jnp.bfloat16).swapaxes(0, 1).reshape(-1, features)
    seen = [columns[i : i + height].reshape(-1, kw * channels) for i in range(kh)]
    if kh == kw == 1 and channels < features:
        # The narrower matrix is the one to lay out anew.
        found = _dot(_transposed(seen[0]), dy)
        return found.reshape(1, 1, channels, features)
    across = _transposed(dy)
    found = jnp.stack([_dot(across, row) for row in seen])
    return found.reshape(kh, features, kw, channels).transpose(0, 2, 3, 1)


def _lax_conv(x: jax.Array, w: jax.Array, padding: Padding, layout: Any) -> jax.Array:
    return lax.conv_general_dilated(
        x.astype(jnp.bfloat16),
        w.astype(jnp.bfloat16),
        (1, 1),
        padding,
        dimension_numbers=layout,
        preferred_element_type=jnp.float32,
    )


def _conv_library(x: jax.Array, w: jax.Array, padding: Padding) -> jax.Array:
    if _is_product(w.shape[:2], padding):
        return _conv_products(x, w, padding)
    return _lax_conv(x, w, padding, ("NHWC", "HWIO", "NHWC"))


def _gradient_library(x: jax.Array, dy: jax.Array, padding: Padding) -> jax.Array:
    if _is_product(_sizes(x.shape[1:3], dy.shape[1:3], padding), padding):
        return _gradient_products(x, dy, padding)
    # Channels play the images, and the images the channels.
    return _lax_conv(x, dy, padding, ("CHWN", "IHWO", "HWNC"))


def _is_product(kernel: tuple[int, ...], padding: Padding) -> bool:
    return kernel == (1, 1) and padding == NO_PADDING


def _computed(x: Any, other: Any, *, padding: Padding, one: Any, in_turn: bool) -> Any:
    part = partial(one, padding=padding)
    return _grouped(part, x, other, in_turn).astype(x.dtype)


def _define(
    primitive: Primitive,
    shape: Any,
    transposes: Any,
    batch: Any,
    products: Any,
    library: Any,
) -> None:
    """Make a primitive bilinear; on a CPU it is products, elsewhere the library's."""

    @partial(jax.jit, static_argnames="padding")
    def compiled(x: Any, other: Any, *, padding: Padding) -> jax.Array:
        return primitive.bind(x, other, padding=padding)

    def run(x: Any, other: Any, *, padding: Padding) -> jax.Array:
        # What is outside of jit is compiled on its own, also where jit is disabled.
        with jax.disable_jit(False):
            return compiled(x, other, padding=padding)

    primitive.def_impl(run)
    primitive.def_abstract_eval(shape)
    ad.defbilinear(primitive, *transposes)
    batching.primitive_batchers[primitive] = batch
    for one, in_turn, platform in ((library, False, None), (products, True, "cpu")):
        rule = partial(_computed, one=one, in_turn=in_turn)
        lowering = mlir.lower_fun(rule, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)


_define(
    _conv_p,
    _conv_shape,
    (_conv_x, _conv_w),
    _conv_batch,
    _conv_products,
    _conv_library,
)
_define(
    _gradient_p,
    _gradient_shape,
    (_gradient_x, _gradient_dy),
    _gradient_batch,
    _gradient_products,
    _gradient_library,
)
