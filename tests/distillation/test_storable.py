"""What could not be stored or found at the end of a run is refused at its start."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.artifact import schema
from jaxdd.artifact.file import contents, from_contents
from jaxdd.data.columns import Column
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.storing import artifact_of, check_storable
from jaxdd.progress import Started
from jaxdd.scores.table import SCORES, Score
from jaxdd.storage.arrays import Member
from jaxdd.types import Synthetic
from tests.helpers import refused

LABELS = np.arange(60) % 3
ROWS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
IMAGES = np.random.default_rng(0).random((60, 8, 8, 1), np.float32)


def data(samples=ROWS, **options):
    return jaxdd.from_arrays(samples, LABELS, samples[:6], LABELS[:6], **options)


def opened(dataset, method="dm", **flags):
    return open_run(method, flags, dataset=dataset)


@dataclass(frozen=True)
class Held(jaxdd.FeatureMatching):
    name: ClassVar[str] = "held"
    own: Any = None


def nested(depth):
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_header_that_no_reader_would_take(monkeypatch):
    """Of a table with very many columns, say."""
    monkeypatch.setitem(schema.HEADER, "header", Member("U", 0, largest=20_000))
    run = opened(data())
    check_storable(run.problem, run.resolved)
    names = [Column("a" * 2000 + str(i)) for i in range(4)]
    with refused("'header' takes .* bytes, more than 20000"):
        opened(data(columns=names))


@pytest.mark.parametrize(
    ("dataset", "flags", "says"),
    [
        (data(columns=[Column("a")]), {}, "columns of its table do not fit"),
        (replace(data(), class_names=(0, 1, 2)), {}, "not a text"),
        (data(), {"eval_schedule": "halving", "eval_epochs": 15030}, "decay_epochs"),
        (
            data(np.zeros((60, 64, 64, 3), np.float32)),
            {"factor": 8, "ipc": 150},
            "its decoder makes",
        ),
    ],
    ids=["columns", "class names", "epochs", "factor"],
)
def test_sets_that_no_file_holds(monkeypatch, dataset, flags, says):
    monkeypatch.setattr("jaxdd.distillation.opening.check_ipc", lambda *_: None)
    with refused(says):
        opened(dataset, **flags)


def test_fields_of_ones_own_that_are_too_deep():
    recipe, begun = jaxdd.Recipe(Held(own=nested(40)), jaxdd.Fresh()), []
    with refused("nested more than"):
        jaxdd.distill((ROWS, LABELS), recipe, progress=begun.append)
    assert not [event for event in begun if isinstance(event, Started)]


@pytest.mark.parametrize("unit", [1e18, 1e-15])
def test_features_have_any_unit(unit):
    """Times in nanoseconds, say, or farads."""
    rows = np.array(ROWS)
    rows[:, 0] = unit * (17 + rows[:, 0])
    run = opened(data(rows))
    problem, resolved = run.problem, run.resolved
    assert problem.preprocess.std[0] == pytest.approx(unit, rel=0.3)
    protocol = resolved.protocol(1)
    blank = np.zeros((3, 1, 4), np.float32), np.eye(3)[:, None], np.float32(0)
    made = artifact_of(problem, resolved, protocol, Synthetic(*blank), 1, None)
    again = from_contents(contents(made))
    np.testing.assert_array_equal(again.preprocess.mean, problem.preprocess.mean)


def test_folders_where_files_go_are_refused_before_a_step(tmp_path):
    (tmp_path / "report.html").mkdir()
    begun = []
    with refused("report.html is a folder, and a run writes a file there"):
        jaxdd.distill((ROWS, LABELS), "dm", workdir=tmp_path, progress=begun.append)
    assert not [event for event in begun if isinstance(event, Started)]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"eval_augmentation": "shear"}, "shear"),
        ({"augmentation": "shear"}, "shear"),
        ({"score": "mood", "drop_hardest": 0.1}, "mood"),
        ({"scores": "none.npz", "drop_hardest": 0.1}, "none.npz"),
        ({"subset": "none.json"}, "none.json"),
        ({"precision": "tf32"}, "tf32"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_names_are_refused_before_data_are_read(flags, says):
    """Which are not there, and would be missed."""
    with refused(says):
        open_run("dsa", {"dataset": "folder:nowhere", **flags})


def test_a_score_of_crops_has_a_number_for_each(monkeypatch):
    bad = Score(lambda network, learner, batch: jnp.mean(batch.images), "networks")
    monkeypatch.setitem(SCORES, "bad", bad)
    with refused("the score bad gives an array of shape .* for 2 samples"):
        opened(data(IMAGES), "rded", realism_score="bad", steps=0)


def test_a_run_replaces_no_file_that_it_has_not_written(tmp_path):
    """Such as the table that it reads."""
    table = tmp_path / "samples.csv"
    rows = "".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(60))
    table.write_text("a,b,y\n" + rows)
    run = {"label": "y", "net": "mlp", "steps": 1, "workdir": tmp_path}
    with refused(None, "samples.csv is there, and no run of this folder wrote it"):
        jaxdd.distill(f"table:{table}", "dm", **run)
    assert table.read_text().endswith(rows)
    assert not (tmp_path / "run.json").exists()
