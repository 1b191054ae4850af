"""The main job in one command: distil scikit-learn's digits, with and without SDC.

    python -m experiments.demo --workdir=runs/demo

About two minutes on two CPU cores. One image per class. The weight of the difficulty
correction is chosen on validation data (10 % of train, one seed); the table compares
plain DSA and DSA + SDC on the same seeds, trained on all of train and measured on the
test split.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.comparing import lists, pairs
from experiments.comparing.groups import Flags, Group
from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.data.problem import DataFlags, Problem, open_problem
from jaxdd.data.real import take
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.methods.network import Arithmetic, NetworkSpec
from jaxdd.primitives.keys import named_key
from jaxdd.progress import say
from jaxdd.statistics import Gain, Statistics, statistics
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown
from jaxdd.storage.records import (
    integer,
    list_of,
    mapping,
    maybe,
    number,
    read_json,
    text,
)
from jaxdd.training.evaluate import accuracy
from jaxdd.training.fit import Training, make_fit
from jaxdd.training.schedules import MIN_RANDOM
from jaxdd.types import Learner

NUM_RANDOM = 20  # random subsets per seed in the table
# The schedule of the last row: short, and long enough for 99 % on digits.
WHOLE = Training(epochs=30, learning_rate=0.01, momentum=0.9, batch_size=64)
_ACCURACY = number(0, 100)
_ROW = mapping(
    name=text(100),
    mean=_ACCURACY,
    std=_ACCURACY,
    n=integer(1),
    optional={"grad_norm": maybe(number(0))},
)
_TABLE = mapping(
    rows=list_of(_ROW, 4, 4),
    validation=mapping(others=_ACCURACY),
    gain=list_of(number(-100, 100), shortest=1),
    config=mapping(),
)


@dataclass(frozen=True)
class Config:
    """Flags of `experiments.demo`."""

    workdir: str = option(
        "runs/demo", "folder in which all runs and table.json are stored", kind="path"
    )
    weights: str = option(
        "3,30", "weights of SDC, joined by commas; one is chosen on validation data"
    )
    seeds: str = option("0,1", "seeds of the comparison, joined by commas")
    steps: int | None = option(
        None, "updates of the synthetic images in each run; default: the published ones"
    )


class Row(enum.StrEnum):
    """The rows that are distilled; their values name the folders of the runs."""

    PLAIN = "plain"
    SDC = "sdc"


Runs = Mapping[Row, Sequence[pairs.Summary]]  # per seed


def base_of(config: Config, **changes: Any) -> options.Config:
    """The flags of a run: DSA on digits, one image per class."""
    return options.Config(
        **{
            "workdir": config.workdir,
            "steps": config.steps,
            "sdc_share": False,
            "num_random": MIN_RANDOM,
            **changes,
        }
    )


def run(config: Config) -> dict[str, Any]:
    """Run the comparison, or read it where it is finished.

    Returns:
        The content of `table.json`.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; finished runs are kept.
    """
    fields.check(config)
    weights = lists.numbers(config.weights, "weights", float)
    seeds = lists.seeds(config.seeds)
    for weight in weights:
        comparison(config, weight).check(seeds)
    flags = {"weights": weights, "seeds": seeds, "steps": config.steps}
    with owned(config.workdir) as folder:
        path = folder / "table.json"
        if path.exists():
            finished = read_table(path)
            if finished["config"] == flags:
                say(f"{shown(path)} is there: showing it")
                return finished
        weight, accuracies = choose_weight(config, folder, weights)
        problem = open_problem(DataFlags(), 0.0, 0)
        runs = comparison(config, weight).run(seeds, folder, problem)
        say("training on the whole training set")
        whole = whole_training_set(problem)
        table = {
            "rows": table_rows(runs, weight, whole),
            "sdc_weight": weight,
            "validation": accuracies,
            "gain": gains(runs),
            **pairs.provenance_of(flags),
        }
        write_atomically(path, to_json(table))
        say(f"results: {shown(path)}")
        return table


def choose_weight(
    config: Config, folder: Path, weights: Sequence[float]
) -> tuple[float, dict[str, float]]:
    """The SDC weight with the best validation accuracy, and all accuracies.

    Selection sees train and validation data only: every candidate is distilled from the
    other 90 % of train, and its networks are measured on the held-out 10 %.
    """
    problem = open_problem(DataFlags(), 0.1, 0).blind()
    accuracies = {}
    for weight in [0.0, *weights]:
        name = f"{weight:g}"
        say(f"choosing the weight: {name}")
        place = str(folder / f"select-{name}")
        candidate = base_of(config, workdir=place, sdc_weight=weight, seed=0)
        accuracies[name] = distill.run(candidate, problem)["distilled"]["mean"]
    return max(weights, key=lambda w: accuracies[f"{w:g}"]), accuracies


def comparison(config: Config, weight: float) -> Group[Row]:
    """Plain DSA and DSA with SDC, distilled from all of train."""
    rows: dict[Row, Flags] = {
        Row.PLAIN: {"num_random": NUM_RANDOM},
        Row.SDC: {"sdc_weight": weight},
    }
    return Group(base_of(config, validation=0.0), rows)


def whole_training_set(problem: Problem) -> dict[str, float]:
    """Accuracy of three networks trained on everything, by the schedule WHOLE."""
    spec = NetworkSpec().sized(problem.dataset)
    network = spec.make(problem.dataset, Arithmetic())
    fit = make_fit(network, WHOLE, fetch=take)
    real = problem.on_device(problem.splits.train)
    test = problem.on_device(problem.splits.test)

    @jax.jit
    def train_and_measure(key, real, test):
        key_init, key_fit = jax.random.split(key)
        learner, _ = fit(key_fit, Learner(*network.init(key_init)), real)
        return accuracy(network, learner, test)

    keys = jax.random.split(named_key(0, "whole"), 3)
    return statistics([float(train_and_measure(k, real, test)) for k in keys])


def table_rows(
    runs: Runs, weight: float, whole: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Mean over seeds of the means over networks; std over all of them pooled."""

    def row_of(name: str, row: Row) -> dict[str, Any]:
        norms = [summary["difficulty"]["end"]["grad_norm"] for summary in runs[row]]
        # null, which stands for a number that is not finite, becomes NaN
        grad_norm = float(np.mean(np.array(norms, float)))
        accuracy = pairs.pooled(runs[row], "distilled")
        return {"name": name, **accuracy, "grad_norm": grad_norm}

    return [
        {"name": "random real subsets", **pairs.pooled(runs[Row.PLAIN], "random")},
        row_of("DSA", Row.PLAIN),
        row_of(f"DSA + SDC, weight {weight:g}", Row.SDC),
        {"name": f"whole training set, {WHOLE.epochs} epochs", **whole},
    ]


def gains(runs: Runs) -> list[float]:
    """SDC minus plain, in points, seed by seed."""
    return [
        sdc["distilled"]["mean"] - plain["distilled"]["mean"]
        for plain, sdc in zip(runs[Row.PLAIN], runs[Row.SDC], strict=True)
    ]


def read_table(path: Path) -> dict[str, Any]:
    """The `table.json` of a finished comparison.

    Raises:
        UserError: it is damaged.
    """
    return read_json(path, _TABLE, "remove it, and it is made again from the runs")


def show(table: dict[str, Any]) -> None:
    """Print the table, the weight chosen, and what the gain means."""
    view = Table(title="digits, 1 image per class, test accuracy")
    for column in ("set", "accuracy %", "networks", "GraDN"):
        view.add_column(column, justify="left" if column == "set" else "right")
    for row in table["rows"]:
        measured = row.get("grad_norm") is not None
        grad_norm = f"{row['grad_norm']:.3g}" if measured else ""
        cell = f"{row['mean']:.2f} ± {row['std']:.2f}"
        view.add_row(escape(row["name"]), cell, str(row["n"]), grad_norm)
    Console().print(view)
    tried = ", ".join(f"{k}: {v:.1f}" for k, v in table["validation"].items())
    print(f"SDC weight chosen on validation accuracy ({tried}).")
    gain = np.array(table["gain"])
    cells = ", ".join(f"{g:+.2f}" for g in gain)
    # Networks differ: two standard errors of the difference of the two rows.
    _, plain, corrected, _ = table["rows"]
    error = Gain.of(Statistics.of(corrected), Statistics.of(plain)).error
    noise = np.inf if error is None else 2 * error
    verdict = "gains" if gain.mean() > noise else "does not reliably gain"
    within = "" if error is None else f", within ±{noise:.2f} by chance"
    print(
        f"SDC minus plain by seed: {cells} points{within}; on this data SDC {verdict}."
    )


if __name__ == "__main__":
    main(Config, run, show)
