"""What PAD's two filters bring: base, +FIEX, +FIEM and both, in paired seeds.

    python -m experiments.pad --dataset=digits --ipc=1 --seeds=0,1,2 --workdir=runs/pad

FIEX filters the samples that experts are trained on (for gradient and distribution
matching: the real batches), FIEM the parameters that are matched. Two banks of experts
are trained first, without and with the curriculum, and shared by all seeds. --sweep
varies one thing instead: the score that sorts the data, the curriculum, or the share of
parameters that is dropped. Writes table.md, table.csv and plots; a stopped comparison
goes on where it was.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparing import pairs, shared_banks
from experiments.console.flags import main, option
from jaxdd import fields, report
from jaxdd.data.problem import DataFlags, Problem
from jaxdd.distillation import experts, options, resolution
from jaxdd.errors import UserError, quoted
from jaxdd.methods import presets
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.progress import say
from jaxdd.report.pictures import draw
from jaxdd.scores.table import score_named
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record

SWEEPS = ("none", "score", "curriculum", "alpha")
# What PAD's paper swept: scores, IR x AEE, and shares of parameters.
SWEPT_SCORES = ("el2n", "loss", "entropy", "grad_norm", "forgetting")
SWEPT_RATIOS = (0.5, 0.75, 0.8)
SWEPT_ALPHAS = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.pad`."""

    workdir: str = option(..., "folder for all runs, tables and plots", kind="path")
    method: str = option("datm", "the base: any method without a modifier")
    ipc: int = option(1, "synthetic images per class")
    seeds: str = option("0,1,2", "seeds of the comparison, by commas")
    sweep: str = option("none", f"one of {', '.join(SWEEPS)}")
    steps: int | None = option(None, "updates of the images")
    num_experts: int | None = option(None, "experts of each bank")
    bank_epochs: int | None = option(None, "epochs of each bank")
    max_start: int | None = option(None, "bound of the start epochs, exclusive")
    student_steps: int | None = option(None, "N, steps of a student")
    mask: str = option("depth", "FIEM's rule: depth or loss")
    mask_ratio: float | None = option(None, "FIEM's share; default: PAD's, or 0.25")
    score: str = option("el2n", "FIEX's score")
    drop_hardest: float = option(0.2, "FIEX's share without experts: the hardest")
    eval_epochs: int | None = option(None, "epochs of the evaluation")
    num_eval: int = option(5, "fresh networks per run")


def run(config: Config) -> dict[str, Any]:
    """Compare; the content of `table.json`.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; what is done is kept.
    """
    fields.check(config)
    if config.sweep not in SWEEPS:
        raise UserError(
            f"unknown --sweep={quoted(config.sweep)}: choose one of {', '.join(SWEEPS)}"
        )
    score_named(config.score)
    seeds = pairs.seeds_of(config.seeds)
    preset = presets.preset(config.method, config.dataset, config.ipc)
    _check(config, preset)
    base = _base(config, preset)
    cells = _cells(config, preset)
    # All of it now: the banks alone may take hours.
    pairs.check_cells(cells, seeds, base)
    problem = resolution.open_data(base)
    with owned(config.workdir) as folder:
        fingerprint = problem.dataset.fingerprint
        values = {**dataclasses.asdict(config), "fingerprint": fingerprint}
        Record(folder, values, "pad")
        if preset.experts is not None:
            cells = _with_banks(config, cells, folder, problem)
        found = pairs.run_cells(cells, seeds, base, folder, problem)
        rows = pairs.compare(found)
        title = pairs.title_of(config)
        notes = _notes(config, len(seeds))
        pairs.write_tables(folder, title, rows, notes)
        table = pairs.table_of(config, rows)
        write_atomically(folder / "table.json", to_json(table))
        _plot(rows, folder)
        say(f"{shown(folder)}/table.md, table.csv, gain.png")
        return table


def _check(config: Config, preset: presets.Preset) -> None:
    """Refuse a base that has a modifier, and flags that it has no use for."""
    if preset.settings.mask != "none" or (
        preset.experts is not None and preset.experts.curriculum != Curriculum()
    ):
        raise UserError(
            f"--method={config.method} has filters of its own: choose a base without, "
            "such as datm"
        )
    if preset.experts is not None:
        base = _base(config, preset)
        shared_banks.check(base, config.num_experts, config.bank_epochs)
        return
    if config.sweep == "curriculum":
        raise UserError(
            f"--sweep=curriculum is about experts, which --method={config.method} has "
            "not: choose score or alpha"
        )
    for name in ("num_experts", "bank_epochs"):
        if getattr(config, name) is not None:
            raise UserError(
                f"--{name} is about experts, which --method={config.method} has not"
            )


def _base(config: Config, preset: presets.Preset) -> options.Config:
    """What all rows share."""
    # A mask chooses among blocks, so the base has to match all of them as well.
    features = "all" if preset.settings.objective == "distribution" else None
    return pairs.base_of(config, features=features)


def _cells(config: Config, preset: presets.Preset) -> dict[str, dict[str, Any]]:
    """{row: flags}; for methods with experts FIEX's flags are those of their bank."""
    pad = presets.preset("pad", config.dataset, config.ipc)
    fiex: dict[str, Any] = {"score": config.score}
    if preset.experts is None:
        fiex["drop_hardest"] = config.drop_hardest
    else:
        assert pad.experts is not None
        fiex.update(_flags(pad.experts.curriculum))
    ratio = config.mask_ratio
    if ratio is None:
        ratio = pad.settings.mask_ratio or 0.25
    fiem = {"mask": config.mask, "mask_ratio": ratio}
    if config.sweep == "score":
        swept = {f"FIEX by {s}": {**fiex, "score": s} for s in SWEPT_SCORES}
        return {"base": {}, **swept}
    if config.sweep == "alpha":
        return {
            f"alpha {a:g}": {"mask": config.mask if a else "none", "mask_ratio": a}
            for a in SWEPT_ALPHAS
        }
    if config.sweep == "curriculum":
        whole = fiex["add_end_epoch"]
        return {
            "base": {},
            **{
                f"IR {ratio:g}, AEE {aee}": {
                    **fiex,
                    "init_ratio": ratio,
                    "add_end_epoch": aee,
                }
                for ratio in SWEPT_RATIOS
                for aee in (whole, 2 * whole, 3 * whole)
            },
        }
    return {"base": {}, "FIEX": fiex, "FIEM": fiem, "FIEX + FIEM": {**fiex, **fiem}}


def _flags(curriculum: Curriculum) -> dict[str, Any]:
    """A curriculum as flags."""
    removals = ",".join(f"{epoch}:{share:g}" for epoch, share in curriculum.removals)
    return {
        "init_ratio": curriculum.init_ratio,
        "add_end_epoch": curriculum.add_end_epoch,
        "removals": removals or "none",
    }


BANK_FLAGS = ("score", "init_ratio", "add_end_epoch", "removals")


def _with_banks(
    config: Config, cells: dict[str, dict[str, Any]], folder: Path, problem: Problem
) -> dict[str, dict[str, Any]]:
    """Train one bank per curriculum, and point every row to its own."""
    banks: dict[tuple, Path] = {}
    pointed = {}
    for name, flags in cells.items():
        wanted = {k: v for k, v in flags.items() if k in BANK_FLAGS}
        key = tuple(sorted(wanted.items()))
        if key not in banks:
            target = folder / f"experts-{len(banks)}"
            asked = _experts(config, wanted, target)
            banks[key] = shared_banks.train(asked, problem, name)
        pointed[name] = {**flags, "experts": str(banks[key])}
    return pointed


def _experts(config: Config, flags: dict[str, Any], folder: Path) -> experts.Config:
    preset = presets.preset(config.method, config.dataset, config.ipc)
    count, epochs = config.num_experts, config.bank_epochs
    return shared_banks.asked(_base(config, preset), folder, count, epochs, **flags)


def _notes(config: Config, seeds: int) -> list[str]:
    return [
        f"Means over {seeds} seeds of {config.num_eval} networks each; gains are "
        "paired by seed, with the 95 % interval over seeds. Test accuracy after the "
        "last epoch, no selection; random: real subsets of the same size, same "
        "protocol.",
    ]


def _plot(rows: list[dict[str, Any]], folder: Path) -> None:
    """`gain.png`: what every row brings, with its interval."""
    names = [row["name"] for row in rows]
    draw(
        report.intervals,
        names,
        [row["gain"] for row in rows],
        [row["interval"] or 0.0 for row in rows],
        folder / "gain.png",
        f"points over {names[0]}",
    )


def show(table: dict[str, Any]) -> None:
    title = pairs.title_of(Config(**table["config"]))
    print(pairs.markdown(title, table["rows"], []))


if __name__ == "__main__":
    main(Config, run, show)
