"""Cost of what methods are made of, beside eager PyTorch.

    python -m benchmarks.primitives --reference=torch --out=runs/primitives

training     one SGD step on 256 images
norms        gradient norms of 256 images, one by one
synthetic    DSA's matching gradient with the real gradients given, 10 images per class
experts      four experts, two minibatches of 256 images each, DSA
evaluation5, evaluation20
             so many networks, 10 epochs on 10 images per class, tested on 1000 images

Tensors are random. The evaluations have no reference. Writes primitives.json, a list of
records, about.json, primitives.md, primitives.png and ratios.png.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks import reference
from benchmarks.parts import output, timing
from benchmarks.parts.cases import known, settings_named
from benchmarks.reference import races
from experiments.console.flags import main, option
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.files import make_folder

KEYS = ("primitive", "setting")

PRIMITIVES = {
    "training": races.training,
    "norms": races.norms,
    "synthetic": races.synthetic,
    "experts": races.experts,
    "evaluation5": lambda setting, against: races.evaluation(setting, 5),
    "evaluation20": lambda setting, against: races.evaluation(setting, 20),
}


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.primitives`."""

    out: str = option(..., "folder for the results", kind="path")
    primitives: str = option("all", "names by commas, or all")
    settings: str = option("standard,small", "standard, small")
    reference: str = option("none", "torch or none")
    width: int | None = option(None, "channels of the ConvNet, for a quick look")
    repeats: int = option(5, "timed runs; their median counts")


def run(config: Config) -> list[dict[str, Any]]:
    """Measure everything; the records of `primitives.json`.

    Raises:
        UserError: bad input, named.
    """
    if config.repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {config.repeats}")
    every = tuple(PRIMITIVES)
    names = list(every)
    if config.primitives != "all":
        names = known(config.primitives, every, "primitive")
    settings = settings_named(config.settings, config.width)
    against = reference.wanted(config.reference)
    folder = make_folder(config.out)
    peak = timing.gemm_peak()
    records = []
    for setting in settings:
        for name in names:
            say(f"{name}, {setting.name}")
            race = PRIMITIVES[name](setting, against)
            record = {
                "primitive": name,
                "setting": setting.name,
                "width": setting.width,
                **timing.measured(race, config.repeats, peak),
            }
            records.append(record)
            output.write_records(folder, "primitives", records)
    known_of = output.about(config, gemm_peak=peak)
    output.write_results(folder, "primitives", records, KEYS, known_of)
    output.seconds(records, KEYS, folder / "primitives.png")
    output.draw_ratios(records, KEYS, folder / "ratios.png")
    return records


def show(records: list[dict[str, Any]]) -> None:
    print(output.table(records, KEYS))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
