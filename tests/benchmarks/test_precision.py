"""`benchmarks.precision`: one table, measured once."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks import precision
from benchmarks.bfloat16 import accuracy, gradients, speed
from benchmarks.bfloat16.records import Line, Records
from benchmarks.parts import timing
from jaxdd.devices import policy
from jaxdd.errors import UserError
from tests.helpers import die

QUICK = {"setting": "small", "width": 4, "repeats": 1}


def only(monkeypatch, module, name):
    monkeypatch.setattr(module, "ROWS", {name: module.ROWS[name]})


def test_speed_and_gradients_are_measured_once(tmp_path, monkeypatch):
    only(monkeypatch, speed, "norms")
    only(monkeypatch, gradients, "dm")
    config = precision.Config(str(tmp_path), parts="speed,gradients", **QUICK)
    text = precision.run(config)
    assert text == (tmp_path / "table.md").read_text()
    assert "| gradient norms of 256 images | " in text
    assert "(asked: ≤ 0.6)" in text
    (record,) = json.loads((tmp_path / "speed.json").read_text())
    ours = record["seconds"]
    assert record["ratios"] == {
        "float32": pytest.approx(ours["bfloat16"] / ours["float32"])
    }
    (record,) = json.loads((tmp_path / "gradients.json").read_text())
    assert 1e-4 < record["error"] < 0.2
    assert 0.98 < record["cosine"] < 1
    monkeypatch.setattr(speed, "compared", die)
    monkeypatch.setattr(gradients, "compared", die)
    assert precision.run(config) == text


def broken():
    raise RuntimeError("CUDA error: out of memory")


def test_a_loop_of_pytorch_runs_in_turn_and_may_fail_alone(monkeypatch):
    program = timing.compiled(lambda x: x + 1, 1.0)
    runs = []
    ours = lambda name: lambda: runs.append(name)
    loops = {"fine": ours("torch"), "broken": broken}
    monkeypatch.setattr(speed, "of_device", lambda: ["float32", "bfloat16"])
    for kind, loop in loops.items():
        row = speed.Row(
            kind,
            0.6,
            lambda setting, against, loop=loop: timing.Race(
                ours(policy.choices().precision), loop if against else None, program
            ),
        )
        work = speed.Work(None, repeats=2, against=True)
        with ThreadPoolExecutor(2) as pool:
            jobs = {
                name: pool.submit(speed.built, row, name, work)
                for name in speed.of_device()
            }
        record = speed.compared(row, jobs, work)
        assert ("pytorch" in record["seconds"]) is (kind == "fine")
        assert ("of PyTorch" in record["line"].compared) is (kind == "fine")
        assert ("failed" in record["line"].compared) is (kind == "broken")
    # One run to see whether it runs; then in turn, the first of each not counted.
    assert runs[:4] == ["torch", "float32", "bfloat16", "torch"]


def test_accuracy_is_paired_over_seeds(tmp_path, monkeypatch):
    means = {("float32", 0): 80.0, ("float32", 1): 82.0,
             ("bfloat16", 0): 81.0, ("bfloat16", 1): 82.0}  # fmt: skip
    asked = []

    def distil(config):
        asked.append(config)
        return {"distilled": {"mean": means[config.precision, config.seed]}}

    monkeypatch.setattr(accuracy, "distil", distil)
    monkeypatch.setattr(accuracy, "evaluated", lambda *_: {"line": Line("evaluation")})
    flags = {"parts": "accuracy", "methods": "dm,mtt", "seeds": "0,1", "steps": 2}
    text = precision.run(precision.Config(str(tmp_path), **flags))
    assert len(asked) == 8
    assert len({config.workdir for config in asked}) == 8
    assert {config.num_experts for config in asked if config.method == "dm"} == {None}
    line = (
        "| accuracy: dm on digits | 81.00 % |  | 81.50 % |  | "
        "+0.50 ± 6.35 points, seeds: 2 |"
    )
    assert line in text


def test_a_record_of_other_versions_is_replaced(tmp_path, monkeypatch):
    line = lambda text: lambda: {"line": Line(text)}
    records = Records(tmp_path, "speed")
    records.measure({"row": "a"}, "a", line("first"))
    records.measure({"row": "b"}, "b", line("other"))
    monkeypatch.setattr("jaxdd.storage.provenance.versions", lambda: {"jax": "99"})
    again = Records(tmp_path, "speed")
    again.measure({"row": "a"}, "a", line("second"))
    assert [r["line"][0] for r in Records(tmp_path, "speed").records] == [
        "other",
        "second",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": "speed,size"}, "unknown 'size' in --parts"),
        ({"methods": "dsb"}, "unknown 'dsb' in --methods"),
        ({"seeds": "0,0"}, "--seeds names a seed twice"),
        ({"repeats": 0}, "--repeats and --workers must be at"),
        ({"workers": 0}, "--repeats and --workers must be at"),
        ({"reference": "tf"}, "unknown reference 'tf'"),
        ({"setting": "huge"}, "unknown setting 'huge'"),
    ],
)
def test_bad_flags_are_refused_and_nothing_is_written(tmp_path, changes, words):
    folder = tmp_path / "out"
    with pytest.raises(UserError, match=words):
        precision.run(precision.Config(str(folder), **changes))
    assert not folder.exists()
