"""What the commands write, and what they refuse."""

import json

import pytest

from benchmarks import primitives, reference, scaling, steps, targets, unroll, windows
from benchmarks.parts import timing
from jaxdd.errors import UserError

FIELDS = {
    *("method", "setting", "device", "seconds", "compile_seconds", "peak_mb", "flops"),
    *("peak_fraction", "reference_seconds", "ratio"),
}
QUICK = {"settings": "small", "width": 4, "repeats": 1}


@pytest.fixture
def no_children(monkeypatch):
    """Fresh processes are for `test_memory_in_a_fresh_process`."""
    monkeypatch.setattr(timing, "in_fresh_process", lambda *_: {"peak_mb": 7.0})


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setattr(reference, "installed", lambda: False)


def test_steps_writes_records_with_all_fields(tmp_path, no_children):
    config = steps.Config(str(tmp_path), methods="dm", **QUICK)
    returned = steps.run(config)
    (record,) = json.loads((tmp_path / "steps.json").read_text())
    assert record == returned[0]
    assert set(record) >= FIELDS
    assert (record["method"], record["setting"]) == ("dm", "small")
    assert record["peak_mb"] == 7.0
    assert record["ratio"] is record["reference_seconds"] is None
    assert (
        0
        < record["peak_fraction"]
        == pytest.approx(
            record["flops"]
            / record["seconds"]
            / json.loads((tmp_path / "about.json").read_text())["gemm_peak"]
        )
    )
    assert "| dm | small | 1 |" in (tmp_path / "steps.md").read_text()
    assert (tmp_path / "steps.png").exists()
    assert not (tmp_path / "ratios.png").exists()


def test_primitives_and_scaling_write_records_and_pictures(tmp_path):
    config = primitives.Config(str(tmp_path), primitives="training", **QUICK)
    (record,) = primitives.run(config)
    assert set(record) >= FIELDS - {"method", "peak_mb"}
    assert (tmp_path / "primitives.png").exists()
    config = scaling.Config(
        str(tmp_path), methods="dm", axes="size", size="8", width=4, repeats=1
    )
    (record,) = scaling.run(config)
    assert (record["axis"], record["value"]) == ("size", 8)
    assert record["setting"]["depth"] == 1
    assert (tmp_path / "size.png").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": "dm,dsb"}, "unknown method 'dsb'"),
        ({"settings": "huge"}, "unknown setting 'huge'"),
        ({"reference": "numpy"}, "unknown reference 'numpy'"),
        ({"reference": "torch"}, "run `make bench`"),
        ({"ipc": "0"}, "--ipc must be at least 1"),
        ({"ipc": "one"}, "--ipc must be numbers"),
        ({"width": 0}, "--width must be at least 1"),
        ({"repeats": 0}, "--repeats"),
    ],
)
def test_steps_refuses_bad_flags_and_writes_nothing(tmp_path, no_torch, changes, words):
    folder = tmp_path / "out"
    with pytest.raises(UserError, match=words):
        steps.run(steps.Config(str(folder), **changes))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("module", "changes", "words"),
    [
        (primitives, {"primitives": "sorting"}, "unknown primitive 'sorting'"),
        (scaling, {"axes": "depth"}, "unknown axis 'depth'"),
        (scaling, {"size": "4"}, "--size must be numbers from 8"),
        (targets, {"rows": "all,dsa"}, "unknown row 'all'"),
        (targets, {}, "run `make bench`"),
        (unroll, {"method": "dm"}, "unknown method 'dm'"),
        (unroll, {"student_steps": "20"}, "at least two"),
        (windows, {"student_steps": "9", "horizon": "8,20"}, "smallest --horizon"),
        (windows, {"setting": "large"}, "unknown setting 'large'"),
    ],
)
def test_the_others_refuse_bad_flags(tmp_path, no_torch, module, changes, words):
    folder = tmp_path / "out"
    with pytest.raises(UserError, match=words):
        module.run(module.Config(str(folder), **changes))
    assert not folder.exists()


def test_a_row_says_whether_its_target_is_reached():
    found = targets.Found({"training": 0.6, "training_peak": 0.5}, {})
    results = [targets.result(name, targets.ROWS[name], found) for name in found.values]
    assert [r["reached"] for r in results] == [True, False]
    text = targets.markdown(results)
    assert "≤ 0.6 | 0.6 | yes" in text
    assert "≥ 0.6 | 0.5 | **no**" in text


def test_sides_take_turns_and_long_first_runs_count(monkeypatch):
    order = []
    sides = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = timing.alternate(sides, 2)
    assert order == ["a", "b"] * 3
    assert [len(x) for x in seconds.values()] == [2, 2]
    order.clear()
    monkeypatch.setattr(timing, "LONG_SECONDS", -1.0)
    timing.alternate(sides, 2)
    assert order == ["a", "b"] * 2


def test_a_failing_process_is_told():
    with pytest.raises(UserError, match="no_such_module"):
        timing.in_fresh_process("no_such_module", {"one": True})


@pytest.mark.slow
def test_memory_in_a_fresh_process(tmp_path):
    config = steps.Config(str(tmp_path), methods="dm", **QUICK)
    (record,) = steps.run(config)
    assert record["peak_mb"] > 0


@pytest.mark.slow
def test_unroll_measures_every_length(tmp_path):
    config = unroll.Config(str(tmp_path), student_steps="2,4,6", width=4, repeats=1)
    result = unroll.run(config)
    assert [r["student_steps"] for r in result["records"]] == [2, 4, 6]
    assert (tmp_path / "unroll.png").exists()


def test_windows_measures_every_pair(tmp_path, monkeypatch):
    """In this process; nothing compiles."""

    def measured(module, flags):
        steps, horizon = map(int, flags["one"].split(":"))
        record = {"student_steps": steps, "horizon": horizon, "seconds": 1.0}
        return {"records": [{**record, "temp_mb": 3.0 * steps, "parameters_mb": 1.0}]}

    monkeypatch.setattr(timing, "in_fresh_process", measured)
    config = windows.Config(str(tmp_path), student_steps="2,4", horizon="8,9")
    result = windows.run(config)
    pairs = [(r["student_steps"], r["horizon"]) for r in result["records"]]
    assert pairs == [(2, 8), (4, 8), (2, 9), (4, 9)]
    assert result["copies_per_step"] == pytest.approx(3)
    assert "3.00 parameter copies" in (tmp_path / "windows.md").read_text()


@pytest.mark.slow
def test_windows_takes_steps_of_a_pair(tmp_path):
    config = windows.Config(
        str(tmp_path), ipc=1, setting="small", width=4, batch_mixed=8, repeats=1,
        one="2:3",
    )  # fmt: skip
    (record,) = windows.run(config)["records"]
    assert record["seconds"] > 0
    assert record["temp_mb"] > 0
