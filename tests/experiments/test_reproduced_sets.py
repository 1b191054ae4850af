"""The sets of published cells that are whitened: slim beside the ledger, and packed."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import jaxdd
from experiments import convert, reproduce
from experiments.reproducing import ledger, page, sets, work
from experiments.reproducing.work import Work
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.slim import filled
from jaxdd.errors import UserError
from tests.faults.artifact_subjects import artifact_of, digits
from tests.helpers import full_disk, refused

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def sample():
    """A record of the repository's ledger."""
    return ledger.read(RESULTS / ledger.LEDGER)[0]


@pytest.fixture
def told(monkeypatch):
    sentences = []
    for module in (sets, work):
        monkeypatch.setattr(module, "say", sentences.append)
    return sentences


@pytest.fixture
def at_hand(monkeypatch):
    """Sets above 20 kB are large, and made slim without another process."""
    monkeypatch.setattr(sets, "LARGEST_SET", 20_000)

    def run(command, env, **others):
        assert command[1:4] == ["-m", "experiments.convert", command[3]]
        assert env["JAX_PLATFORMS"] == "cpu"
        flags = dict(x.removeprefix("--").partition("=")[::2] for x in command[3:])
        try:
            convert.run(convert.Config(**{**flags, "slim": True}))
        except UserError as error:
            return SimpleNamespace(returncode=2, stderr=f"\nerror: {error}\n")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)


def finished(folder, sample, slim_fits=True, zca=True):
    """A finished run; its record."""
    made = artifact_of(zca=zca, soft=False, without_matrices=zca)
    if zca:
        made = filled(made, made.preprocess.fit(digits().splits.train.images))
    if not slim_fits:
        made = made.keep([[i % 2 for i in range(30)]] * 10)
    path = artifacts.save(made, folder / sets.WHOLE)
    record = {**sample, "sha256": ledger.digest(path)}
    ledger.write_record(record, folder)
    return record


def test_a_large_set_is_slim_in_the_pack_and_in_both_ledgers(
    tmp_path, sample, told, at_hand
):
    record = finished(tmp_path / "out/a", sample)
    here = Work(tmp_path / "out", tmp_path / "here", revision="x")
    (tmp_path / "out/b").mkdir()
    (tmp_path / "out/b/checkpoint").write_bytes(bytes(30_000))
    here.pack(tmp_path / "made.zip")
    assert told[-1].endswith("left out, larger than 2 MB each: b/checkpoint")
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        assert set(archive.namelist()) == {"a/record.json", "a/slim.npz"}
        archive.extractall(tmp_path / "there/out")
    there = Work(tmp_path / "there/out", tmp_path / "there", revision="x")
    (tmp_path / "here").mkdir()
    assert (here.collect(), there.collect(), there.collect()) == (1, 1, 0)
    (stored,) = ledger.read(tmp_path / "there" / ledger.LEDGER)
    assert ledger.read(tmp_path / "here" / ledger.LEDGER) == [stored]
    assert {k: v for k, v in stored.items() if k != "set_sha256"} == record
    for folder in ("here", "there"):
        path = tmp_path / folder / ledger.SETS / ledger.set_name(stored)
        assert ledger.digest(path) == stored["set_sha256"]
        assert record["sha256"][:8] in path.name
        assert jaxdd.load(path).is_slim


def test_a_small_set_stays_what_it_is(tmp_path, sample, at_hand, monkeypatch):
    monkeypatch.setattr(sets, "LARGEST_SET", 10**6)
    record = finished(tmp_path / "a", sample)
    assert ledger.append(tmp_path, record, tmp_path / "a")
    (stored,) = ledger.read(tmp_path / ledger.LEDGER)
    assert stored == record
    path = tmp_path / ledger.SETS / ledger.set_name(record)
    assert ledger.digest(path) == record["sha256"]


@pytest.mark.parametrize(
    ("largest", "flags", "words"),
    [
        (3000, {"zca": False}, "holds no matrices that could be left"),
        (4000, {"slim_fits": False}, "its set is left out, even slim larger than"),
    ],
)
def test_what_is_too_large_for_all_that_is_named(
    tmp_path, sample, told, at_hand, monkeypatch, largest, flags, words
):
    monkeypatch.setattr(sets, "LARGEST_SET", largest)
    record = finished(tmp_path / "out/a", sample, **flags)
    folder = Work(tmp_path / "out", tmp_path, revision="x")
    folder.pack(tmp_path / "made.zip")
    assert words in told[0]
    assert told[-1].endswith("larger than 2 MB each: a/distilled.npz")
    assert ledger.append(tmp_path, record, tmp_path / "out/a")
    assert not (tmp_path / ledger.SETS).exists()
    told.clear()
    folder.pack(tmp_path / "made.zip")  # whenever a run ends
    assert len(told) == 1


def test_a_set_of_another_run_is_not_taken_for_the_records(tmp_path, sample, told):
    record = finished(tmp_path / "a", sample)
    (tmp_path / "a" / sets.WHOLE).write_bytes(b"measured again")
    assert ledger.append(tmp_path, record, tmp_path / "a")
    assert told == ["a: distilled.npz is not that of the record, and is left out"]
    assert not (tmp_path / ledger.SETS).exists()


def test_a_damaged_record_does_not_keep_the_others_from_the_pack(
    tmp_path, sample, told, at_hand
):
    for name in "ab":
        finished(tmp_path / "out" / name, sample)
    (tmp_path / "out/a" / ledger.RECORD).write_text("{")
    Work(tmp_path / "out", tmp_path, revision="x").pack(tmp_path / "made.zip")
    assert "record.json" in told[0]
    assert told[-1].endswith("each: a/distilled.npz")
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        assert "b/slim.npz" in archive.namelist()


def test_the_page_tells_slim_sets_from_others(sample):
    name = ledger.set_name(sample)
    link = f"[{sample['sha256'][:8]}](../results/sets/{name})"
    assert f"{link} |" in page.text([sample], [name])
    assert f"{link} (slim) |" in page.text([{**sample, "set_sha256": "0"}], [name])


@pytest.mark.slow
def test_the_process_that_makes_a_set_slim(tmp_path, sample, told, monkeypatch):
    for zca, largest in ((True, 20_000), (False, 3000)):
        monkeypatch.setattr(sets, "LARGEST_SET", largest)
        record = finished(tmp_path / str(zca), sample, slim_fits=zca, zca=zca)
        made = sets.with_set(record, tmp_path / str(zca))
        assert ("set_sha256" in made) == zca
    assert "holds no matrices" in told[0]


# --- The folder of the ledger ---------------------------------------------------------


def test_the_folder_of_the_ledger_is_there_before_anything_runs(tmp_path, monkeypatch):
    places = {"out": str(tmp_path / "runs"), "cells": "digits-dm-1"}
    started = []

    def fill(self, *_):
        started.append(self.results.is_dir())
        return []

    monkeypatch.setattr(Work, "fill", fill)
    reproduce.run(reproduce.Config(results=str(tmp_path / "new/results"), **places))
    assert started == [True]
    (tmp_path / "file").write_text("")
    with refused("cannot write to the folder"):
        reproduce.run(reproduce.Config(results=str(tmp_path / "file/x"), **places))
    (tmp_path / "new/results" / ledger.LEDGER).write_text(json.dumps({"cell": 1}))
    with refused("ledger.jsonl"):
        reproduce.run(reproduce.Config(results=str(tmp_path / "new/results"), **places))
    assert started == [True]


@pytest.mark.parametrize(
    ("field", "value"),
    [("cell", "../../escaped"), ("cell", "a|b"), ("sha256", "../" * 21 + "a")],
)
def test_a_record_that_names_another_place_is_left_out(
    tmp_path, sample, told, field, value
):
    """A pack comes from elsewhere, and the names of files are made of its records."""
    for name, changes in (("evil", {field: value}), ("good", {})):
        folder = tmp_path / "out" / name
        record = finished(folder, sample, zca=False)
        (folder / ledger.RECORD).write_text(json.dumps({**record, **changes}))
    results = tmp_path / "deep" / "results"
    assert Work(tmp_path / "out", results, revision="x").collect() == 1
    assert any("left out" in text and field in text for text in told)
    written = [x.name for x in tmp_path.rglob("*.npz") if "out" not in x.parts]
    assert len(written) == 1
    assert written[0].startswith(sample["cell"])


def test_what_is_no_set_does_not_stand_beside_the_ledger(tmp_path, sample, told):
    folder = tmp_path / "out" / "run"
    record = finished(folder, sample, zca=False)
    script = b"#!/bin/sh\n"
    (folder / sets.SLIM).write_bytes(script)
    digest = sets.digest(folder / sets.SLIM)
    ledger.write_record({**record, "set_sha256": digest}, folder)
    results = tmp_path / "results"
    assert Work(tmp_path / "out", results, revision="x").collect() == 0
    assert any("left out" in text for text in told)
    assert not list(tmp_path.glob("results/sets/*"))


def test_two_programs_add_to_one_ledger(tmp_path, sample):
    """Neither loses what the other adds between its reading and its writing."""
    code = (
        "import json, sys; from pathlib import Path; "
        "from experiments.reproducing import ledger; "
        "record = json.loads(sys.argv[1]); "
        "[ledger.append(Path(sys.argv[2]), {**record, 'seed': int(sys.argv[3]) + i},"
        " Path(sys.argv[2])) for i in range(20)]"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(sample), str(tmp_path), first],
        )
        for first in ("0", "100")
    ]
    assert [process.wait() for process in running] == [0, 0]
    seeds = {record["seed"] for record in ledger.read(tmp_path / ledger.LEDGER)}
    assert seeds == {*range(20), *range(100, 120)}


def test_a_full_disk_leaves_no_half_of_a_set(tmp_path, sample, monkeypatch):
    folder = tmp_path / "run"
    record = finished(folder, sample, zca=False)
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(UserError):
        ledger.append(tmp_path / "results", record, folder)
    assert not list((tmp_path / "results").rglob("*.npz"))
    assert not (tmp_path / "results" / ledger.LEDGER).exists()
