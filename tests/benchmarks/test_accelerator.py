"""The command for a device at hand: time that runs out, numbers, verdict, processes."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks import accelerator, timing
from benchmarks.accelerated import (
    cases,
    correctness,
    forms,
    repeats,
    sizes,
    steps,
    verdict,
)
from benchmarks.accelerated.budget import Budget, Records, steady_seconds
from jaxdd import policy
from jaxdd.errors import UserError
from jaxdd.policy import Choices


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def passes(self, seconds, **values):
        """Work that takes so long."""

        def work():
            self.now += seconds
            return values

        return work


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def records(tmp_path, clock, told):
    """Ten seconds; a first measurement may take two."""
    path = tmp_path / "section.json"
    return Records(path, Budget(10, clock), 2.0, told.append, {"section": "section"})


def on_disk(records):
    return json.loads(records.path.read_text())


# --- Time ---------------------------------------------------------------------------


def test_a_share_is_of_the_time_that_is_left(clock):
    budget = Budget(60, clock)
    assert budget.share([1, 2]) == 20
    clock.now += 30
    assert (budget.left(), budget.share([2, 1])) == (30, 20)
    clock.now += 31
    assert budget.share([1]) == 0 > budget.left()


def test_what_may_not_fit_is_skipped_and_listed(records, clock, told):
    for i in range(4):
        records.measure({"what": f"number {i}"}, "slow", clock.passes(4.0, value=i))
    # 2.4, 4.8 and 4.8 s are expected when 10, 6 and 2 s are left.
    assert [r["value"] for r in records.results] == [0, 1]
    assert [x["what"] for x in records.skipped] == ["number 2", "number 3"]
    assert "5 s and 2 s remain" in records.skipped[0]["why"]
    assert sum("skipped" in text for text in told) == 1
    # Another kind of measurement may still fit.
    records.measure({"what": "quick"}, "first of another family", clock.passes(1.0))
    records.longest["quick"] = 0.1
    assert records.measure({"what": "quick"}, "quick", clock.passes(0.1)) is not None


def test_records_are_on_disk_as_soon_as_they_are_made(records, clock):
    assert on_disk(records)["records"] == []
    records.measure({"what": "a"}, "x", clock.passes(1.0, value=float("nan")))
    content = on_disk(records)
    assert content["records"] == [{"what": "a", "value": "nan"}]
    assert not content["finished"]
    records.write(finished=True)
    assert on_disk(records)["finished"]


def test_what_a_device_refuses_is_a_record_and_the_rest_goes_on(records, clock):
    def refused():
        raise RuntimeError("RESOURCE_EXHAUSTED:\nout of memory")

    jobs = [({"what": "a"}, refused), ({"what": "b"}, clock.passes(1.0, value=1))]
    records.measure_together(jobs, "x", workers=2)
    first, second = on_disk(records)["records"]
    assert first["failed"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    assert second["value"] == 1


@pytest.mark.parametrize(("seconds", "runs"), [(0.01, 5), (0.4, 3), (0.9, 2), (3.0, 1)])
def test_long_runs_are_repeated_less(clock, seconds, runs):
    found = steady_seconds(clock.passes(seconds), 5, enough=1.0, clock=clock)
    assert found == pytest.approx([seconds] * runs)


# --- Numbers ------------------------------------------------------------------------


def test_committed_numbers_are_of_all_objectives_and_small():
    assert set(cases.expected()) == set(cases.SETTINGS)
    assert cases.EXPECTED.stat().st_size < 200_000
    for numbers in cases.expected().values():
        assert numbers.images.dtype == np.float64
        assert np.linalg.norm(numbers.images) > 0
    objectives = {s.objective for s in cases.SETTINGS.values()}
    assert objectives == {"gradient", "contrastive", "distribution", "trajectory"}


def check_case(name):
    fresh, committed = cases.exact(name), cases.expected()[name]
    assert max(cases.difference(fresh, committed)) < 1e-9


@pytest.mark.parametrize("name", ["distribution", "gradient mse"])
def test_committed_numbers_are_those_of_float64(name):
    check_case(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(cases.SETTINGS))
def test_all_committed_numbers_are_those_of_float64(name):
    check_case(name)


def test_a_device_is_compared_with_them():
    found = correctness.compared("distribution", "highest")
    assert found["right"]
    assert 0 < found["gradient_gap"] < 1e-5


def test_random_draws_do_not_depend_on_the_precision():
    def draws():
        key = jax.random.key(7)
        low = jax.numpy.array([-3, -2])
        return (
            jax.random.uniform(key, (4,), minval=1 / 1.2, maxval=1.2),
            jax.random.randint(key, (2,), low, -low + 1),
            jax.random.bernoulli(key),
        )

    usual = draws()
    with jax.enable_x64(True), cases.draws_of_32_bits():
        same = draws()
    with jax.enable_x64(True):
        other = draws()
    for a, b in zip(usual, same, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(usual[0], other[0])


def test_tolerances_are_wider_the_fewer_bits_there_are():
    rows = [correctness.TOLERANCES[x] for x in ("highest", "tensorfloat32", "bfloat16")]
    for a, b in itertools.pairwise(rows):
        assert a.loss < b.loss
        assert a.gradient < b.gradient
    # What JAX's default is depends on the device.
    assert correctness.TOLERANCES[None] == correctness.TOLERANCES["tensorfloat32"]
    for precision, row in correctness.TOLERANCES.items():
        assert correctness.within(precision, *row)
        assert not correctness.within(precision, row.loss, 1.01 * row.gradient)
        assert not correctness.within(precision, float("nan"), 0.0)


def test_the_documents_say_the_same_tolerances():
    readme = (accelerator.Path(accelerator.__file__).parent / "README.md").read_text()
    rows = {
        "`highest` (float32)": correctness.TOLERANCES["highest"],
        "JAX's default, `tensorfloat32`": correctness.TOLERANCES[None],
        "`bfloat16`": correctness.TOLERANCES["bfloat16"],
    }
    for name, row in rows.items():
        (line,) = [x for x in readme.splitlines() if x.startswith(f"| {name} |")]
        assert tuple(map(float, line.split("|")[2:4])) == row


def test_a_wrong_number_is_noticed():
    right = cases.expected()["trajectory"]
    wrong = right._replace(step_size=-right.step_size)
    assert cases.difference(wrong, right) == (0.0, pytest.approx(2.0))
    nothing = cases.expected()["distribution"]  # its step size has no gradient
    assert cases.difference(nothing, nothing) == (0.0, 0.0)


# --- Forms --------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_forms_are_choices_of_the_policy_and_no_two_are_the_same(device):
    today = policy.TABLE[device]
    every = forms.primitives(dataclasses.replace(sizes.TINY, experts=8))
    assert {p.field for p in every.values()} == {
        "classes", "experts", "networks", "samples", None
    }  # fmt: skip
    for primitive in every.values():
        found = list(forms.forms(primitive, today))
        names = [(f.axis, f.name) for f in found]
        assert len(set(names)) == len(names)
        assert {"convolution", "precision"} <= {f.axis for f in found}
        for form in found:
            assert dataclasses.replace(today, **form.changes) != today or form.precision


def test_time_that_runs_out_takes_of_all_primitives():
    assert list(forms.in_turns([["a", "b", "c"], ["d"], ["e", "f"]])) == list("adebfc")


def test_steps_are_of_all_methods():
    assert len(set(sizes.ORDER)) == len(sizes.ORDER) == 11
    assert sizes.FULL.methods == sizes.ORDER


def test_the_reference_begins_before_our_steps_consume_the_state(monkeypatch):
    case, order = object(), []

    class Some:
        repeats = 1
        case = staticmethod(lambda method, ipc: case)

    def race(given, theirs):
        assert given is case
        order.append("ours")
        program = timing.compiled(lambda x: x + 1, 1.0)
        return timing.Race(lambda: None, None, program)

    monkeypatch.setattr(steps.reference, "installed", lambda: True)
    monkeypatch.setattr(steps, "their_step", lambda case: order.append("theirs"))
    monkeypatch.setattr(steps.timing, "step_race", race)
    found = steps.measured("dsa", 1, Some())
    assert order == ["theirs", "ours"]
    assert found["temp_mb"] >= 0
    assert found["in_use_mb"] > 0


# --- Verdict ------------------------------------------------------------------------


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


TODAY = policy.TABLE["gpu"]
LAX = {"convolution": "canonical", "small_convolution": "im2col"}
STORED = {
    "correctness": {
        "records": [
            compared_with("default", True),
            compared_with("highest", True),
            compared_with("bfloat16", False, "nan"),
        ],
        "skipped": [{"what": "idc, default", "why": "no time"}],
    },
    "repeats": {
        "records": [
            {
                "method": "dsa",
                "same_bits": False,
                "digest": "a",
                "seconds": 1.0,
                "xla_flags": "",
            }
        ]
    },
    "repeats_flags": {
        "records": [
            {
                "method": "dsa",
                "same_bits": True,
                "digest": "b",
                "seconds": 1.5,
                "xla_flags": "--xla_gpu_deterministic_ops=true",
            }
        ]
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
    "dispatch": {
        "records": [
            {"method": "dsa", "steps": n, "seconds_per_step": s}
            for n, s in ((1, 2.0), (2, 1.04), (5, 1.0), (50, 1.0))
        ]
    },
}


def test_a_choice_changes_where_the_measurements_are_clear():
    chosen, words = verdict.advised(STORED, TODAY)
    assert chosen.classes == 8
    assert chosen.experts == TODAY.experts  # 0.9 of the time is a tie
    assert (chosen.convolution, chosen.small_convolution) == ("canonical", "im2col")
    assert chosen.microbatch is None  # of one primitive only
    assert chosen.precision is None  # faster, and other results
    text = " ".join(words)
    assert "classes=8: for classes (DSA), chunks of 8 takes 0.50" in text
    assert "experts=32 stays" in text
    assert "dsa gains less than 5 % from more than 2 steps" in text
    assert "bfloat16 takes 0.20 of today's time" in text


def test_a_default_that_is_not_right_gives_way_to_the_exact_products():
    wrong, exact = compared_with("default", False), compared_with("highest", True)
    found = {"correctness": {"records": [wrong, exact]}}
    assert verdict.advised(found, TODAY)[0].precision == "highest"
    found = {"correctness": {"records": [wrong, {**exact, "right": False}]}}
    chosen, words = verdict.advised(found, TODAY)
    assert chosen == TODAY
    assert any("outside of the tolerances in 1 cases" in text for text in words)


def test_the_table_says_what_was_found_failed_and_skipped():
    text = verdict.table(verdict.rows(STORED))
    for row in (
        "| correctness | all cases | default | 1 of 1 right |",
        "| correctness | distribution | bfloat16 | **wrong** | nan, nan |",
        "| repeats | dsa | no flags | **other bits** | 1 s |",
        "| 1.5 s, ratio 1.50; other bits as without |",
        "| forms | classes (DSA) | chunks of 8 | 0.5 s | ratio 0.50, temporaries",
        "| forms | norms, vmap |  | failed | out of memory |",
        "| correctness | 1 not measured |  | skipped | idc, default |",
        "| forms | the section |  | ended early | it was stopped after 60 s |",
        "| dispatch | dsa | 50 steps | 1 s/step |",
    ):
        assert row in text


def test_a_whole_run_is_told_by_its_accuracy_and_time():
    text = verdict.table(verdict.rows({"whole": {"records": [WHOLE]}}))
    assert "| whole | MNIST dsa | distill, 50 steps | 9.0 s | accuracy 80.00 %" in text


def test_nothing_measured_changes_nothing():
    assert verdict.advised({}, TODAY)[0] == TODAY
    assert len(verdict.table(verdict.rows({})).splitlines()) == 2


def parsed(text):
    """An entry as Python reads it in the policy's table."""
    return eval(f"{{{text}}}", {"Choices": Choices})


@pytest.mark.parametrize("name", sorted(policy.TABLE))
def test_the_printed_entry_can_be_pasted_into_the_table(name):
    entry = policy.TABLE[name]
    text = verdict.entry('A "kind" of device', entry)
    assert parsed(text) == {'A "kind" of device': entry}
    assert all(line.startswith("    ") for line in text.splitlines())


def test_the_cpus_entry_has_the_form_of_its_file():
    source = (accelerator.Path(policy.__file__)).read_text()
    fields = [x for x in verdict.entry("cpu", policy.TABLE["cpu"]).splitlines() if x]
    assert all(line in source for line in fields)


# --- Processes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"out": ""}, "--out=DIR has to be given"),
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
    assert of("repeats_flags", "gpu")["XLA_FLAGS"] == f"--mine {repeats.FLAGS['gpu']}"
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
    (tmp_path / "dispatch.json").write_text("{}")  # of an earlier run
    section(tmp_path, "whole", "cpu")  # of another device
    text = accelerator.run(accelerator.Config(str(tmp_path), minutes=1.0))
    assert [name for name, _ in seen] == [
        "correctness", "repeats", "forms", "steps", "dispatch", "longest", "longest",
        "repeats_flags",
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
    found = verdict.load(tmp_path, accelerator.WEIGHTS)
    assert found["correctness"]["records"]
    assert all(r["right"] for r in verdict.sound(found, "correctness"))
    assert done.stdout.rstrip().endswith((tmp_path / "policy.txt").read_text().rstrip())
