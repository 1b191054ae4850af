"""PDD's rule: networks that are new learn the earlier segments first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.fields import override
from jaxdd.learners.fresh import fresh
from jaxdd.learners.lessons import after_lessons
from jaxdd.learners.passes import in_passes
from jaxdd.learners.pools import pool, real_pool
from jaxdd.methods.build import build, source_of
from jaxdd.synthetic.sets import flatten
from jaxdd.training.fit import Training, make_fit, rows
from tests.helpers import assert_close, refused, toy_start
from tests.toy_methods import (
    CONTEXT,
    EARLIER,
    INPUTS,
    NETWORK,
    is_new,
    start_for,
    toy_method,
    toy_recipe,
)

LESSONS = Training(3, 0.05)
BETWEEN = Training(1, 0.05, batch_size=12)
SOURCES = {
    "fresh": fresh(NETWORK),
    "held": fresh(NETWORK, 2),
    "pool": pool(NETWORK, 2, BETWEEN),
    "real_pool": in_passes(real_pool(NETWORK, 2, BETWEEN, 12)),
}
NOTHING = EARLIER._replace(
    earlier=EARLIER.earlier._replace(labels=0 * EARLIER.earlier.labels)
)
# Whose sources are asked by themselves above.
OTHERS = ("m3d", "dsa", "idc")
KEYS = jax.random.split(jax.random.key(5), 4)


@pytest.mark.parametrize("name", SOURCES)
def test_a_new_network_learns_the_earlier_segments_once(name):
    source = SOURCES[name]
    taught = after_lessons(source, NETWORK, LESSONS)
    draw, advance = jax.jit(taught.draw), jax.jit(taught.advance)
    state, made = taught.init(KEYS[0]), toy_start(INPUTS)
    plain = draw(KEYS[1], state, NOTHING)  # the first segment: there is nothing
    assert is_new(plain)
    key_draw, key_fit, _ = jax.random.split(KEYS[1], 3)
    assert_close(plain, source.draw(key_draw, state, NOTHING))

    # All images of the earlier segments, without the empty slots.
    earlier = flatten(EARLIER.earlier)
    present = np.flatnonzero(np.asarray(earlier.labels).any(1))
    members = lambda data, epoch: jnp.zeros(9, bool).at[present].set(True)
    fit = jax.jit(make_fit(NETWORK, LESSONS, fetch=rows, members=members))
    learner = draw(KEYS[1], state, EARLIER)
    assert_close(learner, fit(key_fit, plain, earlier)[0])

    # The second match of a network goes on with it, as the source does.
    after = advance(KEYS[2], state, learner, made, EARLIER)
    if name == "fresh":
        assert source.is_new(after)
        return
    assert not source.is_new(after)
    second = draw(KEYS[3], after, EARLIER)
    assert not is_new(second)
    assert_close(second, source.draw(KEYS[3], after, EARLIER))
    if name == "held":
        assert_close(second, learner)
    third = advance(KEYS[2], after, second, made, EARLIER)
    assert source.is_new(third)
    assert is_new(source.draw(KEYS[3], third, EARLIER))


@pytest.mark.parametrize(
    "base", ["dm", *(pytest.param(b, marks=pytest.mark.slow) for b in OTHERS)]
)
def test_the_rule_changes_the_images_of_a_later_segment_alone(base):
    images = {}
    for rule in ("filter", "pdd"):
        recipe = override(
            toy_recipe(base, augmentation="none"),
            {"segments": 2, "segment_rule": rule, "image_lr": 0.1},
        )
        method = toy_method(recipe)
        state = method.init(jax.random.key(0), start_for(recipe))
        step = jax.jit(method.step)
        for segment, inputs in (("first", NOTHING), ("later", EARLIER)):
            new, info = step(jax.random.key(1), state, inputs)
            assert all(np.isfinite(x) for x in info.values())
            images[rule, segment] = new.codes.images
    moved = np.abs(images["pdd", "later"] - images["filter", "later"]).max()
    assert moved > 1e-7
    assert not np.array_equal(images["pdd", "later"], images["pdd", "first"])


@pytest.mark.parametrize("base", ["mtt", "datm"])
def test_students_that_begin_at_experts_are_refused(base):
    recipe = override(toy_recipe(base), {"segments": 2, "segment_rule": "pdd"})
    with refused("--segment_rule=pdd .* which this method has not: use filter"):
        build(NETWORK, recipe, CONTEXT)
    # One piece has no earlier ones: there is nothing to be refused.
    build(NETWORK, override(recipe, {"segments": 1}), CONTEXT)


def test_a_window_begins_after_the_lessons():
    """Which lies in the steps of the student, as without lessons."""
    recipe = toy_recipe("rat_bptt", augmentation="none")
    taught = override(recipe, {"segments": 2, "segment_rule": "pdd"})
    drawn = {}
    for name, chosen in (("plain", recipe), ("taught", taught)):
        source = source_of(NETWORK, chosen, CONTEXT)
        drawn[name] = jax.jit(source.draw)(KEYS[0], source.init(KEYS[1]), EARLIER)
    assert is_new(drawn["plain"])
    assert not is_new(drawn["taught"])
    assert int(drawn["taught"].window.start) <= 2  # of five steps, three of a window


def test_windows_that_a_probe_has_chosen_are_refused():
    flags = {"segments": 2, "segment_rule": "pdd", "policy": "adaptive"}
    with refused("whose window no probe has chosen"):
        build(NETWORK, override(toy_recipe("rat_bptt"), flags), CONTEXT)
