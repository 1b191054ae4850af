"""Published cells: one list, processes that stop in time, a ledger and its page."""

import hashlib
import os
import signal
import sys
import threading
import zipfile
from pathlib import Path

import pytest

import jaxdd
from experiments import reproduce
from experiments.reproducing import cells, ledger, page, processes
from experiments.reproducing.cells import Cell, Published
from experiments.reproducing.places import Place, tasks
from experiments.reproducing.processes import Task
from experiments.reproducing.work import Work
from jaxdd.distillation import experts, options
from jaxdd.errors import UserError
from jaxdd.storage import signals
from jaxdd.storage.signals import Interrupted
from tests.helpers import refused

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
SMALL = {
    "net": "mlp", "width": 8, "num_eval": 2, "num_random": 5, "eval_epochs": 2,
    "probes": 1, "probe_steps": 1,
}  # fmt: skip


@pytest.fixture
def two_cells(monkeypatch):
    """A list of one small cell and one whose flags are refused."""
    good = Cell("digits", "dm", 1, "", Published(50.0, 30.0, "here"), SMALL)
    bad = Cell("digits", "dm", 1, "+sdc", None, {**SMALL, "inner_epochs": 2})
    monkeypatch.setattr(cells, "CELLS", {cell.name: cell for cell in (bad, good)})
    return good


def config(folder: Path, **changes) -> reproduce.Config:
    places = {"out": str(folder / "runs"), "results": str(folder / "results")}
    return reproduce.Config(**{**places, "steps": 1, **changes})


def test_a_run_that_fails_is_the_failure_of_the_program(two_cells, tmp_path):
    """With the sentence of the run in its log, and a list of all states."""
    flags = config(tmp_path, cells="digits-dm+sdc-1", at_once=2)
    with refused(None, "1 of the runs failed (digits-dm+sdc-1-seed0-1)"):
        reproduce.run(flags)
    log = tmp_path / "runs/digits-dm+sdc-1-seed0-1.log"
    assert "--inner_epochs" in log.read_text()
    assert "digits-dm+sdc-1" in (tmp_path / "runs/report.html").read_text()


def test_records_are_collected_from_a_folder_that_is_there(tmp_path):
    with refused(None, "does not exist", "workdirs of runs"):
        reproduce.run(config(tmp_path, collect=True))
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").mkdir()
    text = reproduce.run(config(tmp_path, collect=True))
    assert "0 records added" in text
    assert "no finished run lies in" in text


@pytest.mark.slow
def test_what_fails_does_not_stop_the_others_and_what_is_done_is_kept_once(
    two_cells, tmp_path
):
    packed = tmp_path / "made.zip"
    with refused(None, "1 of the runs failed (digits-dm+sdc-1-seed0-1)"):
        reproduce.run(config(tmp_path, at_once=2, pack=str(packed)))
    assert (
        "--inner_epochs" in (tmp_path / "runs/digits-dm+sdc-1-seed0-1.log").read_text()
    )

    (record,) = ledger.read(tmp_path / "results/ledger.jsonl")
    assert (record["cell"], record["steps"], record["partial"]) == (
        "digits-dm-1",
        1,
        True,
    )
    assert record["within"] is None  # a partial run is held against nothing
    assert record["difference"] == pytest.approx(
        record["distilled"]["mean"] - 50, abs=0.01
    )
    kept = tmp_path / "results/sets" / ledger.set_name(record)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == record["sha256"]

    again = reproduce.run(config(tmp_path, cells="digits-dm-1"))
    assert "in the ledger" in again
    assert len(ledger.read(tmp_path / "results/ledger.jsonl")) == 1

    other = tmp_path / "elsewhere"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(other / "runs")
    listed = reproduce.run(config(other, list=True))
    assert "finished, not in this ledger (--collect)" in listed
    assert "1 records added" in reproduce.run(config(other, collect=True))
    assert "0 records added" in reproduce.run(config(other, collect=True))
    assert ledger.read(other / "results/ledger.jsonl") == [record]
    assert (other / "results/sets" / kept.name).read_bytes() == kept.read_bytes()


class Script(Task):
    """A process of its own code in the place of an experiment."""

    @property
    def arguments(self) -> list[str]:
        return [sys.executable, "-c", self.program]


SAVES_WHEN_STOPPED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("tasks", "done", "failed"),
    [
        ([Script("a", "", {}), Script("b", "", {}, ["a"])], {"a", "b"}, []),
        ([Script("a", "exit(1)", {}), Script("b", "", {}, ["a"])], set(), ["a"]),
        ([Script("a", SAVES_WHEN_STOPPED, {}), Script("b", "", {})], {"b"}, []),
    ],
    ids=["in order", "not without what failed", "stopped in time"],
)
def test_processes(tasks, done, failed, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "LEAST", 0.0)
    ended = {}
    names = processes.run(
        tasks,
        lambda task, seconds, well: ended.update({task.name: well}),
        at_once=2,
        seconds=3.0,
        logs=tmp_path,
    )
    assert names == failed
    assert {name for name, well in ended.items() if well} == done


def test_the_set_of_another_device_is_another_file(known, tmp_path):
    """Records of one cell and seed do not take each other's sets."""
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.mkdir()
        (path / "distilled.npz").write_bytes(path.name.encode())
        sha256 = ledger.digest(path / "distilled.npz")
        assert ledger.append(tmp_path, {**known[0], "sha256": sha256}, path)
    for record in ledger.read(tmp_path / ledger.LEDGER):
        path = tmp_path / ledger.SETS / ledger.set_name(record)
        assert ledger.digest(path) == record["sha256"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_processes_too(number, tmp_path, monkeypatch):
    """Nobody is left behind who would go on writing."""
    ended = {}
    threading.Timer(2.0, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted, match="at run 1"):
        processes.run(
            [Script("a", "", {}), Script("b", SAVES_WHEN_STOPPED, {})],
            lambda task, seconds, well: ended.update({task.name: well}),
            at_once=2,
            seconds=None,
            logs=tmp_path,
        )
    assert ended == {"a": True, "b": False}


def test_what_a_run_removes_while_it_is_packed_is_left_out(tmp_path, monkeypatch):
    kept, gone = (tmp_path / f"digits-dm-1-seed0/{name}" for name in ("run.json", "x"))
    kept.parent.mkdir()
    kept.write_text("{}")
    gone.symlink_to(tmp_path / "a checkpoint that is not there any more")
    packed = tmp_path / "made.zip"  # among what is packed
    packed.touch()
    Work(tmp_path, tmp_path / "results", revision="x").pack(packed)
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == ["digits-dm-1-seed0/run.json"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"cells": "digits-dsa"}, "unknown 'digits-dsa' in --cells"),
        ({"cells": "digits-dm-1,digits-dm-1"}, "twice"),
        ({"minutes": 0.1}, "--minutes must be at least"),
        ({"seeds": "x"}, "--seeds must be"),
        ({"at_once": 0}, "--at_once must be"),
        ({"precision": "float16"}, "--precision must be one of"),
    ],
)
def test_refusals(flags, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        reproduce.run(config(tmp_path, **flags))
    assert not (tmp_path / "runs").exists()


def test_another_precision_is_another_run_with_a_bank_of_its_own(known, tmp_path):
    """What `auto` stands for differs by device: any record of the run is one of it."""
    cell = cells.CELLS["cifar10-mtt+sdc-1"]
    record = {**known[0], "cell": cell.name, "seed": 0, "steps": cell.steps}
    places = {
        name: Place(cell, 0, cell.steps, tmp_path, name)
        for name in ("auto", "float32", "bfloat16")
    }
    assert len({place.folder for place in places.values()}) == 3
    for name, place in places.items():
        flags = [task.flags for task in tasks([place], None)]
        assert len(flags) == 2  # the experts and the run
        given = {} if name == "auto" else {"precision": name}
        assert all(given.items() <= x.items() for x in flags)
        assert all(("precision" in x) == bool(given) for x in flags)
        assert (f"--precision={name}" in place.command) == bool(given)
        assert place.is_of({**record, "precision": "bfloat16"}) == (name != "float32")
        assert not place.is_of({**record, "precision": name, "seed": 1})


def test_a_damaged_ledger_is_refused_and_left_alone(two_cells, tmp_path):
    path = tmp_path / "results/ledger.jsonl"
    path.parent.mkdir()
    path.write_text('{"cell": 1}\n')
    with pytest.raises(UserError, match=r"ledger\.jsonl"):
        reproduce.run(config(tmp_path, list=True))
    assert path.read_text() == '{"cell": 1}\n'


@pytest.mark.parametrize(
    ("std", "mean", "within"),
    [(0.5, 72.0, True), (0.5, 72.1, False), (2.0, 73.9, True), (None, 68.0, True)],
)
def test_the_band(std, mean, within):
    assert Published(70.0, std, "here").agrees(mean) == within


def test_every_cell_is_a_run_that_there_is():
    """Its flags are those of a distillation, its steps the published ones."""
    for cell in cells.CELLS.values():
        options.check(options.Config(workdir="runs/x", **cell.flags))
        assert cell.base is None or cell.base in cells.CELLS
        if cell.bank is not None:
            training = experts.Config(workdir="runs/x", **cell.bank)
            assert (training.epochs, training.num_experts) > (0, 0)


# --- What is in the repository --------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> list[ledger.Record]:
    return ledger.read(RESULTS / ledger.LEDGER)


def test_the_page_is_the_ledger(known):
    sets = [path.name for path in (RESULTS / "sets").glob("*.npz")]
    assert (ROOT / "docs/results.md").read_text() == page.text(known, sets), (
        "run python -m experiments.reproduce --page=docs/results.md"
    )


def test_every_set_loads_and_is_of_the_ledger(known):
    hashes = {ledger.set_name(x): x.get("set_sha256", x["sha256"]) for x in known}
    paths = sorted((RESULTS / "sets").glob("*.npz"))
    assert paths
    for path in paths:
        assert ledger.digest(path) == hashes[path.name]
        assert jaxdd.load(path).displayable().max() <= 1
    assert sum(path.stat().st_size for path in paths) <= 12 * 10**6


def test_a_set_evaluates_to_the_number_in_the_ledger(known):
    """Another processor rounds otherwise, which training amplifies."""
    record = next(
        x for x in known if x["cell"] == "digits-dc-1" and x["device"] == "cpu x1"
    )
    evaluation = jaxdd.evaluate(
        RESULTS / "sets" / ledger.set_name(record), num_eval=record["distilled"]["n"]
    )
    (result,) = evaluation.values()
    assert result.accuracy.mean == pytest.approx(record["distilled"]["mean"], abs=0.5)


def test_what_waits_for_runs_outlives_them(tmp_path, monkeypatch):
    """After a signal it must not end before them, or their seconds would be lost."""
    deadlines = []

    def start(pool):
        deadlines.append(signals._deadline.get())

    monkeypatch.setattr(processes._Pool, "start", start)
    task = Task("one", "demo", {})
    processes.run([task], print, at_once=1, seconds=None, logs=tmp_path)
    assert deadlines[0] > processes.GRACE


def test_a_revision_that_the_ledger_cannot_keep_is_refused_at_once(tmp_path):
    with refused("--revision has 101 characters, and the ledger keeps at most 100"):
        reproduce.run(config(tmp_path, revision="a" * 101))
