"""Convolution and pooling against NumPy loops and against `lax` in float64."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxdd.nets import avg_pool2, conv2d, max_pool2
from jaxdd.nets.conv import max_pool3
from tests.helpers import refused

# image [B, H, W, C], kernel [kh, kw, C, O], stride, padding
CASES = {
    "3x3": ((2, 6, 6, 5), (3, 3, 5, 4), 1, 1),
    "not square": ((2, 7, 5, 6), (5, 3, 6, 3), 1, (2, 1)),
    "no padding": ((1, 5, 6, 7), (3, 2, 7, 2), 1, 0),
    "wide padding": ((2, 4, 4, 6), (3, 3, 6, 3), 1, 3),
    "stride 2": ((2, 7, 6, 6), (3, 3, 6, 4), 2, 1),
    "1x1 stride 2": ((2, 5, 6, 5), (1, 1, 5, 3), 2, 0),
}
FORMS = ("canonical", "im2col")


def operands(case):
    image, kernel, stride, padding = CASES[case]
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=image), rng.normal(size=kernel)
    return jnp.asarray(x), jnp.asarray(w), {"stride": stride, "padding": padding}


def loop_conv(x, w, stride, padding):
    ph, pw = (padding, padding) if isinstance(padding, int) else padding
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    kh, kw = w.shape[:2]
    height = (x.shape[1] - kh) // stride + 1
    width = (x.shape[2] - kw) // stride + 1
    y = np.zeros((x.shape[0], height, width, w.shape[3]))
    for b, i, j, o in np.ndindex(*y.shape):
        window = x[b, i * stride : i * stride + kh, j * stride : j * stride + kw]
        y[b, i, j, o] = (window * w[..., o]).sum()
    return y


def derivatives(x, w, **options):
    """Value, gradients, and both kinds of second derivative of a curved loss."""

    def loss(xw):
        return jnp.sin(conv2d(*xw, **options)).sum()

    xw = (x, w)
    direction = jax.tree.map(lambda a: jnp.cos(7 * a), xw)
    forward_over_reverse = jax.jvp(jax.grad(loss), (xw,), (direction,))[1]

    def slope(xw):
        parts = jax.tree.map(jnp.vdot, jax.grad(loss)(xw), direction)
        return sum(parts)

    return loss(xw), jax.grad(loss)(xw), forward_over_reverse, jax.grad(slope)(xw)


def assert_close(actual, expected):
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10),
        actual,
        expected,
    )


@pytest.mark.parametrize("impl", ["lax", "canonical", "im2col", None])
@pytest.mark.parametrize("case", CASES)
def test_conv_equals_a_loop(case, impl):
    with jax.enable_x64(True):
        x, w, options = operands(case)
        y = conv2d(x, w, impl=impl, **options)
        assert y.dtype == jnp.float64
        assert_close(y, loop_conv(np.asarray(x), np.asarray(w), **options))


@pytest.mark.parametrize("impl", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_derivatives_equal_those_of_lax(case, impl):
    with jax.enable_x64(True):
        x, w, options = operands(case)
        run = jax.jit(derivatives, static_argnames=("stride", "padding", "impl"))
        actual = run(x, w, impl=impl, **options)
        assert_close(actual, run(x, w, impl="lax", **options))
        assert_close(actual[2], actual[3])


@pytest.mark.parametrize("impl", FORMS)
def test_derivatives_equal_finite_differences(impl):
    with jax.enable_x64(True):
        x, w, options = operands("not square")

        def f(x, w):
            x, w = jnp.asarray(x), jnp.asarray(w)  # check_grads calls with NumPy
            return jnp.tanh(conv2d(x, w, impl=impl, **options))

        tolerance = {"eps": 1e-5, "rtol": 1e-5, "atol": 1e-5}
        check_grads(f, (x, w), order=2, modes=("fwd", "rev"), **tolerance)


@pytest.mark.parametrize(
    ("impl", "axes"),
    [
        ("canonical", (0, None)),
        ("canonical", (None, 4)),
        ("canonical", (2, 1)),
        ("im2col", (2, 1)),
    ],
)
def test_vmap_of_values_and_gradients(impl, axes):
    with jax.enable_x64(True):
        x, w, options = operands("3x3")
        rng = np.random.default_rng(1)
        stack = [
            a
            if axis is None
            else jnp.stack([a * s for s in rng.normal(size=3)], axis=axis)
            for a, axis in zip((x, w), axes, strict=True)
        ]

        def f(impl):
            def loss(x, w):
                return jnp.sin(conv2d(x, w, impl=impl, **options)).sum()

            def slope(x, w):
                return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1))(x, w))

            both = lambda x, w: (
                conv2d(x, w, impl=impl, **options),
                jax.grad(loss, (0, 1))(x, w),
                jax.grad(slope, (0, 1))(x, w),
            )
            return jax.jit(jax.vmap(both, axes))(*stack)

        assert_close(f(impl), f("lax"))


def test_mixed_dtypes_are_promoted_and_no_type_is_weak():
    with jax.enable_x64(True):
        x, w, options = operands("3x3")
        y = conv2d(x.astype(jnp.float32), w, **options)
        assert y.dtype == jnp.float64
        assert not y.aval.weak_type


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"impl": "fft"}, "impl='fft' is not one of lax, im2col, canonical"),
        ({"stride": 0}, "stride=0 of a convolution must be at least 1"),
        ({"padding": 0}, "the padded image is 2x2"),
    ],
)
def test_bad_options_are_refused(options, message):
    x, w = jnp.zeros((1, 2, 2, 1)), jnp.zeros((3, 3, 1, 1))
    with refused(None, message):
        conv2d(x, w, **{"padding": 1, **options})


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 7, 2)])
def test_pooling_equals_a_loop(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    h, w = shape[1] // 2, shape[2] // 2
    windows = [[x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for j in range(w)]
               for i in range(h)]  # fmt: skip
    for pool, reduce in ((avg_pool2, np.mean), (max_pool2, np.max)):
        expected = np.array([[reduce(v, (1, 2)) for v in row] for row in windows])
        y = pool(jnp.asarray(x))
        np.testing.assert_allclose(y, expected.transpose(2, 0, 1, 3), rtol=1e-6)


def test_gradient_of_max_pool_goes_to_one_element_of_a_tie():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 2:, 2:, 0].set(jnp.array([[1.0, 3], [3, 2]]))
    gradient = jax.grad(lambda x: max_pool2(x).sum())(x)
    expected = np.zeros((4, 4))
    expected[[0, 0, 2, 2], [0, 2, 0, 3]] = 1  # the first of equal values
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)
    assert jnp.isnan(max_pool2(x.at[0, 0, 1, 0].set(jnp.nan))[0, 0, 0, 0])
    # Windows of 3x3 around the pixels with even indices, of each the first maximum.
    gradient = jax.jit(jax.grad(lambda x: max_pool3(x).sum()))(x)
    expected = np.zeros((4, 4))
    expected[[0, 0, 2], [0, 1, 3]] = 1
    expected[1, 0] = 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@pytest.mark.slow  # it times, which nothing else may run beside
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a defect of XLA:CPU")
@pytest.mark.usefixtures("optimised")
def test_weight_gradient_inside_scan_is_as_fast_as_outside():
    """The defect that `conv.py` avoids: with `lax` this ratio is about 30."""
    count = 8
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (count, 8, 16, 16, 64))
    w = jax.random.normal(keys[1], (3, 3, 64, 64))
    gradient = jax.grad(lambda w, x: jnp.sum(conv2d(x, w, padding=1) ** 2))

    @jax.jit
    def inside(w):
        return lax.scan(lambda total, x: (total + gradient(w, x), None), w, images)[0]

    @jax.jit
    def outside(w):
        total = w
        for x in images:
            total = total + gradient(w, x)
        return total

    def seconds(f):
        start = time.perf_counter()
        jax.block_until_ready(f(w))
        return time.perf_counter() - start

    for f in (inside, outside):
        seconds(f)
    # Interleaved, and the least of several, against other work on the machine.
    times = [(seconds(inside), seconds(outside)) for _ in range(7)]
    scanned, unrolled = (min(column) for column in zip(*times, strict=True))
    assert scanned < 4 * unrolled, f"{scanned:.3f} s in scan, {unrolled:.3f} s outside"
