"""Masks against the published cuts, slow loops and their promises."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.modifiers.depth import depth_order, layer_of
from jaxdd.modifiers.masks import (
    GRANULARITIES,
    KINDS,
    describe,
    kernels_only,
    make_mask,
)
from jaxdd.nets import make_network
from jaxdd.nets.registry import NETS
from jaxdd.primitives.trees import named_leaves
from tests.helpers import flat


@functools.cache
def shapes_of(name):
    """Shapes of the parameters; nothing is drawn."""
    network = make_network(name, (32, 3) if name == "convnet1d" else (32, 32, 3), 10)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return params


def names_of(name):
    return list(named_leaves(jax.tree.map(lambda x: jnp.zeros(()), shapes_of(name))))


def convnet_errors():
    """Squared errors of all parameters of the CIFAR-10 ConvNet-D3."""
    shapes = shapes_of("convnet")
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def random_like(shapes, seed=0):
    rng = np.random.default_rng(seed)
    leaves, structure = jax.tree.flatten(shapes)
    drawn = [jnp.asarray(rng.uniform(1, 2, x.shape), jnp.float32) for x in leaves]
    return jax.tree.unflatten(structure, drawn)


SMALL = {
    "block0": {
        "conv": {"kernel": (2, 3, 2, 4), "bias": (4,)},
        "norm": {"scale": (3, 2, 4), "bias": (3, 2, 4)},  # layer norm
    },
    "block1": {"conv": {"kernel": (1, 2, 4, 3), "bias": (3,)}},
    "head": {"kernel": (5, 3), "bias": (3,)},
}


def small(seed=0):
    shapes = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        SMALL,
        is_leaf=lambda x: isinstance(x, tuple),
    )
    return random_like(shapes, seed)


def size_of(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


# --- Order of depth -----------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_blocks_come_in_order_of_depth_and_the_head_last(name):
    names = names_of(name)
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    order = depth_order(shuffled)
    assert sorted(order) == sorted(names)
    blocks = list(dict.fromkeys(path.split("/")[0] for path in order))
    assert blocks == [f"block{i}" for i in range(len(blocks) - 1)] + ["head"]
    # A block, and a layer within it, is not left and entered again.
    layers = [layer_of(path) for path in order]
    for groups in (layers, [path.split("/")[0] for path in order]):
        changes = sum(a != b for a, b in itertools.pairwise(groups))
        assert changes == len(set(groups)) - 1


@pytest.mark.parametrize("name", NETS)
def test_weights_come_before_the_bias_of_their_layer(name):
    order = depth_order(names_of(name))
    for path in order:
        if path.endswith("/bias"):
            weight = order[order.index(path) - 1]
            assert weight in (path[:-4] + "kernel", path[:-4] + "scale")


def test_depth_is_that_of_a_run_by_number():
    """PyTorch's order of definition; the shortcut comes last."""
    order = depth_order(names_of("resnet18"))
    block = [layer_of(path) for path in order if path.startswith("block3/")]
    layers = ["conv1", "norm1", "conv2", "norm2", "shortcut_conv", "shortcut_norm"]
    assert list(dict.fromkeys(block)) == [f"block3/{layer}" for layer in layers]
    names = ["head", "block10", "block2", "block0", "block1"]
    assert depth_order(names) == ["block0", "block1", "block2", "block10", "head"]
    leaves = [f"{name}/conv/kernel" for name in names]
    assert depth_order(leaves)[-2] == "block10/conv/kernel"


# --- By depth -----------------------------------------------------------------------

# The depth variant's cuts of the CIFAR-10 ConvNet-D3 (320,010 parameters): ratio, k and
# how many entries fall into which tensor.
CUTS = [
    (0.25, 80_002, "block1/conv/kernel", 76_162),
    (0.5, 160_005, "block2/conv/kernel", 8_325),
    (0.75, 240_007, "block2/conv/kernel", 88_327),
]


@pytest.mark.parametrize(("ratio", "k", "tensor", "inside"), CUTS)
def test_the_cut_of_the_cifar10_convnet_is_the_published_one(ratio, k, tensor, inside):
    dropped = describe(make_mask("depth", ratio), convnet_errors())
    assert sum(size for _, size in dropped.values()) == 320_010
    assert sum(count for count, _ in dropped.values()) == k
    assert dropped[tensor][0] == inside
    order = depth_order(list(dropped))
    cut = order.index(tensor)
    assert all(dropped[path][0] == dropped[path][1] for path in order[:cut])
    assert all(dropped[path][0] == 0 for path in order[cut + 1 :])


def torch_order(tree):
    """(path, index in our layout) of every entry, by loops over PyTorch's axes."""
    # Which of our axes is their first, second, ... axis.
    axes = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0), 1: (0,)}
    for path in depth_order(list(named_leaves(tree))):
        shape = named_leaves(tree)[path].shape
        order = axes[len(shape)]
        for theirs in np.ndindex(*[shape[axis] for axis in order]):
            ours = [0] * len(shape)
            for axis, index in zip(order, theirs, strict=True):
                ours[axis] = index
            yield path, tuple(ours)


def test_a_depth_mask_is_a_constant_in_pytorchs_order():
    """At numbers of dropped entries within every tensor."""
    error = small()
    total, entries = size_of(error), list(torch_order(error))
    for k in {*range(1, total, 7), total - 1}:
        kept = named_leaves(make_mask("depth", (k + 0.5) / total)(error))
        assert all(kept[path][index] == 0 for path, index in entries[:k])
        assert sum(float(x.sum()) for x in kept.values()) == total - k
    mask = make_mask("depth", 0.4)
    a, b = mask(small(0)), jax.jit(mask)(small(1))
    assert np.array_equal(flat(a), flat(b))
    error = {f"block{i}": jnp.ones(4) for i in range(12)}
    kept = make_mask("depth", 0.88)(error)  # 42 of 48 entries
    assert [float(kept[f"block{i}"].sum()) for i in (0, 9, 10, 11)] == [0, 0, 2, 4]


# --- By loss ------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.29, 0.5, 0.999])
def test_a_loss_mask_drops_exactly_the_smallest_errors(ratio):
    error = small()
    kept = jax.jit(make_mask("loss", ratio))(error)
    assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, error)
    keep, errors = flat(kept), flat(error)
    dropped = int(np.floor(ratio * len(errors)))
    assert set(keep.tolist()) == {0.0, 1.0}
    assert np.sum(keep == 0) == dropped
    assert np.array_equal(np.sort(errors[keep == 0]), np.sort(errors)[:dropped])


@pytest.mark.parametrize("kind", ["loss", "depth"])
def test_a_ratio_of_decimals_drops_its_share(kind):
    """0.29 * 100 is 28.999... in floating point."""
    kept = make_mask(kind, 0.29)({"bias": jnp.arange(100.0)})
    assert float(kept["bias"].sum()) == 71


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_ties_drop_exactly_the_share(value):
    error = jax.tree.map(lambda x: jnp.full_like(x, value), small())
    kept = flat(make_mask("loss", 0.5)(error))
    assert np.sum(kept == 0) == size_of(error) // 2


def test_a_loss_mask_is_recomputed_from_the_error():
    mask = jax.jit(make_mask("loss", 0.5))
    assert not np.array_equal(flat(mask(small(0))), flat(mask(small(1))))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", ["depth", "loss"])
def test_nothing_flows_through_the_choice(x64, kind, granularity):
    mask, start = make_mask(kind, 0.6, granularity), small()
    start = jax.tree.map(lambda x: x.astype(jnp.float64), start)

    def masked(x):
        error = jax.tree.map(jnp.square, x)
        products = jax.tree.map(jnp.multiply, mask(error), error)
        return sum(map(jnp.sum, jax.tree.leaves(products)))

    gradient = jax.jit(jax.grad(masked))(start)
    kept = mask(jax.tree.map(jnp.square, start))
    assert np.any(flat(kept) == 0)
    np.testing.assert_allclose(flat(gradient), flat(kept) * 2 * flat(start))


# --- Whole layers -------------------------------------------------------------------

LAYERS = {"block0/conv": 52, "block0/norm": 48, "block1/conv": 27, "head": 18}
TOTAL = sum(LAYERS.values())


def dropped_layers(mask, error):
    """Layers that are dropped; every layer is dropped or kept as a whole."""
    assert {layer_of(path) for path in named_leaves(error)} == set(LAYERS)
    found = {}
    for path, (count, size) in describe(mask, error).items():
        assert count in (0, size)
        found.setdefault(layer_of(path), set()).add(count == size)
    assert all(len(answers) == 1 for answers in found.values())
    return [layer for layer, answers in found.items() if True in answers]


@pytest.mark.parametrize(
    ("allowed", "layers"), [(52, 1), (99, 1), (100, 2), (126, 2), (127, 3), (144, 3)]
)
def test_by_depth_layers_are_dropped_as_long_as_they_fit(allowed, layers):
    mask = make_mask("depth", (allowed + 0.5) / TOTAL, "layer")
    assert dropped_layers(mask, small()) == list(LAYERS)[:layers]


def test_by_depth_no_deeper_layer_is_dropped_instead():
    """The first layer fits; the second does not, though the third would."""
    mask = make_mask("depth", (52 + 30) / TOTAL, "layer")
    assert dropped_layers(mask, small()) == ["block0/conv"]


def layer_errors(means):
    """Errors whose mean over each layer is given."""
    named = named_leaves(small())
    scaled = {path: means[layer_of(path)] * (x > 0) for path, x in named.items()}
    return jax.tree.unflatten(jax.tree.structure(small()), list(scaled.values()))


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (144, ["block0/norm", "block1/conv", "head"]),
        (93, ["block0/norm", "block1/conv", "head"]),
        (92, ["block0/norm", "block1/conv"]),  # 17 left: neither of the others fits
        (74, ["block1/conv", "head"]),  # the norm is passed over
        (18, ["head"]),
    ],
)
def test_by_loss_layers_are_dropped_in_order_of_their_mean_error(allowed, expected):
    error = layer_errors(
        {"block1/conv": 1.0, "block0/norm": 2.0, "head": 3.0, "block0/conv": 4.0}
    )
    mask = jax.jit(make_mask("loss", (allowed + 0.5) / TOTAL, "layer"))
    assert sorted(dropped_layers(mask, error)) == expected


# --- Kernels of convolutions only ---------------------------------------------------


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_only_kernels_of_convolutions_are_kept(name):
    """Biases, norms and the classifier are dropped as a whole (IDC)."""
    shapes = shapes_of(name)
    kept = named_leaves(jax.eval_shape(kernels_only(), shapes))
    assert {path: x.shape for path, x in kept.items()} == {
        path: x.shape for path, x in named_leaves(shapes).items()
    }
    one = jax.tree.map(lambda x: jnp.ones((1,) * len(x.shape)), shapes)
    for path, x in named_leaves(kernels_only()(one)).items():
        assert np.all(np.asarray(x) == ("conv" in path and path.endswith("/kernel")))


def test_kernels_of_what_another_mask_keeps():
    error, other = small(), make_mask("loss", 0.5)
    kept, by_loss = kernels_only(other)(error), other(error)
    for block in ("block0", "block1"):
        ours, theirs = kept[block]["conv"], by_loss[block]["conv"]
        assert np.array_equal(ours["kernel"], theirs["kernel"])
        assert 0 < float(ours["kernel"].sum()) < ours["kernel"].size
        assert not np.any(ours["bias"])
    assert not np.any(flat(kept["head"]))
    assert not np.any(flat(kept["block0"]["norm"]))  # of rank 3


def test_a_network_without_convolutions_has_no_kernels_to_match():
    network = make_network("mlp", (8, 8, 1), 3, width=4)
    params, _ = network.init(jax.random.key(0))
    with pytest.raises(UserError, match="match all tensors") as raised:
        jax.eval_shape(kernels_only(), params)
    assert_one_sentence(raised.value)


# --- What the user may ask for ------------------------------------------------------


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_mask_where_nothing_is_dropped(kind, granularity):
    assert make_mask(kind, 0.0, granularity) is None
    assert make_mask("none", 0.5, granularity) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layers", 0.5), "none, depth, loss"),
        (("depth", 0.5, "tensor"), "scalar, layer"),
        (("depth", 1.0), r"\[0, 1\)"),
        (("loss", -0.1), r"\[0, 1\)"),
        (("loss", float("nan")), r"\[0, 1\)"),
        (("none", 2.0), r"\[0, 1\)"),
    ],
)
def test_a_wrong_argument_is_the_users_error(arguments, message):
    with pytest.raises(UserError, match=message) as raised:
        make_mask(*arguments)
    assert_one_sentence(raised.value)


def assert_one_sentence(error):
    assert "\n" not in str(error)
    assert not re.search(r"\. [A-Z]", str(error))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", ["depth", "loss"])
def test_a_positive_ratio_that_drops_nothing_is_refused(kind, granularity):
    mask = make_mask(kind, 0.9 / TOTAL, granularity)
    with pytest.raises(UserError, match="use a larger one") as raised:
        jax.jit(mask)(small())
    assert_one_sentence(raised.value)


@pytest.mark.parametrize("kind", ["depth", "loss"])
def test_a_share_smaller_than_any_layer_is_refused(kind):
    # The smallest layer has 18 entries, the first 52.
    mask = make_mask(kind, 17.5 / TOTAL, "layer")
    with pytest.raises(UserError, match="no whole layer"):
        mask(small())


def test_describe_lists_tensors_from_shallow_to_deep():
    error = {f"block{i}": {"conv": {"bias": jnp.ones(3)}} for i in range(11)}
    found = describe(make_mask("depth", 0.5), error)  # 16 of 33
    assert list(found) == [f"block{i}/conv/bias" for i in range(11)]
    assert list(found.values()) == [(3, 3)] * 5 + [(1, 3)] + [(0, 3)] * 5
