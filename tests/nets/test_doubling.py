"""The ConvNet of FRePo and RCIG, whose channels double, and flax's initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.nets import make_network
from jaxdd.nets.draws import draw_lecun
from tests import slow_networks as slow
from tests.helpers import refused, to64


def test_channels_double_and_the_norm_is_in_front(x64):
    """Of every block but the first; in training by the batch, then by what is kept."""
    network = make_network(
        "convnet_double", (8, 8, 2), 3, width=3, depth=2, norm="batch"
    )
    params, stats = to64(network.init(jax.random.key(0)))
    x = images = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
    p = jax.tree.map(np.asarray, params)
    assert sorted(p["block0"]) == ["conv"]
    assert sorted(p["block1"]) == ["conv", "norm"]
    x = slow.pool(slow.relu(slow.conv(x, p["block0"]["conv"]["kernel"])))
    before = x
    x = slow.norm(x, p["block1"]["norm"], (0, 1, 2))
    x = slow.pool(slow.relu(slow.conv(x, p["block1"]["conv"]["kernel"])))
    run = jax.jit(network.apply, static_argnums=3)
    outputs, new = run(params, stats, images, True)
    assert outputs.features[-1].shape == (4, 2 * 2 * 6)
    np.testing.assert_allclose(outputs.features[-1], x.reshape(4, -1), atol=1e-10)
    kept = new["block1"]["norm"]["statistics"]
    np.testing.assert_allclose(kept["mean"], 0.9 * before.mean((0, 1, 2)), atol=1e-10)
    variance = 0.1 + 0.9 * before.var((0, 1, 2))
    np.testing.assert_allclose(kept["variance"], variance, atol=1e-10)
    # With what is kept, images do not depend on each other.
    alone, same = run(params, new, images[:1], False)
    both = run(params, new, images, False)[0]
    np.testing.assert_allclose(alone.logits, both.logits[:1], atol=1e-10)
    np.testing.assert_array_equal(
        kept["mean"], same["block1"]["norm"]["statistics"]["mean"]
    )


@pytest.mark.parametrize(
    ("shape", "depth", "count"),
    [((32, 32, 3), 3, 1_560_842), ((28, 28, 1), 3, 1_558_538), ((64, 64, 3), 4, None)],
)
def test_the_published_sizes(shape, depth, count):
    """8192 features at 32 pixels, as in the official code; 28x28x1 counts for 32."""
    network = make_network("convnet_double", shape, 10, depth=depth)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    features = params["head"]["kernel"].shape[0]
    assert features == 16 * 128 * 2 ** (depth - 1)
    if count is not None:
        assert sum(x.size for x in jax.tree.leaves(params)) == count


def test_lecun_normal_values():
    """Variance 1/fan_in, nothing beyond two deviations before the cut, no biases."""
    layer = {
        "kernel": jax.ShapeDtypeStruct((3, 3, 16, 200), jnp.float32),
        "bias": jax.ShapeDtypeStruct((200,), jnp.float32),
    }
    norm = {"scale": jax.ShapeDtypeStruct((4,), jnp.float32)}
    drawn = draw_lecun(jax.random.key(0), {"conv": layer, "norm": norm})
    kernel = np.asarray(drawn["conv"]["kernel"]) * 144**0.5
    assert abs(kernel.std() - 1) < 0.01
    assert abs(kernel.mean()) < 0.01
    assert np.abs(kernel).max() <= 2 / 0.8796
    assert not np.any(drawn["conv"]["bias"])
    assert np.all(drawn["norm"]["scale"] == 1)


def test_what_it_refuses():
    for options, sentence in (
        ({"norm": "instance"}, "norm='instance' of convnet_double"),
        ({"pooling": "max"}, "convnet_double has no option pooling='max'"),
        ({"depth": 4}, "smaller depth"),
    ):
        with refused(None, sentence):
            make_network("convnet_double", (8, 8, 1), 3, **options)
