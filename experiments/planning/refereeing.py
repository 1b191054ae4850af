"""What `--plan` of `experiments.evaluate` prints, of a referee's table too."""

from dataclasses import replace
from typing import Any

from experiments.planning import plans
from experiments.planning.estimate import Lever, Part
from experiments.planning.networks import evaluation_cost
from experiments.planning.plans import Around, Plan, Room
from experiments.planning.programs import Fitted, Memory, fit_cost
from experiments.planning.room import nearest, room_for
from experiments.planning.scores import sorting_cost
from experiments.planning.stores import without_stores
from jaxdd import augment
from jaxdd.data.real import take
from jaxdd.devices.timing import Stopwatch
from jaxdd.evaluation.opening import Opened, open_referee
from jaxdd.evaluation.options import FULL, RANDOM, is_asked, plain
from jaxdd.evaluation.protocol import Protocol
from jaxdd.evaluation.rates import NETWORKS
from jaxdd.evaluation.teacher import protocol_of_teacher
from jaxdd.evaluation.whole import schedule
from jaxdd.methods.network import network_for
from jaxdd.progress import say
from jaxdd.scores.selection import BY_SCORE
from jaxdd.synthetic.sets import flatten
from jaxdd.training.schedules import MIN_RANDOM
from jaxdd.types import RealData

Programs = dict[str, tuple[Memory, Lever | None]]


@without_stores
def evaluation(config: Any, room: Room | None = None) -> Plan:
    """What `experiments.evaluate` would need, as a referee where it is asked to be.

    Args:
        config: an `evaluation.options.Config`.
        room: what there is; by default it is looked up.

    Raises:
        UserError: the run would refuse, in its own words.
    """
    if not is_asked(config):
        return plans.evaluation(plain(config), room)
    with Stopwatch() as opening:
        opened = open_referee(config)
    problem = opened.problem
    room = room or room_for(opened.folder)
    nearest(opened.folder)
    time = [Part("data", opening.seconds)]
    compiling = {"the start": opening.compile_seconds}
    programs: Programs = {}
    real = problem.on_device(problem.splits.train)
    _add_scores(opened, real, time, compiling)
    if opened.teaches and opened.bank is None:
        protocol = protocol_of_teacher(
            opened.first.network, opened.real_epochs, opened.first_protocol
        )
        fitted = _on_all_data(opened, protocol, real, 1)
        time.append(_part("the teacher", fitted, 1, opened.real_epochs))
        compiling["the teacher"] = fitted.compile_seconds
    for net, protocol in opened.protocols.items():
        say(f"plan: timing shortened trainings of {net}")
        _add_rows(opened, net, real, time, compiling, programs)
        if FULL in opened.baselines:
            count = protocol.num_eval
            fitted = _on_all_data(opened, protocol, real, count)
            part = _part(f"{net}: {FULL}", fitted, count, opened.real_epochs)
            time.append(part)
            compiling[f"{net} on all data"] = fitted.compile_seconds
            programs[f"training of {net} on all data"] = fitted.memory, None
    time.append(plans.compiling_part(compiling))
    entry = 2000.0 + 200.0 * 3 * (len(opened.sets) + len(opened.baselines))
    disk = [Part("referee.json, referee.html", 2 * entry * len(opened.protocols))]
    name = f"a table of {', '.join(opened.sets)}"
    precision = opened.first_protocol.precision
    around = Around(problem, precision, room, opened.notes, network=False)
    return plans.assembled(name, time, programs, disk, around)


def _add_scores(
    opened: Opened, real: RealData, time: list[Part], compiling: dict[str, float]
) -> None:
    """The scores by which samples are selected."""
    protocol = opened.first_protocol
    network = network_for(
        opened.problem.dataset, opened.first.network, protocol.precision
    )
    scores = (BY_SCORE[name][0] for name in opened.baselines if name in BY_SCORE)
    for score in dict.fromkeys(scores):
        say(f"plan: timing the score {score}")
        cost = sorting_cost(network, real, protocol.seed, score)
        time.append(Part(f"sorting by {score}", cost.seconds))
        compiling[score] = cost.compile_seconds


def _add_rows(
    opened: Opened,
    net: str,
    real: RealData,
    time: list[Part],
    compiling: dict[str, float],
    programs: Programs,
) -> None:
    """The sets and real subsets of their sizes, with all labels and rates."""
    protocol, sizes = opened.protocols[net], set()
    selected = [x for x in opened.baselines if x not in (RANDOM, FULL)]
    trials = NETWORKS * len(opened.rates)
    for name, artifact in opened.sets.items():
        own = flatten(artifact.synthetic())
        cost = evaluation_cost(opened.problem, protocol, own, real, artifact.ipc)
        compiling[f"{net} on {name}"] = cost.compile_seconds
        programs[f"evaluation of {name} by {net}"] = cost.fitted.memory, None
        columns = 1 + (artifact.label_kind != "hard") + opened.teaches
        networks = columns * (protocol.num_eval + trials)
        seconds = networks * cost.of_set / protocol.num_eval
        lever = Lever("num_eval", protocol.num_eval)
        detail = f"{networks} networks x {protocol.training.epochs} epochs"
        time.append(Part(f"{net}: {name}", seconds, detail, lever))
        if artifact.ipc in sizes:
            continue
        sizes.add(artifact.ipc)
        each = cost.of_random / protocol.num_random
        random = protocol.num_random + trials if RANDOM in opened.baselines else 0
        counts = {
            "random sets": (
                random,
                Lever("num_random", protocol.num_random, MIN_RANDOM),
            ),
            "selected sets": (len(selected) * (protocol.num_eval + trials), lever),
        }
        for what, (count, of) in counts.items():
            if count:
                networks = (1 + opened.teaches) * count
                detail = f"{networks} networks x {protocol.training.epochs} epochs"
                time.append(Part(f"{net}: {what}", networks * each, detail, of))


def _on_all_data(
    opened: Opened, protocol: Protocol, real: RealData, count: int
) -> Fitted:
    """Networks that are trained on the whole training split."""
    problem = opened.problem
    return fit_cost(
        network_for(problem.dataset, protocol.network, protocol.precision),
        replace(schedule(protocol.training, opened.real_epochs), loss="cross_entropy"),
        real,
        problem.on_device(opened.tested.split),
        count,
        augment=augment.training(protocol.augmentation),
        fetch=take,
        microbatch=problem.microbatch(protocol.network),
    )


def _part(name: str, fitted: Fitted, count: int, epochs: int) -> Part:
    detail = f"{count} networks x {epochs} epochs"
    lever = Lever("real_epochs", epochs)
    return Part(name, fitted.seconds(count, epochs), detail, lever)
