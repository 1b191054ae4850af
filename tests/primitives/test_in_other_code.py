"""The primitives inside JAX code of others: dtypes, meshes, labels, optimisers."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxdd
from jaxdd.primitives.losses import LOSSES, mean_loss
from jaxdd.types import Batch, Network, Outputs, Synthetic
from tests.helpers import refused, tiny_network, toy_real

KEY = jax.random.key(0)


def float64_network():
    """A plain network whose parameters have the precision that x64 gives them."""

    def init(key):
        a, b = jax.random.split(key)
        kernels = 0.1 * jax.random.normal(a, (64, 4)), jax.random.normal(b, (4, 3))
        return {"block0": {"kernel": kernels[0]}, "head": {"kernel": kernels[1]}}, {}

    def apply(params, stats, images, train):
        x = jnp.tanh(images.reshape(len(images), -1) @ params["block0"]["kernel"])
        return Outputs(x @ params["head"]["kernel"], (x,)), stats

    return Network(init, apply)


def method_of(network):
    match = jaxdd.gradient_match(
        network, jaxdd.DISTANCES["ours"], jaxdd.siamese(jaxdd.dsa("crop"))
    )
    return jaxdd.make_method(
        jaxdd.per_class(match, jaxdd.Sampling(4)),
        jaxdd.learners.fresh.fresh(network),
        jaxdd.make_decoder(),
        optax.sgd(1.0),
    )


def test_a_method_keeps_its_precision_among_float64_parameters():
    """A scan refuses a step that returns another dtype than it got."""
    with jax.enable_x64(True):
        real = jax.tree.map(jnp.float32, toy_real())._replace(
            labels=toy_real().labels, table=toy_real().table, counts=toy_real().counts
        )
        method = method_of(float64_network())
        start = jaxdd.initial_set(KEY, "real", real, 1)
        start = jax.tree.map(jnp.float32, start)
        state = method.init(KEY, start)

        def step(state, t):
            inputs = jaxdd.Inputs(real, real)
            return method.step(jax.random.fold_in(KEY, t), state, inputs)

        state, _ = jax.jit(lambda x: jax.lax.scan(step, x, jnp.arange(2)))(state)
        assert state.codes.images.dtype == jnp.float32


def test_seeds_are_sharded_over_devices():
    """With shard_map's check of what varies over the mesh."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("seed",))
    method, real = method_of(tiny_network()), toy_real()

    def loss_of(keys):
        state = method.init(keys[0], jaxdd.initial_set(keys[0], "noise", real, 1))
        info = method.step(keys[0], state, jaxdd.Inputs(real, real))[1]
        return info["loss"][None]

    spec = PartitionSpec("seed")
    losses = jax.jit(jax.shard_map(loss_of, mesh=mesh, in_specs=spec, out_specs=spec))
    assert np.isfinite(losses(jax.random.split(KEY, len(jax.devices())))).all()


def test_students_are_sharded_over_devices():
    """Their set is the same everywhere, and its gradient the sum over devices."""
    devices = jax.devices()
    mesh = jax.sharding.Mesh(np.array(devices), ("student",))
    network = tiny_network()
    loss, labels = mean_loss(network), jax.nn.one_hot(jnp.arange(6) % 3, 3)
    step = jaxdd.student_step(loss, microbatch=4)

    def total(images, keys):
        params, stats = network.init(keys[0])
        batch = Batch(images, labels)
        last, _ = jaxdd.unroll(
            step, params, batch, jnp.float32(0.1), stats, jnp.arange(2)
        )
        return loss(last, batch, stats)[None]

    parts = PartitionSpec("student")
    sharded = jax.shard_map(
        total, mesh=mesh, in_specs=(PartitionSpec(), parts), out_specs=parts
    )
    keys = jax.random.split(KEY, len(devices))
    images = jax.random.normal(KEY, (6, 8, 8, 1))
    ours = jax.jit(jax.grad(lambda x: sharded(x, keys).sum()))(images)
    each = jax.vmap(total, (None, 0))
    alone = jax.jit(jax.grad(lambda x: each(x, keys[:, None]).sum()))
    np.testing.assert_allclose(ours, alone(images), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnet", {}),
        ("convnet", {"precision": "bfloat16"}),
        ("mlp", {"precision": "bfloat16"}),
    ],
    ids=lambda x: x if isinstance(x, str) else "".join(x.values()),
)
def test_images_are_sharded_over_devices(name, options):
    """The gradient of shared parameters is the sum over devices, in every form."""
    size = {"width": 8} if name == "mlp" else {"width": 4, "depth": 2}
    network = jaxdd.make_network(name, (8, 8, 1), 3, **size, **options)
    params, stats = network.init(KEY)
    images = jax.random.normal(KEY, (2 * len(jax.devices()), 8, 8, 1))

    def total(params, images):
        return jnp.sum(network.apply(params, stats, images, False)[0].logits ** 2)

    def of_part(params, images):
        return jax.grad(lambda p: jax.lax.psum(total(p, images), "image"))(params)

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("image",))
    every, parts = PartitionSpec(), PartitionSpec("image")
    sharded = jax.shard_map(
        of_part, mesh=mesh, in_specs=(every, parts), out_specs=every
    )
    ours, _ = ravel_pytree(jax.jit(sharded)(params, images))
    alone, _ = ravel_pytree(jax.jit(jax.grad(total))(params, images))
    np.testing.assert_allclose(ours, alone, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_images_with_explicit_sharding(precision):
    """A mesh of explicit axes, outside of `shard_map`."""
    network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=8, precision=precision)
    params, stats = network.init(KEY)
    images = jax.random.normal(KEY, (len(jax.devices()), 8, 8, 1))

    def total(params, images):
        return jnp.sum(network.apply(params, stats, images, False)[0].logits ** 2)

    alone, _ = ravel_pytree(jax.jit(jax.grad(total))(params, images))
    count = (len(jax.devices()),)
    mesh = jax.make_mesh(count, ("image",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        parts = jax.device_put(images, NamedSharding(mesh, PartitionSpec("image")))
        everywhere = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        leaves = jax.tree.leaves(jax.jit(jax.grad(total))(everywhere, parts))
    ours = np.concatenate([np.ravel(x) for x in leaves])
    np.testing.assert_allclose(ours, alone, atol=1e-2 * np.abs(alone).max())


def test_a_result_that_differs_between_devices_is_not_taken_as_the_same():
    """Networks keep what varies over a mesh, so that JAX can check it."""
    network = tiny_network(precision="bfloat16")
    params, stats = network.init(KEY)
    logits = lambda images: network.apply(params, stats, images, False)[0].logits
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("image",))
    sharded = jax.shard_map(
        logits,
        mesh=mesh,
        in_specs=PartitionSpec("image"),
        out_specs=PartitionSpec(),
    )
    with pytest.raises(ValueError, match="replicat"):
        jax.eval_shape(sharded, jnp.zeros((len(jax.devices()), 8, 8, 1)))


def test_bfloat16_parameters_stay_so():
    network = tiny_network()
    params, stats = network.init(KEY)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    labels = jax.nn.one_hot(jnp.arange(6) % 3, 3)
    images = jax.random.normal(KEY, (6, 8, 8, 1), jnp.bfloat16)
    loss = mean_loss(network)

    def of_gradient(images):
        batch = Batch(images, labels)
        gradient = jaxdd.inner_gradient(loss, microbatch=4)(params, batch, stats)
        return sum(
            jnp.sum(x.astype(jnp.float32) ** 2) for x in jax.tree.leaves(gradient)
        )

    def of_path(images, step_size):
        step, batch = jaxdd.student_step(loss), Batch(images, labels)
        last, _ = jaxdd.unroll(step, params, batch, step_size, stats, jnp.arange(2))
        assert {x.dtype for x in jax.tree.leaves(last)} == {jnp.dtype(jnp.bfloat16)}
        return loss(last, batch, stats).astype(jnp.float32)

    assert jax.grad(of_gradient)(images).dtype == jnp.bfloat16
    by_images, by_size = jax.grad(of_path, (0, 1))(images, jnp.float32(0.1))
    assert (by_images.dtype, by_size.dtype) == (jnp.bfloat16, jnp.float32)


INDICES = """
import jax.numpy as jnp
import jaxdd
from jaxdd.primitives.losses import LOSSES
for name, loss in LOSSES.items():
    try:
        loss(jnp.ones((3, 3)), jnp.arange(3))
    except jaxdd.UserError as error:
        print(name, error)
try:
    jaxdd.siamese("color")(None, jnp.ones((1, 8, 8, 1)))
except jaxdd.UserError as error:
    print("siamese", error)
"""


def test_class_indices_are_no_labels_and_names_no_operations():
    """Without the checks of types, which only these tests have: indices would be spread
    over the classes where there are as many samples."""
    lines = subprocess.run(
        [sys.executable, "-c", INDICES], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    *of_losses, of_siamese = lines
    assert [line.split()[0] for line in of_losses] == list(LOSSES)
    assert all("floats [B, K]" in x and "jax.nn.one_hot" in x for x in of_losses)
    assert "jaxdd.dsa(name)" in of_siamese


def test_norms_of_class_indices_are_refused():
    """Those of class 0 would count as padding."""
    loss = lambda w, batch, _: jnp.mean((batch.images @ w - batch.labels) ** 2)
    with refused("one_hot"):
        jaxdd.per_sample_gradient_norms(loss)(
            jnp.ones(2), Batch(jnp.eye(2), jnp.arange(2)), ()
        )


def test_batches_of_numpy_train():
    network = tiny_network()
    fit = jaxdd.make_fit(network, jaxdd.Training(1, batch_size=4))
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    batch = Batch(images, np.eye(3, dtype=np.float32)[np.arange(6) % 3])
    learner = jaxdd.Learner(*network.init(KEY))
    ours = jax.jit(lambda key: fit(key, learner, batch))(KEY)
    theirs = jax.jit(fit)(KEY, learner, jax.tree.map(jnp.asarray, batch))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: jaxdd.Training(1, optimizer="rmsprop").updates(), "unknown optimiser"),
        (lambda: mean_loss(tiny_network(), loss="hinge"), "unknown loss 'hinge'"),
        (lambda: jaxdd.distill("digits", "dm", seed=KEY), "seed must be"),
    ],
)
def test_words_that_are_no_choice_are_named(build, words):
    with refused(words):
        build()


def test_an_optimiser_is_kept_to_the_images():
    """As the docstring of make_method says: decay moves what has no gradient, too."""
    network, real = tiny_network(), toy_real()
    match = jaxdd.feature_match(network, jaxdd.siamese(()))
    optimizer = optax.masked(
        optax.adamw(0.1, weight_decay=1.0), Synthetic(True, False, False)
    )
    method = jaxdd.make_method(
        jaxdd.per_class(match, jaxdd.Sampling(4)),
        jaxdd.learners.fresh.fresh(network), jaxdd.make_decoder(), optimizer,
    )  # fmt: skip
    start = jaxdd.initial_set(KEY, "real", real, 1)
    state = method.init(KEY, start._replace(step_size=jnp.float32(0.5)))
    new, _ = method.step(KEY, state, jaxdd.Inputs(real, real))
    assert np.any(new.codes.images != start.images)
    np.testing.assert_array_equal(new.codes.labels, start.labels)
    assert new.codes.step_size == 0.5
