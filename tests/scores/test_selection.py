"""Real samples that are selected instead of distilled."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.nets import make_network
from jaxdd.primitives.ends import ENDS
from jaxdd.scores import selection
from jaxdd.scores.dataset import compute
from jaxdd.scores.selection import by_score, herding, k_centre, select
from jaxdd.scores.table import Effort
from tests.helpers import COUNTS, toy_real

REAL = toy_real()
POINTS = np.random.default_rng(3).normal(size=(sum(COUNTS), 5)) + 1.0
MEMBERS = [np.flatnonzero(np.asarray(REAL.labels) == k) for k in range(3)]


def slow_herding(points, ipc):
    chosen = []
    for _ in range(ipc):
        left = [i for i in range(len(points)) if i not in chosen]
        means = [points[[*chosen, i]].mean(axis=0) for i in left]
        gaps = [np.linalg.norm(points.mean(axis=0) - mean) for mean in means]
        chosen.append(left[int(np.argmin(gaps))])
    return chosen


def slow_k_centre(points, ipc):
    between = np.linalg.norm(points[:, None] - points[None], axis=-1)
    to_mean = np.linalg.norm(points - points.mean(axis=0), axis=1)
    chosen = [int(np.argmin(to_mean))]
    while len(chosen) < ipc:
        chosen.append(int(np.argmax(between[:, chosen].min(axis=1))))
    return chosen


@pytest.mark.parametrize(
    ("fast", "slow"), [(herding, slow_herding), (k_centre, slow_k_centre)]
)
def test_features_choose_as_slow_loops_do(fast, slow):
    with jax.enable_x64(True):
        chosen = np.asarray(fast(jnp.asarray(POINTS), REAL, 6))
    for row, members in zip(chosen, MEMBERS, strict=True):
        assert row.tolist() == members[slow(POINTS[members], 6)].tolist()


@pytest.mark.parametrize("choose", [herding, k_centre])
def test_a_small_class_gives_its_samples_again(choose):
    chosen = np.asarray(choose(jnp.float32(POINTS), REAL, 10))
    for row, members, count in zip(chosen, MEMBERS, COUNTS, strict=True):
        assert set(row) <= set(members)
        assert len(set(row)) == min(count, 10)
        assert row[count:].tolist() == row[: max(0, 10 - count)].tolist()


def test_equal_samples_are_still_distinct():
    """Where every distance is 0, the k-centre is not the same sample again."""
    chosen = np.asarray(k_centre(jnp.zeros((sum(COUNTS), 2)), REAL, 4))
    assert all(len(set(row)) == 4 for row in chosen)


def test_scores_choose_the_ends_and_the_middle_of_each_class():
    scores = np.random.default_rng(0).permutation(sum(COUNTS)).astype(float)
    for end in ENDS:
        chosen = by_score(scores, REAL, 3, end)
        for row, members in zip(chosen, MEMBERS, strict=True):
            order = members[np.argsort(scores[members])]
            spare = len(order) - 3
            first = {"easy": 0, "median": spare // 2, "hard": spare}[end]
            assert row.tolist() == order[first : first + 3].tolist()


def test_several_ways_share_their_networks(monkeypatch):
    network = make_network("mlp", (8, 8, 1), 3, width=4)
    effort = dataclasses.replace(Effort(), networks=1, train_steps=1)
    trained = []
    usual = selection.probes_of

    def counted(*args):
        probes = usual(*args)

        def once():
            trained.append(probes())
            return trained[-1]

        return once

    monkeypatch.setattr(selection, "probes_of", counted)
    names = ["el2n_hard", "kcenter", "herding"]
    chosen = select(names, [1, 2], network, REAL, 0, effort)
    assert chosen.keys() == {(name, size) for name in names for size in (1, 2)}
    assert len({id(x) for x in trained}) == 1
    scores = compute(network, REAL, 0, ["el2n"], effort)["el2n"]
    hardest = [members[np.argmax(scores[members])] for members in MEMBERS]
    assert chosen["el2n_hard", 1].ravel().tolist() == hardest
    for row in chosen["herding", 2], chosen["kcenter", 2]:
        assert (np.asarray(REAL.labels)[row] == np.arange(3)[:, None]).all()
