"""bfloat16 beside other precisions: speed, gradients and accuracy, in one table.

    python -m benchmarks.precision --out=runs/precision
    python -m benchmarks.precision --out=runs/precision --parts=accuracy \\
        --datasets=digits,mnist,cifar10 --data_dir=TFDS --seeds=0,1,2,3,4

speed       ratios of medians, all precisions of the device in turn, with
            --reference=torch also the PyTorch loops: a training step, steps of DSA,
            IDC, MTT and DM, gradient norms; ConvNet-3 of width 128 on random 32x32x3
gradients   relative errors and cosines of bfloat16's to float32's at the same point
accuracy    the same runs in both precisions, seed by seed, at a small width; and sets
            of float32 evaluated in both. Mean differences with 95 % intervals

The same command goes on with what is not measured yet. Writes speed.json,
gradients.json, accuracy.json, about.json and table.md. Whether `auto` may stand for
bfloat16 on a device, `precision` of its entry in `jaxdd/devices/policy.py`, is decided
by this table. Time anything only on a machine that does nothing else.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks import reference
from benchmarks.bfloat16 import accuracy, gradients, speed
from benchmarks.bfloat16.accuracy import Runs
from benchmarks.bfloat16.records import HEADINGS, Records
from benchmarks.parts import output
from benchmarks.parts.cases import settings_named
from experiments.comparing.lists import names, seeds
from experiments.console.flags import main, option
from jaxdd.devices import precision
from jaxdd.errors import UserError
from jaxdd.methods.recipes import METHODS
from jaxdd.progress import say
from jaxdd.storage.files import make_folder, to_json, write_atomically
from jaxdd.training.schedules import MIN_RANDOM

PARTS = ("speed", "gradients", "accuracy")


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.precision`."""

    out: str = option(..., "folder for the results", kind="path")
    parts: str = option("speed,gradients,accuracy", f"by commas: {', '.join(PARTS)}")
    setting: str = option("standard", "standard or small: of speed and gradients")
    width: int | None = option(
        None, "channels of the ConvNet of speed and gradients, for a quick look"
    )
    repeats: int = option(5, "timed runs of each precision; their medians count")
    reference: str = option("none", "none, or torch: PyTorch's loops are timed too")
    workers: int = option(1, "programs compiled side by side, while nothing is timed")
    datasets: str = option("digits", "datasets of accuracy, by commas")
    data_dir: str | None = option(None, "folder of prepared TFDS datasets", kind="path")
    methods: str = option("dsa,dm,mtt", "methods of accuracy, by commas")
    seeds: str = option("0,1,2", "seeds of accuracy, by commas")
    ipc: int = option(1, "synthetic images per class")
    steps: int = option(100, "updates of the images in each run")
    small_width: int = option(32, "channels of the ConvNet of accuracy")
    eval_epochs: int = option(300, "epochs of each network of the evaluation")
    num_eval: int = option(5, "networks that evaluate a set")
    num_experts: int = option(5, "experts of a run of a trajectory method")
    bank_epochs: int = option(10, "epochs of the experts")
    max_start: int = option(5, "students start at expert epochs below this bound")
    student_steps: int = option(20, "N, SGD steps of a student")


def runs_of(config: Config) -> Runs:
    """The runs that the flags ask for.

    Raises:
        UserError: an unknown method, or a bad seed.
    """
    shared = ("ipc", "steps", "eval_epochs", "num_eval")
    experts = ("num_experts", "bank_epochs", "max_start", "student_steps")
    return Runs(
        config.datasets.split(","),
        names(config.methods, "methods", METHODS),
        seeds(config.seeds),
        config.data_dir,
        {
            **{x: getattr(config, x) for x in shared},
            "width": config.small_width,
            "num_random": MIN_RANDOM,
        },
        {x: getattr(config, x) for x in experts},
    )


def run(config: Config) -> str:
    """Measure what is not measured yet; the table.

    Raises:
        UserError: bad input, named.
    """
    parts = names(config.parts, "parts", PARTS)
    if min(config.repeats, config.workers) < 1:
        raise UserError("--repeats and --workers must be at least 1")
    against = reference.wanted(config.reference)
    (setting,) = settings_named(config.setting, config.width)
    runs = runs_of(config)
    folder = make_folder(config.out)
    if not precision.has("bfloat16"):
        say("warning: this device has no bfloat16 products of its own")
    if "speed" in parts:
        work = speed.Work(setting, config.repeats, against, config.workers)
        speed.run(Records(folder, "speed"), work)
    if "gradients" in parts:
        gradients.run(Records(folder, "gradients"), setting)
    if "accuracy" in parts:
        accuracy.run(Records(folder, "accuracy"), runs)
    known = output.about(config, has_bfloat16=precision.has("bfloat16"))
    write_atomically(folder / "about.json", to_json(known))
    text = table(folder)
    write_atomically(folder / "table.md", text)
    return text


def table(folder: Path) -> str:
    """All records of a folder, Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|---{'|---:' * (len(HEADINGS) - 1)}|"]
    for part in PARTS:
        for record in Records(folder, part).records:
            lines.append(f"| {' | '.join(record['line'])} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main(Config, run, print)
