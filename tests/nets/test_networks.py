"""Networks by name: counts, shapes, derivatives, and what is refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.nets import NETS, has_batch_statistics, make_network
from tests import slow_networks as slow
from tests.helpers import refused

# Published or derived from the definitions: name, image shape, classes, options, P.
COUNTS = [
    ("convnet", (32, 32, 3), 10, {}, 320_010),
    ("convnet", (32, 32, 3), 100, {}, 504_420),
    ("convnet", (28, 28, 1), 10, {}, 317_706),
    ("convnet", (64, 64, 3), 200, {"depth": 4}, 857_160),
    ("convnet", (64, 64, 3), 200, {}, 1_938_120),
    ("convnet", (64, 64, 3), 1000, {"depth": 4}, 2_496_360),
    ("convnet", (128, 128, 3), 10, {"depth": 5}, 615_690),
    ("convnet_bn", (32, 32, 3), 10, {}, 320_010),
    ("mlp", (32, 32, 3), 10, {}, 411_146),
    ("mlp", (28, 28, 1), 10, {}, 118_282),
    ("lenet", (32, 32, 3), 10, {}, 62_006),
    ("lenet", (28, 28, 1), 10, {}, 61_706),
    ("alexnet", (32, 32, 3), 10, {}, 1_872_202),
    ("vgg11", (32, 32, 3), 10, {}, 9_231_114),
    ("resnet18", (32, 32, 3), 10, {}, 11_173_962),
    ("resnet18_ap", (32, 32, 3), 10, {}, 11_250_762),
    ("resnet18_ap_bn", (32, 32, 3), 10, {}, 11_250_762),
    ("resnet18_imagenet", (224, 224, 3), 1000, {}, 11_689_512),
]


def sizes_and_shapes(network, image_shape, train=True):
    """Shapes of (params, stats), outputs and new stats; nothing is computed."""
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((4, *image_shape), jnp.float32)
    run = lambda params, stats, images: network.apply(params, stats, images, train)
    outputs, new_stats = jax.eval_shape(run, params, stats, images)
    return params, stats, outputs, new_stats


def smallest_shape(name):
    size = max(8, NETS[name].smallest({}))
    return (size, 1) if name == "convnet1d" else (size, size, 1)


@pytest.mark.parametrize(("name", "shape", "classes", "options", "count"), COUNTS)
def test_parameter_counts(name, shape, classes, options, count):
    network = make_network(name, shape, classes, **options)
    params, _, outputs, _ = sizes_and_shapes(network, shape)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    chex.assert_shape(outputs.logits, (4, classes))


# An evaluation differs where there are statistics.
STATISTICS = ("convnet_bn", "resnet18_ap_bn", "resnet18_imagenet")


@pytest.mark.parametrize(
    ("name", "train"), [*((x, True) for x in NETS), *((x, False) for x in STATISTICS)]
)
def test_outputs_of_every_network(name, train):
    shape = smallest_shape(name)
    network = make_network(name, shape, 7)
    params, stats, outputs, new_stats = sizes_and_shapes(network, shape, train)
    chex.assert_shape(outputs.logits, (4, 7))
    assert outputs.features[-1].shape == (4, params["head"]["kernel"].shape[0])
    blocks = [f"block{i}" for i in range(len(outputs.features))]
    assert sorted(params) == [*blocks, "head"]  # in order of depth
    chex.assert_trees_all_equal_structs(stats, new_stats)
    assert (
        has_batch_statistics(network)
        == bool(stats)
        == name.endswith(("_bn", "_imagenet"))
    )
    leaves = jax.tree.leaves((params, outputs, new_stats))
    assert all(leaf.dtype == jnp.float32 and not leaf.weak_type for leaf in leaves)


@pytest.mark.parametrize("name", ["convnet", "mlp", "resnet18"])
def test_small_digits_reach_every_layer(name):
    network = make_network(name, (8, 8, 1), 3, width=4)
    params, stats = jax.jit(network.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))

    @jax.jit
    def gradient(params):
        loss = lambda p: jnp.sum(network.apply(p, stats, images, True)[0].logits[:, 0])
        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        if "kernel" in jax.tree_util.keystr(path):
            assert float(jnp.abs(leaf).max()) > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    ("name", "axes", "size"), [("", (1, 2), 28), ("_bn", (0, 1, 2), 16)]
)
def test_resnet18_ap_pools_where_resnet18_strides(name, axes, size):
    """DC's networks.py: means after the first ReLU of a block and before the norm of
    its shortcut, and a head on the whole last map."""
    network = make_network(f"resnet18_ap{name}", (size, size, 1), 3, width=4)
    with jax.enable_x64(True):
        params, stats = jax.jit(network.init)(jax.random.key(0))
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        x = np.random.default_rng(0).normal(size=(2, size, size, 1))
        run = jax.jit(lambda p, s, x: network.apply(p, s, x, True)[0])
        found = run(params, stats, x)
    p = jax.tree.map(np.asarray, params)
    stem = p["block0"]
    x = slow.relu(slow.norm(slow.conv(x, stem["conv"]["kernel"]), stem["norm"], axes))
    for i in range(1, 9):
        block, halve = p[f"block{i}"], i in (3, 5, 7)
        y = slow.conv(x, block["conv1"]["kernel"])
        y = slow.relu(slow.norm(y, block["norm1"], axes))
        y = slow.pool(y) if halve else y
        y = slow.norm(slow.conv(y, block["conv2"]["kernel"]), block["norm2"], axes)
        if halve:
            x = slow.pool(slow.conv(x, block["shortcut_conv"]["kernel"]))
            x = slow.norm(x, block["shortcut_norm"], axes)
        x = slow.relu(x + y)
    features = x.reshape(2, -1)
    assert features.shape == (2, 32 * (size // 8) ** 2)
    logits = features @ p["head"]["kernel"] + p["head"]["bias"]
    np.testing.assert_allclose(found.features[-1], features, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
@pytest.mark.parametrize("norm", ["instance", "group", "layer", "batch", "none"])
def test_options_of_the_convnet(norm, pooling):
    options = {"norm": norm, "pooling": pooling, "activation": "swish"}
    network = make_network("convnet", (10, 7, 2), 5, width=8, depth=2, **options)
    _, stats, outputs, _ = sizes_and_shapes(network, (10, 7, 2))
    maps = [(10, 7), (10, 7)] if pooling == "none" else [(5, 3), (2, 1)]
    assert [f.shape for f in outputs.features] == [(4, h * w * 8) for h, w in maps]
    assert bool(stats) == (norm == "batch")


@pytest.mark.parametrize(
    ("activation", "pooling", "norm"),
    [("relu", "avg", "instance"), ("swish", "max", "group")],
)
def test_derivatives_of_the_convnet_by_finite_differences(activation, pooling, norm):
    options = {"activation": activation, "pooling": pooling, "norm": norm}
    network = make_network("convnet", (8, 8, 1), 3, width=8, depth=2, **options)
    with jax.enable_x64(True):
        params, stats = network.init(jax.random.key(0))
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        rng = np.random.default_rng(0)
        images = jnp.asarray(rng.normal(size=(3, 8, 8, 1)))
        direction = jnp.asarray(rng.normal(size=images.shape))

        def loss(params, images):
            outputs, _ = network.apply(params, stats, images, True)
            return -jax.nn.log_softmax(outputs.logits)[:, 0].mean()

        def gradient_norm(images):
            gradient = jax.grad(loss)(params, images)
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))

        step = 1e-6 * direction
        for f in (lambda images: loss(params, images), gradient_norm):
            run = jax.jit(f)
            numeric = (run(images + step) - run(images - step)) / 2e-6
            exact = jnp.vdot(jax.jit(jax.grad(f))(images), direction)
            np.testing.assert_allclose(exact, numeric, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("conv", (8, 8, 1), {}, "network='conv' is not one of convnet, convnet_bn,"),
        ("mlp", (8, 8, 1), {"norm": "batch"}, "mlp has no option norm='batch'"),
        ("lenet", (32, 32, 1), {"width": 8}, "its options: none"),
        ("convnet", (8, 8, 1), {"norm": "x"}, "norm='x' of convnet is not one of"),
        ("convnet_bn", (8, 8, 1), {"norm": "none"}, "norm='batch' by its name"),
        ("convnet", (8, 8, 1), {"width": 0}, "width=0 of convnet must be at least 1"),
        ("convnet", (8, 8, 1), {"depth": 9}, "depth=9 of convnet must be at most 8"),
        ("convnet", (8, 8, 1), {"norm": "group", "width": 6}, "multiple of 4, not 6"),
        ("convnet", (8, 9, 1), {"depth": 4}, "16x16 pixels or a smaller depth"),
        ("lenet", (8, 8, 1), {}, "at least 16x16 pixels, not 8x8"),
        ("alexnet", (7, 8, 1), {}, "at least 8x8 pixels, not 7x8"),
        ("vgg11", (28, 28, 3), {}, "at least 32x32 pixels, not 28x28"),
        ("convnet1d", (4, 2), {}, "sequences of at least 8 steps"),
        ("convnet", (8, 2), {}, "does not take sequences [L, C]: use convnet1d, mlp"),
        ("mlp", (8, 0), {}, "image_shape=(8, 0) must be positive numbers"),
    ],
)
def test_bad_requests_are_refused(name, shape, options, message):
    with refused(None, message):
        make_network(name, shape, 3, **options)


def test_images_of_another_shape_are_refused():
    network = make_network("mlp", (8, 8, 1), 3)
    params, stats = network.init(jax.random.key(0))
    with pytest.raises(UserError, match=r"images \[B, 8, 8, 1\], not \[2, 8, 8, 3\]"):
        network.apply(params, stats, jnp.zeros((2, 8, 8, 3)), False)
