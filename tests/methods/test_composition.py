"""Methods are compositions: each by hand from its parts is the one of its recipe."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from jaxdd import augment
from jaxdd.augment.views import Views
from jaxdd.learners.aged import aged_pool
from jaxdd.learners.fresh import fresh
from jaxdd.learners.interpolated import interpolated
from jaxdd.learners.passes import in_passes
from jaxdd.learners.pools import pool, real_pool
from jaxdd.learners.spans import StartEpochs, spans
from jaxdd.learners.teacher import constant_teacher
from jaxdd.learners.windows import drawn_windows
from jaxdd.methods.assembly import Extras, make_method
from jaxdd.modifiers.masks import kernels_only
from jaxdd.objectives import (
    Sampling,
    contrastive_match,
    convex_match,
    feature_match,
    gradient_match,
    per_batch,
    per_class,
    per_set,
    per_slot,
    per_span,
    regression_match,
    statistics_match,
    switch,
    trajectory_match,
)
from jaxdd.objectives.calibration import calibrated
from jaxdd.objectives.feature_distances import (
    MMD,
    Attention,
    CharacteristicFunction,
)
from jaxdd.objectives.sampling import minibatch_of_step
from jaxdd.objectives.unrolled import unrolled_match
from jaxdd.primitives import DISTANCES, inner_adam
from jaxdd.primitives.quadratic import by_conjugate_gradients
from jaxdd.synthetic.decoder import make_decoder
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.optimizer import SGD, clip_by_running_norm, make_optimizer
from jaxdd.training.fit import Training
from jaxdd.types import Method
from tests.toy_methods import (
    EXPERTS,
    NETWORK,
    NORMED,
    PIXELS,
    inputs_of,
    start_for,
    toy_method,
    toy_recipe,
)

NONE, FLIP = augment.siamese(()), augment.siamese(augment.pipeline("crop_flip"))
OURS, MSE = DISTANCES["ours"], DISTANCES["mse"]
BETWEEN = Training(2, 0.05)  # of a pool's networks
UPDATES = make_optimizer(SGD().make(0.1))


def dc() -> Method:
    objective = per_class(gradient_match(NETWORK, OURS, NONE), Sampling(8))
    source = pool(NETWORK, 3, BETWEEN)
    return make_method(objective, source, make_decoder(), UPDATES)


def dsa() -> Method:
    objective = per_class(gradient_match(NETWORK, OURS, FLIP), Sampling(8))
    source = pool(NETWORK, 3, BETWEEN, augment.training("crop_flip"))
    return make_method(objective, source, make_decoder(), UPDATES)


def dsac() -> Method:
    """One warm-up step of the first network; both kinds of step are taken."""
    alone = per_class(gradient_match(NETWORK, OURS, FLIP), Sampling(8))
    together = per_set(contrastive_match(NETWORK, OURS, FLIP), Sampling(8))
    objective = switch(lambda step: (step // 3 >= 1) | (step % 3 >= 1), alone, together)
    source = pool(NETWORK, 3, BETWEEN, augment.training("crop_flip"))
    return make_method(objective, source, make_decoder(), UPDATES)


def dm() -> Method:
    objective = per_class(feature_match(NETWORK, FLIP), Sampling(8))
    optimizer = make_optimizer(SGD().make(1.0))
    return make_method(objective, fresh(NETWORK), make_decoder(), optimizer)


def clip_always(codes, inputs, step):
    return codes._replace(images=jnp.clip(codes.images, 0, 1))


def m3d() -> Method:
    """A kernel, networks held for two matches, pixels clipped in every step."""
    siamese = augment.siamese(augment.pipeline("idc:crop_flip"))
    match = feature_match(NETWORK, siamese, distance=MMD("polynomial"))
    return make_method(
        per_class(match, Sampling(8, 200)),
        in_passes(fresh(NETWORK, 2)),
        make_decoder(formation=Formation(2, limit=200), space=PIXELS),
        make_optimizer(SGD(0.5, "sequential").make(1e-3)),
        Extras(prepare=clip_always),
    )


def datadam() -> Method:
    match = feature_match(NETWORK, FLIP, distance=Attention(power=4, features=0.01))
    objective, optimizer = per_class(match, Sampling(8)), SGD(0.5).make(1.0)
    return make_method(
        objective, fresh(NETWORK), make_decoder(), make_optimizer(optimizer)
    )


def ncfm() -> Method:
    siamese = augment.siamese(augment.pipeline("idc:crop_flip"))
    distance = CharacteristicFunction(frequencies=16)
    matched = per_class(feature_match(NETWORK, siamese, distance=distance), Sampling(8))
    return make_method(
        calibrated(matched, NETWORK, siamese, 1.0),
        interpolated(NETWORK, EXPERTS),
        make_decoder(formation=Formation(2), space=PIXELS),
        make_optimizer(optax.adamw(2e-3, weight_decay=5e-4)),
        Extras(prepare=clip_always),
    )


def idc() -> Method:
    """Kernels of tiles, from pixels that are clipped for every new network."""
    siamese = augment.siamese(augment.pipeline("idc:crop_flip"))
    match = gradient_match(NETWORK, MSE, siamese, mask=kernels_only())
    training = Training(1, 0.05, momentum=0.9, weight_decay=5e-4, batch_size=10)
    mixed = augment.training("idc:crop_flip+cutmix=0.5")
    source = in_passes(real_pool(NETWORK, 3, training, 24, mixed))

    def clip(codes, inputs, step):
        clipped = jnp.clip(codes.images, 0, 1)
        return codes._replace(images=jnp.where(step % 3 == 0, clipped, codes.images))

    return make_method(
        per_class(match, Sampling(8, 6)),
        source,
        make_decoder(formation=Formation(2, limit=6), space=PIXELS),
        make_optimizer(SGD(order="sequential").make(1e-4)),
        Extras(prepare=clip),
    )


def trajectories(truncated=False, decoded="hard", **rest) -> Method:
    per_image = augment.per_image(augment.pipeline("crop_flip"))
    match = trajectory_match(NETWORK, per_image, 3, 4, truncated=truncated)
    return make_method(
        per_span(match),
        spans(NETWORK, EXPERTS, StartEpochs(0, 5)),
        make_decoder(decoded),
        make_optimizer(SGD().make(3.0), step_size=SGD().make(1e-4), **rest),
    )


def datm() -> Method:
    return trajectories(False, "soft", labels=SGD(0.9).make(0.3), gate=10.0)


def rat_bptt() -> Method:
    flip = augment.per_image(augment.pipeline("flip"))
    match = unrolled_match(
        NETWORK, inner_adam(0.05), minibatch_of_step(flip), flip, steps=3
    )
    updates = optax.chain(clip_by_running_norm(2.0), optax.adam(0.05))
    return make_method(
        per_batch(match, 16),
        drawn_windows(NETWORK, 0, 2),
        make_decoder(),
        make_optimizer(updates),
    )


def frepo() -> Method:
    """LAMB on images and targets along a cosine, a pool of two networks."""
    between = Training(1, 0.01, batch_size=1000, optimizer="adam", loss="mse")
    lamb = optax.lamb(optax.cosine_decay_schedule(0.05, 1000, alpha=0.1))
    return make_method(
        per_batch(regression_match(NETWORK, NONE, ridge=0.01), 18),
        aged_pool(NETWORK, 2, 101, between, (1, 2)),
        make_decoder("targets"),
        make_optimizer(lamb, lamb),
    )


def rcig() -> Method:
    """AdaBelief on images, targets and the logarithm of a scale; their average."""
    solver = by_conjugate_gradients(3)
    between = Training(1, 0.01, batch_size=1000, optimizer="adam", loss="mse")
    of_images, of_scale = optax.adabelief(0.05), optax.adabelief(0.1)
    return make_method(
        per_batch(convex_match(NETWORK, solver, solver, NONE), 18),
        aged_pool(NETWORK, 2, 99, between, (1, 2)),
        make_decoder("targets", positive=True),
        make_optimizer(of_images, of_images, of_scale),
        Extras(ema_decay=0.9, ema_of="all"),
    )


def sre2l() -> Method:
    """Adam by its own decays, to a rate of 0; pixels clipped after every update."""
    match = statistics_match(NORMED, Views(area=0.5, roll=1), 0.01)
    adam = optax.adam(optax.cosine_decay_schedule(0.02, 1000), b1=0.5, b2=0.9)

    def clip(codes):
        pixels = jnp.clip(PIXELS.encode(codes.images), 0, 1)
        return codes._replace(images=PIXELS.decode(pixels))

    return make_method(
        per_slot(match),
        constant_teacher(),
        make_decoder(),
        make_optimizer(adam),
        Extras(finish=clip),
    )


BY_HAND = {
    "dc": dc,
    "dsa": dsa,
    "dsac": dsac,
    "dm": dm,
    "m3d": m3d,
    "datadam": datadam,
    "ncfm": ncfm,
    "idc": idc,
    "mtt": trajectories,
    "tesla": lambda: trajectories(truncated=True),
    "datm": datm,
    "rat_bptt": rat_bptt,
    "frepo": frepo,
    "rcig": rcig,
    "sre2l": sre2l,
}


# What makes these two steps tell more.
CHANGES = {
    "dsac": {"warmup_networks": 1, "warmup_matches": 1},
    "m3d": {"matches": 2, "kernel": "polynomial"},
}


# One of every objective and decoder; the others are left to `make test-slow`.
USUAL = ("dsa", "dcc", "idc", "dm", "datm", "frepo", "rat_bptt", "sre2l")


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x in USUAL else pytest.mark.slow) for x in BY_HAND],
)
def test_a_method_by_hand_is_that_of_its_recipe(name):
    """To the bit, over two steps: all of the state, and what is logged."""
    recipe = toy_recipe(name, **CHANGES.get(name, {}))
    histories = []
    for method in (toy_method(recipe), BY_HAND[name]()):
        state = method.init(jax.random.key(0), start_for(recipe))
        # Both are one program, which is compiled once.
        step = jax.jit(method.step)
        history = [state]
        for t in range(2):
            key = jax.random.fold_in(jax.random.key(1), t)
            state, info = step(key, state, inputs_of(recipe))
            history += [state, info]
        history += [method.result(state), method.stored(state)]
        histories.append(jax.tree.map(_plain, history))
    chex.assert_trees_all_equal(*histories)
    images = [state.codes.images for state in histories[0][:2]]
    assert not jnp.array_equal(*images)


def _plain(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
