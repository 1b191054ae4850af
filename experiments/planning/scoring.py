"""What `--plan` of `experiments.difficulty` and `experiments.prune` prints."""

from pathlib import Path

from experiments.planning.estimate import Lever, Part, Plan
from experiments.planning.files import CHART_BYTES
from experiments.planning.plans import Around, assembled, compiling_part
from experiments.planning.room import Room, nearest, room_for
from experiments.planning.scores import scoring_cost
from experiments.planning.stores import on_disk, without_stores
from jaxdd.devices.timing import Stopwatch
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.scoring import api as scoring
from jaxdd.scoring import measuring, pruned, pruning
from jaxdd.storage.paths import local_path

# Bytes of a sample in scores.npz, and of a line of an index beside its digits.
SCORE_BYTES, LINE_BYTES = 12, 6


@without_stores
def difficulty(config: scoring.Config, room: Room | None = None) -> Plan:
    """What `experiments.difficulty` would need.

    Args:
        config: the flags.
        room: what there is; by default it is looked up.

    Raises:
        UserError: the run would refuse, in its own words.
    """
    with Stopwatch() as opening:
        opened = measuring.open_run(config, config.score, validation=config.validation)
    folder = local_path(config.workdir, "--workdir")
    scoring.refuse_others(folder, opened)
    count, samples = len(opened.names), len(opened.problem.splits.train.labels)
    disk = [
        Part("scores", count * SCORE_BYTES * samples),
        Part("pictures", count * _pictures(opened, scoring.SHOWN) + CHART_BYTES),
    ]
    title = f"{', '.join(opened.names)} of {opened.problem.name}"
    return _scored(opened, opening, title, folder, disk, room)


@without_stores
def prune(config: pruning.Config, room: Room | None = None) -> Plan:
    """What `experiments.prune` would need; see `difficulty`."""
    pruning.check(config)
    if config.scores is not None:
        raise UserError(
            "--plan is about measuring a score, and --scores reads one: leave one of "
            "them out"
        )
    folder = pruning.target_of(config).parent
    with Stopwatch() as opening:
        opened = pruning.open_score(config)
    samples = len(opened.problem.splits.train.labels)
    line = len(str(samples)) + LINE_BYTES
    disk = [
        Part("index", config.keep * samples * line),
        Part("picture", _pictures(opened, pruned.SHOWN)),
    ]
    title = f"{config.keep:g} of {opened.problem.name} by {opened.names[0]}"
    return _scored(opened, opening, title, folder, disk, room)


def _pictures(opened: measuring.Opened, shown: int) -> int:
    """Bytes of the easiest and the hardest samples of every class, and a chart."""
    images = opened.problem.dataset.images
    values = images[:1].size * 2 * shown * opened.problem.dataset.num_classes
    return values + CHART_BYTES


def _scored(
    opened: measuring.Opened,
    opening: Stopwatch,
    title: str,
    folder: Path,
    disk: list[Part],
    room: Room | None,
) -> Plan:
    """The plan of scores that are measured, whatever is made of them."""
    problem, effort, names = opened.problem, opened.effort, opened.names
    room = room or room_for(folder)
    nearest(folder)
    say(f"plan: timing the scores {', '.join(names)}")
    real = problem.on_device(problem.splits.train)
    cost = scoring_cost(opened.network, real, opened.seed, names, effort)
    time = [Part("data", opening.seconds)]
    compiling = {"the start": opening.compile_seconds}
    networks = Lever("networks", effort.networks)
    if cost.training:
        lever = Lever("train_steps", effort.train_steps)
        detail = f"{effort.networks} networks x {effort.train_steps} steps"
        time.append(Part("training of networks", cost.training, detail, lever))
        compiling["the training"] = cost.fitted.compile_seconds
    for name, score in cost.scores.items():
        detail = f"{len(problem.splits.train.labels)} samples"
        time.append(Part(f"score {name}", score.seconds, detail, networks))
        compiling[name] = score.compile_seconds
    time.append(compiling_part(compiling))
    programs = {"training of networks": (cost.fitted.memory, None)}
    around = Around(problem, opened.precision, room, on_disk(problem))
    return assembled(title, time, programs, disk, around)
