"""Products of bfloat16 operands: values and derivatives of any order beside float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.devices import mesh, policy
from jaxdd.errors import UserError
from jaxdd.nets import conv2d, make_network, rounded

# image [B, H, W, C], kernel [kh, kw, C, O], stride, padding
CASES = {
    "3x3": ((4, 6, 6, 16), (3, 3, 16, 8), 1, 1),
    "not square": ((2, 7, 5, 6), (5, 3, 6, 3), 1, (2, 1)),
    "wide padding": ((2, 4, 4, 6), (3, 3, 6, 3), 1, 3),
    "stride 2": ((2, 7, 6, 6), (3, 3, 6, 4), 2, 1),
    "1x1": ((2, 3, 3, 6), (1, 1, 6, 8), 1, 0),
}
# Relative errors (L2). Operands have eight bits, so a product of random ones is off by
# about 2^-9; derivatives here carry the error of one and of two layers below them.
VALUE, FIRST, SECOND = 0.005, 0.05, 0.08


def gap(found, exact):
    found, exact = np.ravel(np.asarray(found, np.float64)), np.ravel(exact)
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def operands(case):
    image, kernel, stride, padding = CASES[case]
    rng = np.random.default_rng(0)
    shapes = (image, kernel) * 2
    arrays = [rng.normal(size=shape) for shape in shapes]
    return arrays, {"stride": stride, "padding": padding}


def everything(conv, arrays):
    """Values, first and second derivatives, and all of them under vmap."""
    x, w, dx, dw = arrays

    def loss(x, w):
        return jnp.sin(conv(x, w)).sum()

    gradient = jax.grad(loss, (0, 1))

    def slope(x, w):
        parts = zip(gradient(x, w), (dx, dw), strict=True)
        return sum(jnp.vdot(a, b) for a, b in parts)

    xs, ws = jnp.stack([x, dx]), jnp.stack([w, dw])
    one = lambda w, x: loss(x[None], w)
    return {
        "value": (conv(x, w), jax.vmap(conv)(xs, ws), jax.vmap(conv, (None, 0))(x, ws)),
        "tangent": jax.jvp(conv, (x, w), (dx, dw))[1],
        "first": (
            gradient(x, w),
            jax.vmap(gradient)(xs, ws),
            jax.vmap(jax.grad(one), (None, 0))(w, x),  # of single samples
            jax.vmap(jax.vmap(gradient, (None, 0)), (0, None))(xs, ws),
        ),
        "second": (
            jax.jvp(gradient, (x, w), (dx, dw))[1],
            jax.grad(slope, (0, 1))(x, w),
            jax.vmap(jax.grad(slope, (0, 1)))(xs, ws),
            jax.lax.map(lambda xw: jax.grad(slope)(*xw), (xs, ws)),
        ),
    }


@pytest.mark.parametrize("case", CASES)
def test_convolutions_and_their_derivatives(case):
    arrays, options = operands(case)
    form = lambda impl: partial(conv2d, impl=impl, **options)
    with jax.enable_x64(True):
        work = jax.jit(partial(everything, form("im2col")))
        exact = jax.tree.map(np.asarray, work([jnp.asarray(a) for a in arrays]))
    found = jax.jit(partial(everything, form("rounded")))(
        [jnp.asarray(a, jnp.float32) for a in arrays]
    )
    assert {a.dtype for a in jax.tree.leaves(found)} == {np.dtype("float32")}
    allowed = {"value": VALUE, "tangent": VALUE, "first": FIRST, "second": SECOND}
    for name, largest in allowed.items():
        gaps = jax.tree.leaves(jax.tree.map(gap, found[name], exact[name]))
        assert max(gaps) < largest, name
        assert min(gaps) > 1e-4, name  # or it was not rounded


def test_dense_layers_and_their_derivatives():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in ((6, 20), (20, 5)) * 2]
    with jax.enable_x64(True):
        work = jax.jit(partial(everything_dense, jnp.matmul))
        exact = jax.tree.map(np.asarray, work([jnp.asarray(a) for a in arrays]))
    found = jax.jit(partial(everything_dense, rounded.matmul))(
        [jnp.asarray(a, jnp.float32) for a in arrays]
    )
    for name, largest in {"value": VALUE, "first": FIRST, "second": SECOND}.items():
        gaps = jax.tree.leaves(jax.tree.map(gap, found[name], exact[name]))
        assert 1e-4 < min(gaps) <= max(gaps) < largest, name


def everything_dense(product, arrays):
    x, w, dx, dw = arrays
    pairs = jnp.stack([x, dx]), jnp.stack([w, dw])
    gradient = jax.grad(lambda x, w: jnp.sin(product(x, w)).sum(), (0, 1))
    return {
        "value": (product(x, w), jax.vmap(product)(*pairs)),
        "first": gradient(x, w),
        "second": jax.jvp(gradient, (x, w), (dx, dw))[1],
    }


def test_the_library_of_a_device_computes_the_same():
    (x, w, *_), _ = operands("3x3")
    x, w, pads = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32), ((1, 1),) * 2
    y = rounded._conv_products(x, w, pads)
    np.testing.assert_allclose(rounded._conv_library(x, w, pads), y, 1e-4, 1e-4)
    found = rounded._gradient_library(x, y, pads)
    expected = rounded._gradient_products(x, y, pads)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-3)


def test_all_of_it_can_be_lowered_for_a_gpu():
    arrays, options = operands("3x3")
    work = jax.jit(partial(everything, partial(conv2d, impl="rounded", **options)))
    traced = work.trace([jnp.asarray(a, jnp.float32) for a in arrays])
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    lines = [x for x in text.splitlines() if "stablehlo.convolution" in x]
    assert lines
    assert all("bf16" in line.split(":")[-1] for line in lines)
    assert all(line.split("->")[-1].count("xf32>") == 1 for line in lines)


def test_float64_stays_float64_outside_of_the_products():
    with jax.enable_x64(True):
        (x, w, *_), _ = operands("1x1")
        assert conv2d(jnp.asarray(x), jnp.asarray(w), impl="rounded").dtype == "float64"


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 6)])
def test_every_product_of_a_network_is_of_bfloat16(shape):
    network = make_network("convnet", shape, 3, width=8, depth=2, precision="bfloat16")
    params, stats = network.init(jax.random.key(0))

    def loss(params, images):
        outputs, _ = network.apply(params, stats, images, True)
        return jnp.square(outputs.logits).sum()

    def slope(params, images):
        gradient = jax.grad(loss)(params, images)
        return sum(jnp.vdot(x, x) for x in jax.tree.leaves(gradient))

    work = jax.jit(jax.grad(slope, argnums=1))
    text = work.lower(params, jnp.ones((2, *shape))).as_text()
    assert "stablehlo.convolution" not in text
    # Sums of squares are products of vectors, and stay in float32.
    products = [
        line for line in text.splitlines()
        if "stablehlo.dot_general" in line and "contracting_dims = [1]" in line
    ]  # fmt: skip
    assert len(products) > 20
    assert all(line.count("xbf16>") == 2 for line in products)
    assert all(line.rstrip().endswith("xf32>") for line in products)
    floats = [x.dtype for x in jax.tree.leaves(work(params, jnp.ones((2, *shape))))]
    assert set(floats) == {np.dtype("float32")}


def test_a_network_keeps_its_precision_wherever_it_is_traced():
    shape = (8, 8, 1)
    rounded_one, exact = (
        make_network("convnet", shape, 3, width=8, depth=1, precision=name)
        for name in ("bfloat16", "float32")
    )
    params, stats = exact.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, *shape))

    def logits(network):
        return network.apply(params, stats, images, False)[0].logits

    with policy.in_precision("bfloat16"):
        same = logits(exact)
    np.testing.assert_array_equal(logits(exact), same)
    assert 1e-4 < gap(logits(rounded_one), logits(exact)) < 0.02
    assert policy.choices().precision == "float32"


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="is not one of float32, tf32, bfloat16, auto"):
        make_network("mlp", (8, 8, 1), 3, precision="half")


def test_devices_share_the_work():
    network = make_network(
        "convnet", (8, 8, 1), 3, width=4, depth=2, precision="bfloat16"
    )
    params, stats = network.init(jax.random.key(0))

    def along_itself(images, params):
        def loss(params):
            return jnp.square(
                network.apply(params, stats, images, True)[0].logits
            ).sum()

        gradient = jax.grad(loss)(params)
        return jax.jvp(jax.grad(loss), (params,), (gradient,))[1]

    images = jax.random.normal(jax.random.key(1), (4, 2, 8, 8, 1))
    work = lambda: jax.jit(partial(policy.spread_axis, along_itself))(images, params)
    alone = work()
    with mesh.use(2):
        shared = work()
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
