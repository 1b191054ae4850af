"""What a run would need: `--plan` of `experiments.distill`, `experts`, `evaluate`.

    python -m experiments.distill --dataset=digits --method=dsa --workdir=runs/digits \\
        --plan

checks the flags as the run does, compiles its programs, times a few steps of each and
prints time, memory and disk beside what there is. Nothing is written where the run
would write; what was compiled is kept for it.
"""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.planning.advice import advise
from experiments.planning.distillation import Distillation
from experiments.planning.estimate import Lever, Part, Plan, total
from experiments.planning.files import add_files
from experiments.planning.judging import add_evaluation, evaluation_parts
from experiments.planning.networks import (
    bank_lever,
    evaluation_cost,
    experts_cost,
)
from experiments.planning.programs import Memory
from experiments.planning.room import Room, nearest, peak_resident, room_for
from experiments.planning.scores import sorting_cost
from experiments.planning.steps import Imagined
from experiments.planning.stores import (
    decoding_disk,
    decoding_notes,
    decoding_time,
    on_disk,
    without_stores,
)
from jaxdd.data.problem import Problem
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import banks, options, segmented
from jaxdd.distillation import experts as banks_of_experts
from jaxdd.distillation.checks import OF_EXPERTS
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.resolution import Resolved
from jaxdd.evaluation import run as evaluate
from jaxdd.experts.manifest import describe_size
from jaxdd.experts.training import group_size
from jaxdd.fields import flat, idle
from jaxdd.modifiers.curriculum import removals_text
from jaxdd.progress import say
from jaxdd.storage import provenance
from jaxdd.storage.paths import local_path, shown
from jaxdd.synthetic.sets import flatten

Programs = Mapping[str, tuple[Memory, Lever | None]]


class Around(NamedTuple):
    """What a plan is about, beside its numbers.

    Attributes:
        problem: the data.
        precision: of the products in networks.
        room: what there is.
        notes: what else there is to know.
        buffer: bytes of the spans that wait for their steps.
        network: whether the run has a flag for the width of its network.
        settings: as of a plan.
    """

    problem: Problem
    precision: str
    room: Room
    notes: Sequence[str]
    buffer: int = 0
    network: bool = True
    settings: Sequence[str] = ()


@without_stores
def distillation(
    config: options.Flags, problem: Problem | None = None, room: Room | None = None
) -> Plan:
    """What `experiments.distill` would need.

    Args:
        config: the flags.
        problem: the data, where it is in memory already.
        room: what there is; by default it is looked up.

    Raises:
        UserError: the run would refuse, in its own words.
    """
    with Stopwatch() as opening:
        opened = open_run(config.method, options.given(config), problem)
    resolved, folder = opened.resolved, local_path(config.workdir, "--workdir")
    notes = [*opened.remarks, *(f"warning: {x}" for x in opened.differences)]
    notes += _begun(
        folder,
        lambda: opened.compare(folder),
        opened.problem.dataset.is_decoded,
    )
    segmented.refuse_other_steps(folder, resolved)
    room = room or room_for(folder)
    parts = Distillation(opened, folder, opening)
    parts.sorting()
    parts.experts()
    parts.measurements()
    parts.steps()
    add_evaluation(parts)
    add_files(parts)
    notes += on_disk(opened.problem, parts.read)
    name = f"{resolved.method} on {resolved.data_name}, {resolved.task.ipc} per class"
    time = [*parts.time, compiling_part(parts.compiling)]
    precision = resolved.arithmetic.precision
    around = Around(
        opened.problem, precision, room, notes, parts.buffer,
        settings=settings_of(resolved, options.given(config)),
    )  # fmt: skip
    return assembled(name, time, parts.programs, parts.disk, around)


# What a method chooses, of a run's parts.
_OF_METHODS = ("scaling", "recipe", "window", "length", "evaluation")
_OF_BANKS = {"experts": "num_experts", "epochs": "bank_epochs"}


def settings_of(resolved: Resolved, given: Mapping[str, Any]) -> list[str]:
    """The settings of a run as flags, whether given or the method's.

    Flags that need another one to have an effect, which is not there, are left out.

    Args:
        resolved: the run.
        given: {flag: value} of the flags that were given.
    """
    values = dict(flat(resolved))
    values |= {name: given[name] for name in ("init", "experts") if name in given}
    if resolved.bank is not None and "experts" not in given:
        bank = dataclasses.asdict(resolved.bank)
        values |= {flag: bank[name] for name, flag in _OF_BANKS.items()}
    else:
        for name in OF_EXPERTS:
            values.pop(name, None)
    lines = []
    for name, value in values.items():
        flag = options.FLAGS.get(name)
        if flag is None or value is None:
            continue
        if name not in given and name not in _OF_BANKS.values():
            of_method = flag.path[0] in _OF_METHODS
            without_crops = flag.group == "crops" and values["init"] != "crops"
            if not of_method or without_crops or idle(resolved, flag) is not None:
                continue
        lines.append(_typed(name, value))
    return lines


def _typed(name: str, value: Any) -> str:
    """A flag as it is typed in a shell."""
    if isinstance(value, bool):
        return f"--{'' if value else 'no'}{name}"
    text = removals_text(value) if name == "removals" else str(value)
    return f"--{name}={shlex.quote(text)}"


@without_stores
def experts(
    config: banks_of_experts.BankFlags,
    problem: Problem | None = None,
    room: Room | None = None,
) -> Plan:
    """What `experiments.experts` would need; see `distillation`."""
    with Stopwatch() as opening:
        opened = banks_of_experts.open_run(config, problem)
    problem, manifest, network = opened.problem, opened.manifest, opened.network
    folder = local_path(config.workdir, "--workdir")
    notes = [] if opened.remark is None else [opened.remark]
    notes += _begun(
        folder,
        lambda: opened.compare(folder),
        opened.problem.dataset.is_decoded,
    )
    room = room or room_for(folder)
    time = [Part("data", opening.seconds)]
    compiling = {"the start": opening.compile_seconds}
    score = opened.resolved.window.score
    if score is not None and not (folder / "scores.npz").exists():
        say(f"plan: timing the score {score}")
        real, seed = problem.on_device(problem.splits.train), opened.resolved.task.seed
        sorting = sorting_cost(network, real, seed, score)
        time.append(Part(f"sorting by {score}", sorting.seconds))
        compiling["the score"] = sorting.compile_seconds
    say("plan: timing the training of experts")
    group = group_size(manifest.experts)
    fitted = experts_cost(problem, network, manifest, None, group)
    compiling["the training"] = fitted.compile_seconds
    count, epochs = manifest.experts, manifest.last_epoch
    detail = f"{count} x {epochs} epochs x {fitted.epoch / fitted.at_once:.3g} s"
    lever = Lever("num_experts", count)
    time.append(Part("epochs", fitted.seconds(count, epochs), detail, lever))
    held_out = problem.splits.validation or problem.splits.train
    with Stopwatch() as watch:
        one = Imagined(replace(manifest, experts=1), network)
        real = problem.on_device(problem.splits.train)
        banks.reach(one, network, problem.on_device(held_out), real)
    time.append(Part("accuracy of the experts", count * watch.seconds))
    compiling["their accuracy"] = watch.compile_seconds
    time.append(compiling_part(compiling))
    batch = min(manifest.training["batch_size"], len(problem.splits.train.labels))
    programs = {"training": (fitted.memory, Lever("batch_size", batch))}
    # While it is trained, a group's parameters lie beside the bank, twice.
    states = 2 * group * manifest.parameters * 4
    disk = [
        Part(
            "bank",
            manifest.bytes,
            describe_size(manifest),
            bank_lever(manifest, "dtype"),
        ),
        Part("checkpoints, until it is done", states),
    ]
    notes += on_disk(problem)
    name = f"experts of {config.method} on {config.dataset}"
    around = Around(problem, manifest.precision, room, notes)
    return assembled(name, time, programs, disk, around)


@without_stores
def evaluation(config: evaluate.Config, room: Room | None = None) -> Plan:
    """What `experiments.evaluate` would need, network by network."""
    with Stopwatch() as opening:
        opened = evaluate.open_run(config)
    artifact, problem = opened.artifact, opened.problem
    folder = opened.folder
    room = room or room_for(folder)
    nearest(folder)
    time = [Part("data", opening.seconds)]
    compiling = {"the start": opening.compile_seconds}
    programs: dict[str, tuple[Memory, Lever | None]] = {}
    real = problem.on_device(problem.splits.train)
    own = flatten(opened.synthetic)
    for net, judge in opened.judges.items():
        say(f"plan: timing shortened trainings of {net}")
        protocol = judge.protocol
        cost = evaluation_cost(problem, protocol, own, real, artifact.ipc)
        rows = evaluation_parts(
            cost, protocol.num_eval, protocol.num_random, protocol.training.epochs
        )
        time += [
            Part(f"{net}: {what}", row.amount, row.detail, row.lever)
            for what, row in zip(("the set", "random sets"), rows, strict=True)
        ]
        compiling[net] = cost.compile_seconds
        programs[f"evaluation of {net}"] = cost.fitted.memory, None
    time.append(compiling_part(compiling))
    entry = 2000.0 + 150.0 * len(artifact.class_names)
    disk = [Part("evaluation.json", entry * len(opened.judges))]
    if config.export:
        disk.append(Part("exported images", own.images.nbytes / 4))
    name = f"evaluation of {config.artifact}"
    notes = on_disk(problem)
    around = Around(problem, opened.precision, room, notes, network=False)
    return assembled(name, time, programs, disk, around)


def _begun(folder: Path, compare: Callable[[], object], is_decoded: bool) -> list[str]:
    """What there is to say of a workdir, refused as the run refuses it."""
    nearest(folder)
    if is_decoded:
        compare()
    if (folder / "summary.json").exists():
        return [f"{shown(folder)} is finished: this is what it would cost again"]
    if (folder / "run.json").exists():
        return [f"a run has begun in {shown(folder)}: this is for all of it"]
    return []


def compiling_part(seconds: Mapping[str, float]) -> Part:
    """All that is compiled, as one row."""
    detail = ", ".join(f"{name} {x:.1f}" for name, x in seconds.items() if x >= 0.05)
    return Part("compilation", sum(seconds.values()), detail)


def assembled(
    name: str,
    time: Sequence[Part],
    programs: Programs,
    disk: Sequence[Part],
    around: Around,
) -> Plan:
    """Everything together, with what to change."""
    largest = max(programs, key=lambda name: programs[name][0].total)
    memory, lever = programs[largest]
    device = [
        Part("arguments", memory.arguments),
        Part("results", memory.results),
        Part("temporaries", memory.temporaries, "", lever),
    ]
    buffer, splits = around.buffer, around.problem.splits
    dataset = around.problem.dataset
    arrays = [dataset.images, dataset.test_images]
    arrays += [part.images for part in splits if part is not None]
    in_memory = [x for x in arrays if isinstance(x, np.ndarray)]
    unique = {id(x if x.base is None else x.base): x.nbytes for x in in_memory}
    data = sum(unique.values())
    # Measured after everything was compiled and run once.
    rest = max(0, peak_resident() - data - buffer)
    host = [
        Part("dataset", data, instead="--stream=always"),
        Part("interpreter, compiler, arrays", rest),
    ]
    if buffer:
        host.insert(1, Part("spans of experts", buffer))
    title = f"plan: {name}, on {provenance.device()}, in {around.precision}"
    time, decoded = [*decoding_time(), *time], decoding_disk()
    is_other = around.room.cache is not None
    plan = Plan(
        title, time, device, largest, host,
        disk if is_other else [*decoded, *disk], around.room,
        [*around.notes, *decoding_notes()], decoded if is_other else [],
        around.settings,
    )  # fmt: skip
    plan.advice.extend(advise(plan, around.network))
    return plan


__all__ = [
    "Around",
    "Plan",
    "Room",
    "assembled",
    "compiling_part",
    "distillation",
    "evaluation",
    "experts",
    "total",
]
