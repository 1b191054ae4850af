"""A slim set is measured as the whole one: its whitening is fitted again first."""

import dataclasses

import numpy as np
import pytest

import jaxdd
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.slim import slim
from jaxdd.data import Dataset, fit_zca, from_arrays, unfitted
from jaxdd.evaluation import probing
from jaxdd.progress import listening
from tests.evaluation.tables import DATA, NAMES, PROBLEM, artifact, opened_of
from tests.helpers import refused

WHOLE = artifact(
    4,
    fit_zca(PROBLEM.splits.train.images),
    network={"name": "mlp", "width": 8},
    training=jaxdd.Training(30, 0.1, momentum=0.9),
)


def test_it_has_the_number_of_the_whole_set(tmp_path):
    path = artifacts.save(slim(WHOLE), tmp_path / "slim.npz")
    whole, again = (
        jaxdd.evaluate(x, num_eval=2, dataset=DATA)["mlp"] for x in (WHOLE, path)
    )
    assert again.accuracy == whole.accuracy
    assert again.random == whole.random
    assert again.protocol == whole.protocol  # and the digest in it
    assert whole.accuracy.mean > 40


def test_every_set_of_a_table_is_made_whole():
    blocks = artifact(2, fit_zca(PROBLEM.splits.train.images, block=4))
    sets = {"one": slim(WHOLE), "two": artifact(), "three": slim(blocks)}
    opened = opened_of({**sets, "four": slim(WHOLE)})
    assert not any(x.is_slim for x in opened.sets.values())
    assert opened.first.digest == WHOLE.digest
    assert opened.sets["three"].digest == blocks.digest
    # One fit serves all sets that were whitened by it, wherever they stand.
    assert opened.sets["four"].preprocess is opened.problem.preprocess
    later = opened_of({"two": artifact(), **sets, "four": slim(WHOLE)}).sets
    assert later["four"].preprocess is later["one"].preprocess
    np.testing.assert_array_equal(opened.problem.preprocess.matrix, WHOLE.fitted.matrix)


def test_sets_are_probed_slim_and_whole():
    config = probing.Config(
        artifact="in memory", workdir="w", probe_kinds="random", probes=1
    )
    sets = {"slim": slim(WHOLE), "whole": WHOLE, "other": slim(WHOLE)}
    opened = probing.open_sets(config, sets, DATA)
    assert {x.digest for x in opened.sets.values()} == {WHOLE.digest}
    # One that was whitened on another machine, with other last digits.
    matrix = WHOLE.fitted.matrix * np.float32(1 + 2e-7)
    far = dataclasses.replace(WHOLE.fitted, matrix=matrix)
    sets["far"] = dataclasses.replace(WHOLE, preprocess=far)
    assert len(probing.open_sets(config, sets, DATA).sets) == 4
    with refused("have different preprocessing"):
        probing.open_sets(config, {"slim": slim(WHOLE), "b": artifact()}, DATA)


def test_other_data_and_other_shares_of_it_are_refused():
    with refused("its fingerprint differs"):
        other = from_arrays(
            DATA.images[:-1], DATA.labels[:-1], DATA.images, DATA.labels, NAMES
        )
        jaxdd.evaluate(slim(WHOLE), dataset=other)
    origin = {**WHOLE.dataset, "split_seed": 1}
    with refused("is another one than that of these training data"):
        jaxdd.evaluate(dataclasses.replace(slim(WHOLE), dataset=origin), dataset=DATA)


def test_a_plan_over_data_that_are_not_decoded_is_refused(monkeypatch):
    """A few images stand for all of them there, and their whitening is another."""
    monkeypatch.setattr(Dataset, "is_decoded", property(lambda self: False))
    with refused("are not decoded yet"):
        jaxdd.evaluate(slim(WHOLE), dataset=DATA)


@pytest.mark.parametrize(("long", "said"), [(1, 1), (1000, 0)])
def test_what_a_long_fit_takes_is_said(monkeypatch, long, said):
    monkeypatch.setattr(unfitted, "_LONG", long)
    events = []
    with listening(events.append):
        slim(WHOLE).preprocess.fit(PROBLEM.splits.train.images)
    assert len(events) == said
    assert all("fitting the whitening again" in str(event) for event in events)
