"""What `--plan` of `experiments.probe` prints."""

from experiments.planning.estimate import Lever, Part, Plan
from experiments.planning.files import CHART_BYTES
from experiments.planning.plans import Around, assembled, compiling_part
from experiments.planning.room import Room, nearest, room_for
from experiments.planning.scores import scoring_cost
from experiments.planning.stores import on_disk, without_stores
from jaxdd.devices.timing import Stopwatch
from jaxdd.evaluation import probing
from jaxdd.progress import say
from jaxdd.scores.probes import KINDS, REFERENCE
from jaxdd.scores.table import Effort

SCORE = "grad_norm"
ROW_BYTES = 400  # of probed.json and table.md


@without_stores
def probe(config: probing.Config, room: Room | None = None) -> Plan:
    """What `experiments.probe` would need.

    Args:
        config: the flags.
        room: what there is; by default it is looked up.

    Raises:
        UserError: the run would refuse, in its own words.
    """
    with Stopwatch() as opening:
        opened = probing.open_sets(config)
    folder = probing.folder_of(config, opened)
    room = room or room_for(folder)
    nearest(folder)
    say("plan: timing networks on real data, and gradient norms")
    problem = opened.problem
    real = problem.on_device(problem.splits.train)
    effort = Effort(networks=opened.probes, train_steps=opened.probe_steps)
    cost = scoring_cost(opened.network, real, opened.seed, [SCORE], effort)
    lever = Lever("probe_steps", opened.probe_steps)
    time = [Part("data", opening.seconds)]
    rows = len(opened.sets) + len(probing.STARTS)
    for kind in opened.kinds:
        # Those of the set are trained anew for every row, on fewer samples at a time.
        times = rows if kind == "synthetic" else KINDS[kind]
        if times:
            steps = opened.probe_steps * (1 if kind == "synthetic" else times)
            each = f"{opened.probes} networks x {steps} steps"
            detail = f"{rows} x {each}" if kind == "synthetic" else each
            part = Part(f"networks of {kind}", times * cost.training, detail, lever)
            time.append(part)
    score = cost.scores[SCORE]
    share = min(1.0, REFERENCE / len(problem.splits.train.labels))
    looks = len(opened.kinds) + rows * ("synthetic" in opened.kinds)
    time.append(
        Part(
            "gradient norms",
            looks * share * score.seconds,
            f"{looks} times, of {REFERENCE} real samples at most",
            Lever("probes", opened.probes),
        )
    )
    compiling = {
        "the start": opening.compile_seconds,
        "the training": cost.fitted.compile_seconds,
        SCORE: score.compile_seconds,
    }
    time.append(compiling_part(compiling))
    disk = [Part("results", CHART_BYTES + ROW_BYTES * rows)]
    programs = {"training of networks": (cost.fitted.memory, None)}
    around = Around(problem, opened.precision, room, on_disk(problem))
    name = f"the difficulty of {', '.join(opened.sets)}"
    return assembled(name, time, programs, disk, around)
