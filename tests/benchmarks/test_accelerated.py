"""Sections for a device at hand: time that runs out, committed numbers, forms."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from benchmarks import accelerator
from benchmarks.accelerated import cases, correctness, forms, graphs, sizes, steps
from benchmarks.accelerated.budget import Budget, Records, steady_seconds
from benchmarks.parts import timing
from jaxdd.devices import policy
from jaxdd.methods.recipes import METHODS


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


def test_committed_numbers_are_of_all_objectives_and_small():
    assert set(cases.expected()) == set(cases.RECIPES)
    assert cases.EXPECTED.stat().st_size < 200_000
    for numbers in cases.expected().values():
        assert numbers.images.dtype == np.float64
        assert np.linalg.norm(numbers.images) > 0
    objectives = {recipe.objective.name for recipe in cases.RECIPES.values()}
    assert objectives == {recipe.objective.name for recipe in METHODS.values()}


def check_case(name):
    """Processors differ in the last bit of what is float32 before it is float64: the
    random draws; an unrolled training enlarges that."""
    loss, gradient = cases.difference(cases.exact(name), cases.expected()[name])
    assert loss < 1e-8
    assert gradient < 1e-5


def test_committed_numbers_are_those_of_float64():
    check_case("distribution")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(cases.RECIPES))
def test_all_committed_numbers_are_those_of_float64(name):
    check_case(name)


def test_a_device_is_compared_with_them():
    found = correctness.compared("distribution", "float32")
    assert found["right"]
    assert 0 < found["gradient_gap"] < 1e-5


def test_random_draws_do_not_depend_on_the_precision():
    def draws():
        key = jax.random.key(7)
        low = jax.numpy.array([-3, -2])
        real = jax.numpy.result_type(float)
        return (
            jax.random.uniform(key, (4,), minval=1 / 1.2, maxval=1.2),
            jax.random.randint(key, (2,), low, -low + 1),
            jax.random.bernoulli(key),
            jax.random.normal(key, (3,), real),
        )

    usual = draws()
    with jax.enable_x64(True), cases.draws_of_32_bits():
        same = draws()
    with jax.enable_x64(True):
        other = draws()
    for a, b in zip(usual, same, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(usual[0], other[0])


def test_the_documents_say_the_same_tolerances():
    readme = (accelerator.Path(accelerator.__file__).parent / "README.md").read_text()
    rows = {f"`{name}`": row for name, row in correctness.TOLERANCES.items()}
    for name, row in rows.items():
        (line,) = [x for x in readme.splitlines() if x.startswith(f"| {name} |")]
        assert tuple(map(float, line.split("|")[2:4])) == row


def test_a_wrong_number_is_noticed():
    right = cases.expected()["trajectory"]
    wrong = right._replace(step_size=-right.step_size)
    assert cases.difference(wrong, right) == (0.0, pytest.approx(2.0))
    nothing = cases.expected()["distribution"]  # its step size has no gradient
    assert cases.difference(nothing, nothing) == (0.0, 0.0)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_forms_are_choices_of_the_policy_and_no_two_are_the_same(device):
    today = policy.TABLE[device]
    every = forms.primitives(dataclasses.replace(sizes.TINY, experts=8))
    assert {p.field for p in every.values()} == {
        "classes", "feature_classes", "experts", "networks", "samples", None
    }  # fmt: skip
    for primitive in every.values():
        found = list(forms.forms(primitive, today))
        names = [(f.axis, f.name) for f in found]
        assert len(set(names)) == len(names)
        assert {"convolution", "precision"} <= {f.axis for f in found}
        for form in found:
            assert dataclasses.replace(today, **form.changes) != today


def test_time_that_runs_out_takes_of_all_primitives():
    assert list(forms.in_turns([["a", "b", "c"], ["d"], ["e", "f"]])) == list("adebfc")


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


def test_a_step_with_other_graphs_is_the_same_step(records, monkeypatch):
    few = dataclasses.replace(sizes.TINY, repeats=1)
    broken = {"loops": {}, "broken": {"xla_no_such_option": 1}}
    chosen = {graphs.USUAL: graphs.GRAPHS[graphs.USUAL], **broken}
    monkeypatch.setattr(graphs, "GRAPHS", chosen)
    monkeypatch.setattr(graphs, "METHODS", ("dm",))
    graphs.run(records, few)
    assert records.results == []  # a CPU has no graphs
    assert records.skipped == [{"what": "graphs", "why": "only GPUs have them"}]
    graphs.run(records, few, anywhere=True)
    usual, loops, failed = records.results
    assert usual["graphs"] == graphs.USUAL
    assert usual["gap"] == loops["gap"] == 0.0
    assert loops["seconds"] > 0
    assert "xla_no_such_option" in failed["failed"]


@pytest.mark.parametrize("name", sorted(graphs.GRAPHS))
def test_the_compiler_knows_what_can_become_a_graph(name):
    options = graphs.GRAPHS[name]
    program = timing.compiled(jax.numpy.sin, 1.0, options=options)
    assert float(program.call(1.0)) == pytest.approx(np.sin(1.0))
