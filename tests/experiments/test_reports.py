"""Reports of runs and comparisons, from the folders that programs leave."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest

from experiments import report as program
from experiments.comparing import reports
from jaxdd.distillation import reporting, sample_difficulty
from jaxdd.distillation import run as distill
from jaxdd.evaluation.protocol import Measured
from jaxdd.storage.workdir import Record
from tests.experiments.helpers import (
    QUICK,
    SMALL,
    NoProbes,
    measuring,
    read_json,
    small,
)
from tests.helpers import refused
from tests.report.test_pages import SECTIONS, read


def report(*folders, out=None):
    flags = {} if out is None else {"out": str(out)}
    return program.run(program.Config(workdirs=",".join(map(str, folders)), **flags))


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished, tmp_path / "copy")


def changed(folder, change):
    """Change the summary of a run."""
    summary = read_json(folder / "summary.json")
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))


def test_a_run_writes_its_report_and_it_can_be_made_again(finished, tmp_path):
    text = (finished / "report.html").read_text()
    expected = [x for x in SECTIONS if x != "Segments"]
    assert read(text).headings == [
        "DSA with SDC on digits, 1 image per class",
        *expected,
    ]
    again = report(finished, out=tmp_path / "again.html")
    assert again.read_text() == text


def test_the_report_agrees_with_the_summary(finished):
    run, kept = reporting.read(finished), sample_difficulty.read(finished, 10)
    end = run.summary["difficulty"]["end"]
    assert np.isclose(kept.of_set[0].mean(), end["grad_norm"], rtol=1e-5)
    below = 100 * np.mean(kept.of_real[0] < kept.of_set[0].mean())
    assert np.isclose(below, end["percentile"], atol=0.2)
    # The 360 test samples of digits are all scored, in tenths of one size.
    assert len(kept.test_ids) == 360
    tenths = np.mean(run.difficulty.deciles)
    assert np.isclose(tenths, run.summary["distilled"]["mean"])


def test_the_command_is_what_made_the_run(finished):
    words = shlex.split(read_json(finished / "summary.json")["command"])
    assert words[:3] == ["python", "-m", "experiments.distill"]
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    assert flags.pop("workdir") == str(finished)
    usual = {"seed": 0}  # left out
    assert {**usual, **{k: type(SMALL[k])(v) for k, v in flags.items()}} == SMALL


def test_two_runs_on_one_page(finished, copy, tmp_path):
    def change(summary):
        summary["distilled"]["mean"] = 0.0
        summary["config"]["image_lr"] = 7.5

    changed(copy, change)
    target = report(finished, copy, out=tmp_path / "pages" / "both.html")
    text = target.read_text()
    assert "./../copy/report.html" in read(text).addresses
    rows = re.search(r"<h2>What differs</h2>(.*?)</section>", text, re.S)[1]
    assert re.findall(r'<th scope="row">(.*?)</th>', rows) == ["image_lr"]
    mean = read_json(finished / "summary.json")["distilled"]["mean"]
    assert f"{-mean:+.2f}" in text


def test_an_older_run_has_a_report_too(copy):
    """One without difficulty of samples, classes or a command."""
    (copy / "difficulty.npz").unlink()
    (copy / "evaluation.npz").unlink()
    changed(copy, lambda x: [x.pop(name) for name in ("classes", "command")])
    text = report(copy).read_text()
    assert "was not kept by this run" in text
    assert "evaluation.npz does not exist" in text


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda x: shutil.rmtree(x), "does not exist"),
        (lambda x: (x / "summary.json").unlink(), "not finished"),
        (lambda x: [y.unlink() for y in x.iterdir() if y.is_file()], "holds no run"),
        (lambda x: (x / "distilled.npz").unlink(), "no distilled.npz"),
        (lambda x: (x / "distilled.npz").write_bytes(b"PK"), "distilled.npz"),
        (lambda x: (x / "summary.json").write_text("{"), "summary.json"),
        (lambda x: changed(x, lambda y: y["classes"]["names"].pop()), "its classes"),
        (lambda x: changed(x, lambda y: y.update(device=3)), "'device' is 3"),
        (lambda x: changed(x, lambda y: y.pop("random")), "lacks 'random'"),
    ],
)
def test_bad_workdirs_are_refused_in_a_sentence(copy, damage, sentence):
    before = (copy / "report.html").read_bytes()
    damage(copy)
    with refused(sentence):
        report(copy)
    if (copy / "report.html").exists():
        assert (copy / "report.html").read_bytes() == before


def test_flags_that_are_refused(finished, copy, tmp_path):
    with refused("names no folder"):
        report("")
    with refused("--out has to name"):
        report(finished, copy)
    with refused("names a folder twice"):
        report(finished, finished, out=tmp_path / "x.html")
    Record(tmp_path, {}, "sdc")
    with refused(r"another experiment \(sdc\)"):
        report(tmp_path)


def test_a_report_that_cannot_be_made_loses_no_run(tmp_path, monkeypatch, capsys):
    half = {"mean": 50.0, "std": 0.0, "n": 2}
    right = np.zeros((2, 360), bool)
    measured = Measured(half, half, right, np.arange(360), {})

    def broken(*_):
        raise ZeroDivisionError("no page")

    monkeypatch.setattr(distill, "Probes", NoProbes)
    monkeypatch.setattr(distill, "_measure", measuring(measured))
    monkeypatch.setattr(reporting, "run_page", broken)
    summary = distill.run(small(tmp_path / "x", **{**QUICK, "steps": 1}))
    assert summary["distilled"] == half
    assert (tmp_path / "x" / "summary.json").exists()
    assert not (tmp_path / "x" / "report.html").exists()
    assert (
        "report.html is left out, since it cannot be drawn" in capsys.readouterr().err
    )


def test_a_comparison_shows_its_tables_plots_and_runs(finished, tmp_path):
    (tmp_path / "row 1").mkdir()
    shutil.copy(finished / "report.html", tmp_path / "row 1")
    shutil.copy(finished / "images.png", tmp_path / "gain.png")
    text = "# DSA on digits\n\n| set | % |\n|---|--:|\n| **<a>** | 1 |\n\nA note.\n"
    reports.write(tmp_path, text, ["gain.png", "missing.png"])
    page = (tmp_path / "report.html").read_text()
    reader = read(page)
    assert reader.headings == ["DSA on digits", "Result", "Plots", "Runs"]
    assert "./row%201/report.html" in reader.addresses
    assert page.count("<img") == 1
    assert "&lt;a&gt;" in page
