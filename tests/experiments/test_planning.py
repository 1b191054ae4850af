"""`--plan`: nothing is written, and what it says is what a run then needs."""

import dataclasses
import re
import shlex

import jax
import jax.numpy as jnp
import pytest

from experiments import distill as distill_program
from experiments.planning import distillation, files, judging, networks, scores, steps
from experiments.planning import plans as planning
from experiments.planning.advice import advise
from experiments.planning.estimate import Part, total
from experiments.planning.programs import Fitted, Memory
from experiments.planning.room import Room
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import experts
from jaxdd.distillation import run as distill
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.options import FLAGS
from jaxdd.errors import UserError
from jaxdd.evaluation import run as evaluate
from jaxdd.fields import type_of
from tests.experiments.helpers import QUICK, read_json, small

TINY = Room(10_000, 10_000, 10_000)
MEMORY = Memory(100, 20, 3)
FITTED = Fitted(1, 0.5, 0.001, 1.0, MEMORY, None)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """(plan in little room, the loop's program) of what `finished` is a run of.

    Unlike that one it reads its images from the disk, where they are not yet.
    """
    made = []
    folder, cache = (tmp_path_factory.mktemp(x) for x in ("planned", "cache"))

    def steps_cost(piece, count):
        made.append(piece.job.program)
        return cost(piece, count)

    cost = distillation.steps_cost
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation, "steps_cost", steps_cost)
        patch.setenv("JAXDD_CACHE", str(cache))
        config = small(folder / "new" / "run", stream="always")
        plan = planning.distillation(config, room=TINY)
    assert list(folder.iterdir()) == list(cache.iterdir()) == []
    return plan, made[0]


@pytest.fixture
def stubbed(monkeypatch):
    """Costs that are known, so that only their sums are made here."""
    of_steps = steps.Steps(2.0, 0.25, MEMORY, 64, 0)
    of_networks = networks.Networks(3.0, 10.0, 20.0, FITTED)
    for module, name, cost in (
        (distillation, "steps_cost", of_steps),
        (distillation, "measuring_cost", steps.Measuring(1.0, 4.0, 0.5)),
        (distillation, "experts_cost", FITTED),
        (distillation, "sorting_cost", scores.Sorting(1.0, 7.0)),
        (judging, "evaluation_cost", of_networks),
        (judging, "fit_cost", FITTED),
        (files, "written_cost", files.Written(0.1, 1.0, 1000, 500)),
    ):
        monkeypatch.setattr(module, name, lambda *_, cost=cost, **__: cost)


def test_memory_and_disk_are_those_of_a_run(planned, finished):
    plan, program = planned
    assert plan.program == "distillation"
    assert total(plan.device) == program.bytes()
    assert min(part.amount for part in plan.device[::2]) > 0
    disk = {part.name: part.amount for part in plan.disk}
    # Of a state as small as this one the files vary: how many leaves Orbax writes into
    # one of them depends on its threads.
    left = files.bytes_below(finished / "checkpoints")
    assert left / 3 < disk["checkpoints"] < 3 * left
    left = files.bytes_below(finished)
    assert disk.pop("decoded digits") == 1797 * (64 * 4 + 4)
    assert left / 1.5 < sum(disk.values()) < 1.5 * left
    assert total(plan.host) > 1e8
    (note,) = (x for x in plan.notes if "will be on disk" in x)
    assert re.search("a step reads [1-9][0-9.]* kB of them", note)


def test_every_part_has_a_time(planned):
    plan, _ = planned
    expected = {
        "decoding digits", "data and first images", "probe networks", "measurements",
        "steps", "evaluation of the set", "evaluation of random sets",
        "checkpoints and pictures", "compilation",
    }  # fmt: skip
    assert set(plan.seconds) == expected
    assert all(x >= 0 for x in plan.seconds.values())
    assert 0 < plan.seconds["steps"] < plan.total_seconds < 300
    table = str(plan)
    for name in (*expected, "temporaries", "interpreter", "distilled set"):
        assert name in table
    assert "of 10 kB free" in table


def test_what_does_not_fit_is_named_with_the_flag(planned):
    plan, _ = planned
    device, host, disk = plan.advice
    assert device.startswith("device memory of the distillation")
    assert "host memory" in host
    assert "disk" in disk
    assert "--workdir on a larger disk" in disk
    roomy = Room(*[10**15] * 3)
    assert advise(dataclasses.replace(plan, room=roomy)) == []
    # Half of the temporaries: half of the batch.
    batch = plan.device[2].lever.value
    fixed = total(plan.device[:2])
    parts = [*plan.device[:2], dataclasses.replace(plan.device[2], amount=1e9)]
    room = dataclasses.replace(roomy, device=int(fixed + 5e8) + 9)
    (told,) = advise(dataclasses.replace(plan, room=room, device=parts))
    assert f"--batch_real={batch // 2} instead of {batch}" in told
    slow = [Part("steps", 4 * 86400.0, "", plan.time[4].lever)]
    (told,) = advise(dataclasses.replace(plan, room=roomy, time=slow))
    assert "--steps=10 instead of 40" in told
    # More than this process can have taken.
    host = [dataclasses.replace(plan.host[0], amount=1e13), *plan.host[1:]]
    room = dataclasses.replace(roomy, host=int(1e13))
    (told,) = advise(dataclasses.replace(plan, room=room, host=host))
    assert "goes into dataset" in told
    assert "use --stream=always or" in told


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("dsa", {"image_lr": 0.123, "sdc_weight": 0.5, "drop_hardest": 0.25}),
        ("pad", {"steps": 7, "add_end_epoch": 2, "removals": "5:0.125", "zca": True}),
        ("frepo", {"eval_lr": 0.01, "flip": True}),
        ("mtt", {"num_experts": 3, "bank_epochs": 9, "max_start": 2}),
        ("rded", {"crops": 2}),
    ],
)
def test_the_settings_of_a_plan_make_the_same_run(method, changes):
    """What was changed is among them, and none of it comes back by a preset."""
    given = {"dataset": "digits", **changes}
    opened = open_run(method, given)
    typed = shlex.split(" ".join(planning.settings_of(opened.resolved, given)))
    flags = {}
    for text in typed:
        name, equals, value = text.removeprefix("--").partition("=")
        if not equals:
            value = not name.startswith("no")
            name = name if value else name.removeprefix("no")
        kind = type_of(FLAGS[name].field)
        flags[name] = kind(value) if kind in (int, float) else value
    assert set(changes) <= set(flags)
    again = open_run(method, flags)
    assert again.resolved.values("here") == opened.resolved.values("here")


def test_a_set_that_is_given_is_named(finished):
    place = str(finished / "distilled.npz")
    given = {**read_json(finished / "run.json")["config"]["network"], "init": place}
    given = {"dataset": "digits", "net": given.pop("name"), **given}
    opened = open_run("dm", given)
    printed = planning.settings_of(opened.resolved, given)
    assert f"--init={shlex.quote(place)}" in printed


def test_segments_multiply(stubbed, tmp_path):
    few = dict(QUICK, ipc=4, steps=40, measure_every=10, save_every=20)
    one, two = (
        planning.distillation(small(tmp_path / "a", **few, segments=count))
        for count in (1, 2)
    )
    assert one.seconds["steps"] == 40 * 0.25
    assert two.seconds["steps"] == 2 * one.seconds["steps"]
    assert one.seconds["measurements"] == (5 + 2) * 0.5
    assert two.seconds["measurements"] == (2 * 5 + 2) * 0.5
    assert "judges" not in one.seconds
    # Two segments, three judges, three epochs and one more; a pass over all of train.
    trained = 2 * 3 * (4 * 0.5 * 0.75 + 1293 * 0.001)
    assert two.seconds["judges"] == pytest.approx(trained, rel=0.3)
    kept = [{x.name: x.amount for x in plan.disk}["checkpoints"] for plan in (one, two)]
    assert kept == [2000, 4000]
    assert not (tmp_path / "a").exists()


def test_experts_are_made_where_there_are_none(stubbed, tmp_path):
    flags = {"method": "mtt", "sdc_weight": 0.0, "batch_real": None, "num_experts": 3,
             "max_start": 2, "expert_epochs": 1, "bank_epochs": 4}  # fmt: skip
    plan = planning.distillation(small(tmp_path / "a", **flags))
    assert plan.seconds["experts"] == 3 * 4 * 0.5
    disk = {part.name: part.amount for part in plan.disk}
    assert disk["experts"] == 3 * 5 * 682 * 4
    assert {part.name: part.amount for part in plan.host}["spans of experts"] == 64
    windowed = small(tmp_path / "a", **flags, drop_hardest=0.2)
    assert planning.distillation(windowed).seconds["sorting by el2n"] == 7


@pytest.mark.parametrize("changes", [{"steps": 0}, {"batch_real": 8, "method": "mtt"}])
def test_a_refusal_is_that_of_the_run(tmp_path, changes):
    sentences = []
    for verb in (distill.run, planning.distillation):
        with pytest.raises(UserError) as error:
            verb(small(tmp_path / "a", **changes))
        sentences.append(str(error.value))
    assert sentences[0] == sentences[1]
    assert not (tmp_path / "a").exists()


def test_a_bank_of_experts(tmp_path):
    config = experts.Config(
        workdir=str(tmp_path / "bank"), net="mlp", width=8, augmentation="none",
        num_experts=2, epochs=3,
    )  # fmt: skip
    plan = planning.experts(config)
    assert not (tmp_path / "bank").exists()
    full = Room(None, None, 20_000)
    (told,) = advise(dataclasses.replace(plan, room=full))
    assert "--num_experts=1 instead of 2, or --dtype=bfloat16 (50% of it)" in told
    assert {p.name: p.amount for p in plan.disk}["bank"] == 2 * 4 * 682 * 4
    assert {"epochs", "accuracy of the experts", "compilation"} <= set(plan.seconds)


def test_an_evaluation(finished, tmp_path):
    config = evaluate.Config(
        str(finished / "distilled.npz"), nets="mlp", workdir=str(tmp_path / "new")
    )
    plan = planning.evaluation(config)
    assert not (tmp_path / "new").exists()
    assert {"mlp: the set", "mlp: random sets"} <= set(plan.seconds)


def test_a_finished_run_tells_its_times(finished, capsys):
    summary = read_json(finished / "summary.json")
    distill_program.show(summary)
    shown = capsys.readouterr().out
    assert re.search(r"time: .* s, .* s per step, .* s compiling; evaluation", shown)
    assert 0 <= summary["evaluation_compile_seconds"] < summary["evaluation_seconds"]
    inner = jax.jit(lambda x: jnp.sin(x) + 1)
    with Stopwatch() as watch:
        jax.jit(lambda x: inner(x) * inner(2 * x))(1.0)
    assert 0 < watch.compile_seconds < watch.total_seconds
