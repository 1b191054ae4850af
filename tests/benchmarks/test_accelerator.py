"""Table and advice of stored records, and the processes of the command for a device."""

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks import accelerator
from benchmarks.accelerated import advice, forms, graphs, sections, table, whole
from jaxdd.devices import policy
from jaxdd.devices.policy import Choices
from jaxdd.errors import UserError
from tests.helpers import die, refused


def form(primitive, axis, name, seconds, **changes):
    return {
        "primitive": primitive,
        "axis": axis,
        "form": name,
        "changes": changes,
        "seconds": seconds,
        "temp_mb": 1.0,
    }


def compared_with(precision, right, gap=1e-6):
    return {
        "case": "distribution",
        "precision": precision,
        "loss_gap": gap,
        "gradient_gap": gap,
        "right": right,
    }


def repeated(same_bits, digest, seconds, xla_flags=""):
    run = {"method": "dsa", "same_bits": same_bits, "digest": digest}
    return {**run, "seconds": seconds, "xla_flags": xla_flags}


def stepped(method, name, seconds, gap):
    step = {"method": method, "graphs": name, "seconds": seconds, "gap": gap}
    return {**step, "compile_seconds": 3.0, "temp_mb": 1.0}


TODAY = policy.TABLE["gpu"]
LAX = {"convolution": "canonical", "small_convolution": "im2col"}
STORED = {
    "correctness": {
        "records": [
            compared_with("tf32", True),
            compared_with("float32", True),
            compared_with("bfloat16", False, "nan"),
        ],
        "skipped": [{"what": "idc, tf32", "why": "no time"}],
    },
    "repeats": {"records": [repeated(False, "a", 1.0)]},
    "repeats_flags": {
        "records": [repeated(True, "b", 1.5, "--xla_gpu_deterministic_ops=true")]
    },
    "forms": {
        "records": [
            form("classes (DSA)", "today", forms.TODAY, 1.0),
            form("classes (DSA)", "mapping", "map", 3.0, classes=1),
            form("classes (DSA)", "mapping", "chunks of 8", 0.5, classes=8),
            form("experts", "today", forms.TODAY, 1.0),
            form("experts", "mapping", "chunks of 4", 0.9, experts=4),
            form("classes (DSA)", "convolution", "other", 0.5, **LAX),
            form("experts", "convolution", "other", 0.6, **LAX),
            form("classes (DSA)", "microbatch", "microbatch 8", 0.1, microbatch=8),
            form("classes (DSA)", "precision", "bfloat16", 0.2),
            {"primitive": "norms", "form": "vmap", "failed": "out of memory"},
        ],
        "ended": "it was stopped after 60 s",
    },
    "graphs": {
        "records": [
            stepped("mtt", graphs.USUAL, 2.0, 0.0),
            stepped("mtt", "loops", 1.0, 1e-6),
            stepped("mtt", "loops, unrolled", 0.5, 0.1),  # other images
            stepped("dsa", graphs.USUAL, 2.0, 0.0),
            stepped("dsa", "nothing", 1.9, 0.0),
            {"method": "dsa", "graphs": "loops", "failed": "not captured"},
            stepped("idc", "loops", 1.0, None),
        ]
    },
    "dispatch": {
        "records": [
            {"method": "dsa", "steps": n, "seconds_per_step": s}
            for n, s in ((1, 2.0), (2, 1.04), (5, 1.0), (50, 1.0))
        ]
    },
}


def test_a_choice_changes_where_the_measurements_are_clear():
    chosen, words = advice.advised(STORED, TODAY)
    assert chosen.classes == 8
    assert chosen.experts == TODAY.experts  # 0.9 of the time is a tie
    assert (chosen.convolution, chosen.small_convolution) == ("canonical", "im2col")
    assert chosen.microbatch is None  # of one primitive only
    assert chosen.precision == TODAY.precision  # faster, and other results
    text = " ".join(words)
    assert "classes=8: for classes (DSA), chunks of 8 takes 0.50" in text
    assert f"experts={TODAY.experts} stays" in text
    assert "dsa gains less than 5 % from more than 2 steps" in text
    assert "bfloat16 takes 0.20 of today's time" in text
    assert "mtt with loops as CUDA graphs takes 0.50 of the time as JAX comes" in text
    assert (
        "dsa with nothing as CUDA graphs takes 0.95 of the time as JAX comes, a tie"
        in text
    )
    assert "idc with" not in text  # nothing to compare with


def test_a_default_that_is_not_right_gives_way_to_the_exact_products():
    wrong, exact = compared_with("tf32", False), compared_with("float32", True)
    found = {"correctness": {"records": [wrong, exact]}}
    assert advice.advised(found, TODAY)[0].precision == "float32"
    found = {"correctness": {"records": [wrong, {**exact, "right": False}]}}
    chosen, words = advice.advised(found, TODAY)
    assert chosen == TODAY
    assert any("outside of the tolerances in 1 cases" in text for text in words)


def test_the_table_says_what_was_found_failed_and_skipped():
    text = table.markdown(table.rows(STORED))
    for row in (
        "| correctness | all cases | tf32 | 1 of 1 right |",
        "| correctness | distribution | bfloat16 | **wrong** | nan, nan |",
        "| repeats | dsa | no flags | **other bits** | 1 s |",
        "| 1.5 s, ratio 1.50; other bits as without |",
        "| forms | classes (DSA) | chunks of 8 | 0.5 s | ratio 0.50, temporaries",
        "| forms | norms, vmap |  | failed | out of memory |",
        "| correctness | 1 not measured |  | skipped | idc, tf32 |",
        "| forms | the section |  | ended early | it was stopped after 60 s |",
        "| dispatch | dsa | 50 steps | 1 s/step |",
        "| graphs | mtt | loops | 1 s | ratio 0.50, compiled in 3.0 s; images differ",
        "| graphs | idc | loops | 1 s | compiled in 3.0 s |",
        "| graphs | dsa, loops |  | failed | not captured |",
    ):
        assert row in text


def test_a_whole_run_is_told_and_nothing_measured_changes_nothing():
    text = table.markdown(table.rows({"whole": {"records": [WHOLE]}}))
    assert "| whole | MNIST dsa | distill, 50 steps | 9.0 s | accuracy 80.00 %" in text
    assert advice.advised({}, TODAY)[0] == TODAY
    assert len(table.markdown(table.rows({})).splitlines()) == 2


def parsed(text):
    """An entry as Python reads it in the policy's table."""
    return eval(f"{{{text}}}", {"Choices": Choices})


@pytest.mark.parametrize("name", sorted(policy.TABLE))
def test_the_printed_entry_can_be_pasted_into_the_table(name):
    entry = policy.TABLE[name]
    text = advice.entry('A "kind" of device', entry)
    assert parsed(text) == {'A "kind" of device': entry}
    assert all(line.startswith("    ") for line in text.splitlines())


# --- Processes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"out": None}, "--out=DIR has to be given"),
        ({"section": "forms"}, "--section and --until are for the processes"),
        ({"section": "other", "until": 1e10}, "choose by --sections, of correctness"),
        ({"until": 5.0}, "--section and --until are for the processes"),
        ({"minutes": 0.1}, "--minutes must be from 0.5"),
        ({"minutes": float("nan")}, "--minutes must be from 0.5"),
        ({"sections": "forms,other"}, "unknown section 'other'"),
        ({"sections": "whole"}, "section whole needs --data_dir"),
        ({"data_dir": "nowhere"}, "has no folder mnist"),
        ({"repeats": 0}, "--repeats must be at least 1"),
    ],
)
def test_bad_flags_are_refused_and_nothing_is_written(tmp_path, changes, words):
    folder = tmp_path / "out"
    with pytest.raises(UserError, match=words):
        accelerator.run(accelerator.Config(**{"out": str(folder), **changes}))
    assert not folder.exists()


def test_a_section_that_does_not_end_is_killed(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(accelerator.sys, "executable", str(program))
    monkeypatch.setattr(accelerator, "GRACE", -0.9)
    began = time.monotonic()
    ended = accelerator.in_its_process(
        accelerator.Config(str(tmp_path)), "forms", 0.2, dict(os.environ)
    )
    assert ended.startswith("it was stopped after")
    assert time.monotonic() - began < 10


def test_sections_get_flags_only_where_the_backend_has_them(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    of = accelerator.environment_of
    assert of("forms", "gpu")["XLA_FLAGS"] == "--mine"
    assert of("repeats_flags", "cpu")["XLA_FLAGS"] == "--mine"
    assert (
        of("repeats_flags", "gpu")["XLA_FLAGS"]
        == "--mine --xla_gpu_deterministic_ops=true"
    )
    assert "command_buffer" in of("longest", "gpu")["XLA_FLAGS"]


SUMMARY = {
    "distilled": {"mean": 80.0},
    "random": {"mean": 60.0},
    "seconds_per_step": 0.02,
    "compile_seconds": 9.0,
    "evaluation_seconds": 30.0,
}
WHOLE = {"method": "dsa", "steps": 50, "wall_seconds": 9.0, "summary": SUMMARY}


def section(folder, name, backend="gpu"):
    stored = {"records": [WHOLE] if name == "whole" else []}
    content = {
        "section": name,
        "device": {"kind": "NVIDIA H100 80GB HBM3", "backend": backend, "count": 1},
        "versions": {"jax": "0.11.2"},
        "today": dataclasses.asdict(TODAY),
        **STORED.get(name, stored),
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_the_last_lines_are_the_table_and_the_entry(tmp_path, monkeypatch):
    """Also when a section leaves nothing, and one refuses its flags."""
    seen = []

    def process(config, name, seconds, environment):
        assert 0 < seconds < 60
        flags = environment.get("XLA_FLAGS", "")
        seen.append((name, flags))
        if name == "longest" and flags:
            return "exit code 1"
        if name == "steps":
            return "exit code -11"
        section(tmp_path, name)
        return None

    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(accelerator, "in_its_process", process)
    monkeypatch.setattr(accelerator, "backend_of", lambda seconds: "gpu")
    (tmp_path / "dispatch.json").write_text("{}")  # of an earlier run
    section(tmp_path, "whole", "cpu")  # of another device
    text = accelerator.run(accelerator.Config(str(tmp_path), minutes=1.0))
    assert [name for name, _ in seen] == [
        "correctness", "repeats", "forms", "steps", "dispatch", "graphs", "longest",
        "longest", "repeats_flags",
    ]  # fmt: skip
    assert "| steps | the section |  | ended early | exit code -11 |" in text
    assert "its flags were refused" in text
    assert "| whole |" not in text
    entry = (tmp_path / "policy.txt").read_text()
    assert text.rstrip().endswith(entry.rstrip())
    assert text == (tmp_path / "table.md").read_text()
    ((kind, chosen),) = parsed(entry).items()
    assert kind == "NVIDIA H100 80GB HBM3"
    assert chosen.classes == 8
    assert "JAX 0.11.2" in chosen.measured


def test_the_backend_is_asked_for_in_another_process(monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert accelerator.backend_of(60.0) == "cpu"
    monkeypatch.setenv("JAX_PLATFORMS", "nonesuch")
    assert accelerator.backend_of(60.0) == ""
    assert accelerator.backend_of(0.01) == ""
    assert capsys.readouterr().err.count("no extra flags") == 2


@pytest.mark.parametrize(
    "content", ["", "[]", '{"records": [{}]}', '{"records": 1}', '{"device": {}}', "\0"]
)
def test_a_damaged_section_is_refused_before_anything_is_measured(
    tmp_path, monkeypatch, content
):
    monkeypatch.setattr(accelerator, "in_its_process", die)
    (tmp_path / "dispatch.json").write_text(content)
    with refused(r"dispatch\.json .*remove it"):
        accelerator.run(accelerator.Config(str(tmp_path), sections="forms"))


def test_choices_of_another_version_are_read_as_far_as_they_are_known(tmp_path):
    section(tmp_path, "forms")
    path = tmp_path / "forms.json"
    content = json.loads(path.read_text())
    content["today"]["of_a_later_version"] = 1
    del content["today"]["samples"]
    path.write_text(json.dumps(content))
    text = accelerator.conclude(accelerator.Config(str(tmp_path)), tmp_path, ["forms"])
    assert "Paste into TABLE" in text


def test_a_second_run_of_the_whole_program_is_measured(tmp_path, monkeypatch):
    """A finished run in its folder would do nothing."""
    workdir = tmp_path / "mnist-dm"
    workdir.mkdir()
    (workdir / "summary.json").write_text("{}")

    def started(command, **_):
        assert f"--workdir={workdir}" in command
        assert not workdir.exists()
        return subprocess.CompletedProcess(command, 1, "", "no such data")

    monkeypatch.setattr(whole.subprocess, "run", started)
    with pytest.raises(RuntimeError, match="no such data"):
        whole.distilled("dm", "data", tmp_path, True, 10.0)


@pytest.mark.slow
def test_the_command_on_this_device(tmp_path):
    command = [sys.executable, "-m", "benchmarks.accelerator", f"--out={tmp_path}"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--minutes=4", "--tiny"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert time.monotonic() - began < 4 * 60
    ((kind, _),) = parsed((tmp_path / "policy.txt").read_text()).items()
    assert kind == "cpu"
    found = sections.load(tmp_path, accelerator.WEIGHTS)
    assert found["correctness"]["records"]
    assert all(r["right"] for r in sections.sound(found, "correctness"))
    assert done.stdout.rstrip().endswith((tmp_path / "policy.txt").read_text().rstrip())
