"""Every comparison with runs that take no time, and a toy among them."""

import contextlib
import dataclasses
import io
import json
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from experiments import d4a, demo, matrix, pad, sdc
from experiments.comparing import d4a_results, shared_banks
from experiments.comparing.comparison import Comparison
from experiments.comparing.filling import Filler
from experiments.comparing.flags import ComparisonFlags, base_of
from experiments.comparing.groups import Group
from experiments.console.flags import option
from jaxdd import report
from jaxdd.distillation import run as distill
from jaxdd.progress import listening
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from tests.experiments.helpers import read_json

TEST_SAMPLES = 360  # of digits


@dataclass(frozen=True, kw_only=True)
class ToyConfig(ComparisonFlags):
    """Flags of a comparison of learning rates."""

    factor: float = option(2.0, "factor between the two learning rates of the images")


class Rate(NamedTuple):
    value: float

    def __str__(self) -> str:
        return f"image_lr {self.value:g}"


def toy_groups(config: ToyConfig) -> list[Group[Rate]]:
    rows = {Rate(rate): {"image_lr": rate} for rate in (0.1, 0.1 * config.factor)}
    return [Group(base_of(config, "dsa"), rows)]


TOY = Comparison(
    "toy",
    ToyConfig,
    lambda config: "DSA",
    toy_groups,
    lambda config, table: [f"The second rate is {config.factor:g} times the first."],
    findings=lambda finished: {"largest": max(finished.runs).value},
    details=lambda finished: {row: {"rate": row.value} for row in finished.runs},
    plots={
        "gain.png": lambda finished, table, path: report.intervals(
            ["a"], [table["rows"][1]["gain"]], [0.0], path, "gain"
        )
    },
)


def made_up(name: str) -> float:
    """A number between 0 and 1 that every start finds again."""
    return zlib.crc32(name.encode()) % 1000 / 1000


class FastRuns:
    """In the place of `distill.run`: a run is its files.

    Attributes:
        configs: {folder's name: the flags of a run that was computed}.
        read: names of the folders of finished runs that were only read.
    """

    def __init__(self):
        self.configs: dict[str, dict[str, Any]] = {}
        self.read: list[str] = []

    def __call__(self, config, problem):
        with owned(config.workdir) as folder:
            path = folder / "summary.json"
            if path.exists():
                self.read.append(folder.name)
                return read_json(path)
            self.configs[folder.name] = dataclasses.asdict(config)
            rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
            lines = [measured(step, folder.name) for step in (0, config.steps)]
            (folder / "metrics.jsonl").write_text("".join(map(line_of, lines)))
            right = rng.random((config.num_eval, TEST_SAMPLES)) < 0.7
            np.savez(folder / "evaluation.npz", right=right, ids=np.arange(len(right)))
            write_atomically(path, to_json(summary_of(config, right)))
            return read_json(path)


def summary_of(config, right) -> dict[str, Any]:
    name = Path(config.workdir).name
    accuracies = 100 * right.mean(axis=1)
    segment = {"kept": [100] * 10, "right": made_up(name), "forgotten": 0.25}
    return {
        "distilled": {
            "mean": float(accuracies.mean()),
            "std": float(accuracies.std()),
            "n": len(right),
        },
        "random": {"mean": 50.0 + config.seed, "std": 2.0, "n": config.num_random},
        "seconds_per_step": 0.25,
        "difficulty": {
            when: {"grad_norm": made_up(when + name), "percentile": 100 * made_up(name)}
            for when in ("start", "end")
        },
        "segments": [segment] * config.segments if config.segments else [],
        "config": dataclasses.asdict(config),
    }


def measured(step: int, name: str) -> dict[str, float]:
    return {
        "step": step,
        "seconds": 0.0,
        "difficulty_grad_norm": made_up(f"{step}{name}"),
        "difficulty_percentile": 50.0,
    }


def line_of(line: dict[str, float]) -> str:
    return json.dumps(line) + "\n"


def fast_bank(config, problem, served) -> Path:
    return Path(config.workdir)


def fast_cell(filler, cell) -> dict[str, Any]:
    summary = distill.run(
        dataclasses.replace(cell.config, num_eval=1), filler.problems[cell.key.method]
    )
    return {
        "works": True,
        "why": "",
        "loss_before": 2.0,
        "loss_after": summary["distilled"]["mean"] / 100,
        "seconds_per_step": 0.25,
        "peak_mb": None,
        "sha256": f"{zlib.crc32(str(cell.key).encode()):064x}",
    }


def install(patch) -> FastRuns:
    """Put quick runs, banks, cells and networks into the place of real ones."""
    runs = FastRuns()
    patch.setattr(distill, "run", runs)
    patch.setattr(shared_banks, "train", fast_bank)
    patch.setattr(Filler, "fill", fast_cell)
    losses = np.linspace(0, 1, TEST_SAMPLES)
    patch.setattr(d4a_results, "_test_losses", lambda *_: losses)
    whole = {"mean": 99.0, "std": 0.1, "n": 3}
    patch.setattr(demo, "whole_training_set", lambda problem: whole)
    return runs


def touch(plot, finished, table, path) -> None:
    """In the place of `draw`, where pictures do not matter."""
    path.touch()


class Case(NamedTuple):
    """A program with flags for a short comparison.

    Attributes:
        config: (workdir) -> its flags.
        run, show: of the program.
        rows: the names in its table.
        runs: the folders of its runs, in order.
        result: the file with what `run` returns.
        kills: how often a comparison of finished runs can be killed at a record of its
            own before it comes to its end.
        differ: flags in which the runs of a method and seed differ.
        others: other flags that the folder refuses, and a part of the refusal.
    """

    config: Callable[[Any], Any]
    run: Callable
    show: Callable
    rows: list[str]
    runs: list[str]
    differ: Collection[str] = ()
    others: tuple[dict[str, Any], str] | None = None
    kills: int = 4  # run.json or table.md, table.csv, table.json, and report.html
    result: str = "table.json"


# Short real runs, on a network that compiles quickly.
SHORT = {
    "seeds": "0",
    "steps": 3,
    "num_experts": 2,
    "bank_epochs": 7,
    "student_steps": 2,
    "eval_epochs": 3,
    "num_eval": 2,
}
TINY = {"net": "mlp", "width": 8, "augmentation": "none", "eval_augmentation": "none"}


def compared(program, config, probes, /, **changes):
    """(folder, table, standard error) of a finished comparison of real runs."""
    base_of = program.base_of
    with pytest.MonkeyPatch.context() as patch:
        tiny = lambda *a, **given: base_of(*a, **{**given, **TINY, **changes})
        patch.setattr(program, "base_of", tiny)
        patch.setattr(distill, "Probes", probes)
        error = io.StringIO()
        with contextlib.redirect_stderr(error), listening(report.bar):
            table = program.run(config)
    return Path(config.workdir), table, error.getvalue()


FEW = {"seeds": "0,1", "steps": 3, "num_eval": 2}


def flags(kind, **changes) -> Callable[[Any], Any]:
    return lambda workdir: kind(workdir=str(workdir), **changes)


def folders(*names: str) -> list[str]:
    """The runs of rows, in their order, with the seeds 0 and 1."""
    return [f"{name}-{seed}" for seed in (0, 1) for name in names]


CASES = {
    "toy": Case(
        flags(ToyConfig, **FEW), TOY.run, TOY.show,
        ["image_lr 0.1", "image_lr 0.2"],
        folders("image-lr-0.1", "image-lr-0.2"),
        {"image_lr"},
        ({"factor": 3.0}, "factor is 2.0 there and 3.0 now"),
    ),
    "pad": Case(
        flags(pad.Config, **FEW), pad.run, pad.show,
        ["base", "FIEX", "FIEM", "FIEX + FIEM"],
        folders("base", "fiex", "fiem", "fiex-fiem"),
        {"mask", "mask_ratio", "experts", "score", "init_ratio", "add_end_epoch",
         "removals"},
        ({"score": "loss"}, "score is 'el2n' there and 'loss' now"),
    ),
    "pad, a sweep without experts": Case(
        flags(pad.Config, **FEW, method="dm", sweep="alpha"), pad.run, pad.show,
        ["alpha 0", "alpha 0.25", "alpha 0.5", "alpha 0.75"],
        folders("alpha-0", "alpha-0.25", "alpha-0.5", "alpha-0.75"),
        {"mask", "mask_ratio"},
        ({"sweep": "none"}, "sweep is 'alpha' there and 'none' now"),
    ),
    "sdc": Case(
        flags(sdc.Config, **FEW, methods="dc,mtt", weights="-1,0", norms="mean,path",
              schedules="constant"),
        sdc.run, sdc.show,
        ["dc", "dc, weight -1", "dc, weight 1",
         "mtt", "mtt, weight -1", "mtt, weight 1", "mtt, norm path"],
        [*folders("dc", "dc-weight-minus1", "dc-weight-1"),
         *folders("mtt", "mtt-weight-minus1", "mtt-weight-1", "mtt-norm-path")],
        {f"sdc_{x}" for x in ("weight", "norm", "at", "schedule", "relative")},
        # A rising weight and the measurements depend on how long a run is.
        ({"steps": 4}, "horizon is 3 there and 4 now"),
    ),
    "d4a": Case(
        flags(d4a.Config, **FEW, method="dm", ipc=2, segments=2), d4a.run, d4a.show,
        ["base", "D4A without the term", "D4A"],
        folders("base", "d4a-without-the-term", "d4a"),
        {"segments", "forgetting", "forgetting_weight"},
        ({"forgetting": "proxy"}, "forgetting is 'replay' there and 'proxy' now"),
    ),
    "matrix": Case(
        flags(matrix.Config, methods="dm", modifiers="plain,sdc,fiem", steps=2),
        matrix.run, matrix.show,
        ["dm"], ["dm-plain", "dm-sdc", "dm-fiem"],
        {"sdc_weight", "sdc_relative", "mask", "mask_ratio", "features"},
        ({"steps": 3}, "steps_per_cell is 2 there and 3 now"),
        kills=4, result="summary.json",
    ),
    "demo": Case(
        flags(demo.Config, weights="3", seeds="0,1", steps=3), demo.run, demo.show,
        ["random real subsets", "DSA", "DSA + SDC, weight 3"],
        ["select-0", "select-3", *folders("plain", "sdc")],
        {"sdc_weight", "num_random"}, kills=1,
    ),
}  # fmt: skip
