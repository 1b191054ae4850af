"""Convolution and pooling of all networks, in a form that suits the device.

Inside `scan`, `map` or `while`, XLA:CPU leaves the gradients of
`lax.conv_general_dilated` in a transposed layout that it runs as plain loops, 70-130
times slower than at top level. Therefore every convolution on the CPU has a form whose
derivatives of any order are again fast: a matrix product of patches ("im2col"), or a
bilinear primitive whose transposes are again the same canonical convolution
("canonical"). Other devices run `lax.conv_general_dilated`; `policy` has the form of
each device. In bfloat16 the form is `rounded`'s everywhere.
"""

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdd.devices import policy, precision
from jaxdd.errors import UserError, quoted
from jaxdd.nets import rounded
from jaxdd.nets.rounded import Padding, pad_or_crop
from jaxdd.primitives.trees import vary_alike

Pair: TypeAlias = tuple[int, int]

IMPLEMENTATIONS = ("lax", "im2col", "canonical", "rounded")
_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Below this many input channels the canonical form is slower than patches: XLA:CPU
# ran the first layer (3 channels) at 16-25 GFLOP/s, patches at 40-79.
_FEW_CHANNELS = 4


def conv2d(
    x: Float[Array, "B H W Cin"],
    w: Float[Array, "kh kw Cin Cout"],
    *,
    stride: int = 1,
    padding: int | Pair = 0,
    impl: str | None = None,
) -> Float[Array, "B Ho Wo Cout"]:
    """Cross-correlation of x [B, H, W, Cin] with w [kh, kw, Cin, Cout].

    Equal to `torch.nn.functional.conv2d` in channels-last layout.

    Args:
        x: [B, H, W, Cin].
        w: [kh, kw, Cin, Cout].
        stride: in pixels, the same along both axes.
        padding: zeros on each side, one number, or one for the height and one for the
            width.
        impl: one of `IMPLEMENTATIONS`, which are equal up to rounding; None for the
            choice by device. "rounded" is in bfloat16 whatever the precision, "lax" and
            "canonical" never are.

    Returns:
        [B, Ho, Wo, Cout] with Ho = (H + 2 * padding - kh) // stride + 1.

    Raises:
        UserError: `impl` is unknown, the stride is below 1, or the kernel is larger
            than the padded image.
    """
    pads = _symmetric(padding)
    _check(x.shape, w.shape, stride, pads, impl)
    dtype = jnp.result_type(x, w)
    x, w = x.astype(dtype), w.astype(dtype)
    impl = impl or _default_impl(w.shape, stride)
    if impl == "im2col":
        return _im2col(x, w, stride, pads)
    if impl == "rounded":
        return rounded.conv(x, w, pads)[:, ::stride, ::stride]
    asked = _in_jax()
    if impl == "canonical":
        return _canonical(x, w, stride, pads, asked)
    return _lax_conv(x, w, stride=stride, padding=pads, precision=asked)


def matmul(x: ArrayLike, w: ArrayLike) -> jax.Array:
    """[B, F] @ [F, O] -> [B, O] in the precision of the policy.

    Every product of a network that is not a convolution in a form of its own.
    """
    if policy.choices().precision == "bfloat16":
        return rounded.matmul(x, w)
    return jnp.matmul(x, w, precision=_in_jax())


def _in_jax() -> str | None:
    """The precision of products in float32 or TF32, as JAX takes it."""
    return precision.in_jax(policy.choices().precision)


def avg_pool2(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Means over 2x2 windows with stride 2: [B, H, W, C] -> [B, H // 2, W // 2, C].

    An odd last row or column is dropped, as in PyTorch.
    """
    return _windows2(x).mean((2, 4))


def avg_pool1d(x: Float[Array, "B L 1 C"]) -> Float[Array, "B l 1 C"]:
    """Means over 2 steps in time with stride 2: [B, L, 1, C] -> [B, L // 2, 1, C].

    An odd last step is dropped, as in PyTorch.
    """
    return _pairs(x).mean(2)


def max_pool1d(x: Float[Array, "B L 1 C"]) -> Float[Array, "B l 1 C"]:
    """Maxima over 2 steps in time with stride 2: [B, L, 1, C] -> [B, L // 2, 1, C].

    An odd last step is dropped; the gradient goes to one step, as in `max_pool2`.
    """
    first, second = _pairs(x)[:, :, 0], _pairs(x)[:, :, 1]
    return jnp.where((second > first) | jnp.isnan(second), second, first)


def max_pool2(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Maxima over 2x2 windows with stride 2: [B, H, W, C] -> [B, H // 2, W // 2, C].

    An odd last row or column is dropped, as in PyTorch. The gradient goes to exactly
    one element of a window: among equal maxima (common after a ReLU) the first one in
    row-major order, again as in PyTorch. NaN propagates.
    """
    windows = _windows2(x)
    top = windows[:, :, 0, :, 0]
    for i, j in ((0, 1), (1, 0), (1, 1)):
        value = windows[:, :, i, :, j]
        # A select, not `maximum`, whose gradient would be split among equal values.
        top = jnp.where((value > top) | jnp.isnan(value), value, top)
    return top


def max_pool3(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """Maxima over 3x3 windows with stride 2 and padding 1, PyTorch's of ResNets.

    [B, H, W, C] -> [B, (H + 1) // 2, (W + 1) // 2, C]; padding never is the maximum.
    The gradient goes to one element, as in `max_pool2`. NaN propagates.
    """
    height, width = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    padded = jnp.pad(x, around, constant_values=-jnp.inf)
    top = None
    for i in range(3):
        for j in range(3):
            value = padded[:, i::2, j::2][:, :height, :width]
            larger = None if top is None else (value > top) | jnp.isnan(value)
            top = value if larger is None else jnp.where(larger, value, top)
    assert top is not None
    return top


def _pairs(x: jax.Array) -> jax.Array:
    """[B, L, 1, C] -> [B, L // 2, 2, 1, C]."""
    batch, length, _, channels = x.shape
    return x[:, : length // 2 * 2].reshape(batch, length // 2, 2, 1, channels)


def _windows2(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H // 2, 2, W // 2, 2, C]."""
    batch, height, width, channels = x.shape
    h, w = height // 2, width // 2
    return x[:, : 2 * h, : 2 * w].reshape(batch, h, 2, w, 2, channels)


def _default_impl(kernel: tuple[int, ...], stride: int) -> str:
    """The implementation for this device, kernel [kh, kw, Cin, Cout] and stride."""
    kh, kw, channels, _ = kernel
    # The patches of a 1x1 kernel are the image itself, so im2col is free of copies.
    small = channels <= _FEW_CHANNELS or kh * kw == 1 or stride > 1
    return policy.choices().form(small)


def _symmetric(padding: int | Pair) -> Padding:
    height, width = (padding, padding) if isinstance(padding, int) else padding
    return (height, height), (width, width)


def _check(
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: int,
    padding: Padding,
    impl: str | None,
) -> None:
    if impl is not None and impl not in IMPLEMENTATIONS:
        raise UserError(
            f"impl={quoted(impl)} is not one of {', '.join(IMPLEMENTATIONS)}"
        )
    if stride < 1:
        raise UserError(f"stride={stride} of a convolution must be at least 1")
    sizes = [n + sum(p) for n, p in zip(image[1:3], padding, strict=True)]
    if sizes[0] < kernel[0] or sizes[1] < kernel[1]:
        raise UserError(
            f"a {kernel[0]}x{kernel[1]} convolution needs an image at least as large, "
            f"but the padded image is {sizes[0]}x{sizes[1]}"
        )


def _im2col(x: jax.Array, w: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Convolution as slices and one matrix product, closed under every transform."""
    kh, kw, channels, features = w.shape
    x = pad_or_crop(x, padding)
    height = (x.shape[1] - kh) // stride + 1
    width = (x.shape[2] - kw) // stride + 1
    rows, cols = (height - 1) * stride + 1, (width - 1) * stride + 1
    shifts = [
        x[:, i : i + rows : stride, j : j + cols : stride]
        for i in range(kh)
        for j in range(kw)
    ]
    patches = shifts[0] if len(shifts) == 1 else jnp.concatenate(shifts, axis=-1)
    # A product of two matrices: with more axes, inside loops, XLA:CPU first turned the
    # incoming gradient round (a tenth of a step of DSA).
    y = matmul(patches.reshape(-1, kh * kw * channels), w.reshape(-1, features))
    return y.reshape(x.shape[0], height, width, features)


def _canonical(
    x: jax.Array, w: jax.Array, stride: int, padding: Padding, precision: str | None
) -> jax.Array:
    """Convolution by `_conv_p`; a stride keeps every stride-th output."""
    return _bind(x, w, padding, precision)[:, ::stride, ::stride]


def _lax_conv(
    x: jax.Array,
    w: jax.Array,
    *,
    stride: int = 1,
    padding: Padding,
    precision: str | None,
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        padding,
        dimension_numbers=_LAYOUT,
        precision=precision,  # type: ignore[arg-type]
    )


# The canonical convolution: stride 1, NHWC x HWIO -> NHWC, as a primitive of its own.
# Outside of jit a cotangent may be a NumPy array.

_conv_p = Primitive("jaxdd_conv2d")


def _bind(x: Any, w: Any, padding: Padding, precision: str | None) -> jax.Array:
    return _conv_p.bind(*vary_alike(x, w), padding=padding, precision=precision)


def _abstract(x: Any, w: Any, *, padding: Padding, precision: str | None) -> Any:
    del precision
    size = [
        n + sum(p) - k + 1
        for n, p, k in zip(x.shape[1:3], padding, w.shape[:2], strict=True)
    ]
    return rounded.result_type(x, (x.shape[0], *size, w.shape[3]))


def _transpose_x(
    dy: Any, x: Any, w: Any, *, padding: Padding, precision: str | None
) -> jax.Array:
    """dx is dy convolved with the kernel turned by 180 degrees, channels swapped."""
    del x
    pads = rounded.image_gradient_padding(w.shape[:2], padding)
    # Padding wider than the kernel gives outputs without any image: crop these first.
    crop = [(min(lo, 0), min(hi, 0)) for lo, hi in pads]
    rest = [(max(lo, 0), max(hi, 0)) for lo, hi in pads]
    cropped = pad_or_crop(dy, (crop[0], crop[1]))
    return _bind(cropped, rounded.turned(w), (rest[0], rest[1]), precision)


def _transpose_w(
    dy: Any, x: Any, w: Any, *, padding: Padding, precision: str | None
) -> jax.Array:
    """dw is x convolved with dy as a kernel; channels play batch, the batch channels.

    x as [C, H, W, B] with dy as [Ho, Wo, B, O] gives [C, kh, kw, O].
    """
    del w
    images, kernel = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    dw = _bind(images, kernel, padding, precision)
    return dw.transpose(1, 2, 0, 3)


def _batch(
    args: Any, dims: Any, *, padding: Padding, precision: str | None
) -> tuple[jax.Array, int]:
    """vmap: fold the mapped axis into the batch or the output channels, else map.

    `dims` holds the mapped axis of x and of w, or None for one that is not mapped.
    """
    x, w = args
    x_dim, w_dim = dims
    if w_dim is None:
        x = jnp.moveaxis(x, x_dim, 0)
        y = _bind(x.reshape(-1, *x.shape[2:]), w, padding, precision)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    if x_dim is None:
        w = jnp.moveaxis(w, w_dim, 3)
        y = _bind(x, w.reshape(*w.shape[:3], -1), padding, precision)
        return y.reshape(*y.shape[:3], *w.shape[3:]), 3
    pairs = jnp.moveaxis(x, x_dim, 0), jnp.moveaxis(w, w_dim, 0)
    # One grouped convolution would be shorter, but XLA:CPU runs it 9 times slower.
    return lax.map(lambda xw: _bind(xw[0], xw[1], padding, precision), pairs), 0


_conv_p.def_impl(partial(jax.jit, static_argnames=("padding", "precision"))(_lax_conv))
_conv_p.def_abstract_eval(_abstract)
ad.defbilinear(_conv_p, _transpose_x, _transpose_w)
batching.primitive_batchers[_conv_p] = _batch
mlir.register_lowering(_conv_p, mlir.lower_fun(_lax_conv, multiple_results=False))
