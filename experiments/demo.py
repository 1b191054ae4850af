"""The main job in one command: distil scikit-learn's digits, with and without SDC.

    python -m experiments.demo --workdir=runs/demo

About two minutes on two CPU cores. One image per class. The weight of the difficulty
correction is chosen on validation data (10 % of train, one seed); the table compares
plain DSA and DSA + SDC on the same seeds, trained on all of train and measured on the
test split.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.comparing import pairs
from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.data.problem import Problem, open_problem
from jaxdd.data.real import take
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.evaluation.protocol import MIN_RANDOM, statistics
from jaxdd.methods.network import network_for, network_options
from jaxdd.primitives.keys import named_key
from jaxdd.progress import say
from jaxdd.storage import provenance
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
        "runs/demo", "folder for all runs and table.json", kind="path"
    )
    weights: str = option("3,30", "SDC weights to choose from, by commas")
    seeds: str = option("0,1", "seeds of the comparison, by commas")
    steps: int | None = option(None, "updates of the images; default: the preset's")


def choose_weight(
    config: Config, folder: Path, weights: list[float]
) -> tuple[float, dict[str, float]]:
    """The SDC weight with the best validation accuracy, and all accuracies.

    Selection sees train and validation data only: every candidate is distilled from the
    other 90 % of train, and its networks are measured on the held-out 10 %.
    """
    problem = open_problem("digits", None, 0.1, 0, False).blind()
    found = {}
    for weight in [0.0, *weights]:
        say(f"choosing the weight: {weight:g}")
        run = options.Config(
            workdir=str(folder / f"select-{weight:g}"),
            sdc_weight=weight,
            steps=config.steps,
            num_random=MIN_RANDOM,
            sdc_share=False,
            seed=0,
        )
        summary = distill.run(run, problem)
        found[f"{weight:g}"] = summary["distilled"]["mean"]
    best = max(weights, key=lambda w: found[f"{w:g}"])
    return best, found


def whole_training_set(problem: Problem) -> dict[str, float]:
    """Accuracy of three networks trained on everything, by the schedule WHOLE."""
    options = network_options("convnet", problem.dataset, None, None)
    network = network_for(problem.dataset, options)
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


def run(config: Config) -> dict[str, Any]:
    """Run the comparison; writes `table.json` and returns its content."""
    fields.check(config)
    weights = pairs.numbers(config.weights, "weights", float)
    seeds = pairs.seeds_of(config.seeds)
    for weight, seed in itertools.product(weights, seeds):
        options.check(
            options.Config(
                workdir=config.workdir, sdc_weight=weight, steps=config.steps, seed=seed
            )
        )
    asked = {"weights": weights, "seeds": seeds, "steps": config.steps}
    with owned(config.workdir) as folder:
        if (folder / "table.json").exists():
            known = read_table(folder / "table.json")
            if known["config"] == asked:
                say(f"{shown(folder)}/table.json is there: showing it")
                return known
        return _compare(config, folder, asked)


def _compare(config: Config, folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Choose the weight, run both rows with every seed, and write the table."""
    weights, seeds = asked["weights"], asked["seeds"]
    weight, tried = choose_weight(config, folder, weights)
    problem = open_problem("digits", None, 0.0, 0, False)
    rows: dict[str, list[dict]] = {"plain": [], "sdc": []}
    for seed in seeds:
        for name, value in (("plain", 0.0), ("sdc", weight)):
            say(f"seed {seed}: {name}")
            run = options.Config(
                workdir=str(folder / f"{name}-{seed}"),
                sdc_weight=value,
                steps=config.steps,
                seed=seed,
                validation=0.0,
                sdc_share=False,
                num_random=NUM_RANDOM if name == "plain" else MIN_RANDOM,
            )
            rows[name].append(distill.run(run, problem))
    say("training on the whole training set")
    table = {
        "rows": table_rows(rows, weight, whole_training_set(problem)),
        "sdc_weight": weight,
        "validation": tried,
        "gain": paired(rows),
        "config": asked,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    write_atomically(folder / "table.json", to_json(table))
    return table


def read_table(path: Path) -> dict[str, Any]:
    """The `table.json` of a finished comparison.

    Raises:
        UserError: it is damaged.
    """
    return read_json(path, _TABLE, "remove it, and it is made again from the runs")


def paired(rows: dict[str, list[dict]]) -> list[float]:
    """SDC minus plain, in points, seed by seed."""
    return [
        s["distilled"]["mean"] - p["distilled"]["mean"]
        for p, s in zip(rows["plain"], rows["sdc"], strict=True)
    ]


def table_rows(rows: dict, weight: float, whole: dict) -> list[dict[str, Any]]:
    """Mean over seeds of the means over networks; std over all of them pooled."""

    def difficulty(runs: list[dict]) -> float:
        norms = [run["difficulty"]["end"]["grad_norm"] for run in runs]
        return float(np.mean(np.array(norms, float)))  # null becomes NaN

    plain, sdc = rows["plain"], rows["sdc"]
    return [
        {"name": "random real subsets", **pairs.pooled(plain, "random")},
        {
            "name": "DSA",
            **pairs.pooled(plain, "distilled"),
            "grad_norm": difficulty(plain),
        },
        {
            "name": f"DSA + SDC, weight {weight:g}",
            **pairs.pooled(sdc, "distilled"),
            "grad_norm": difficulty(sdc),
        },
        {"name": f"whole training set, {WHOLE.epochs} epochs", **whole},
    ]


def show(table: dict[str, Any]) -> None:
    view = Table(title="digits, 1 image per class, test accuracy")
    for column in ("set", "accuracy %", "networks", "GraDN"):
        view.add_column(column, justify="left" if column == "set" else "right")
    for row in table["rows"]:
        known = row.get("grad_norm") is not None
        grad_norm = f"{row['grad_norm']:.3g}" if known else ""
        cell = f"{row['mean']:.2f} ± {row['std']:.2f}"
        view.add_row(escape(row["name"]), cell, str(row["n"]), grad_norm)
    Console().print(view)
    tried = ", ".join(f"{k}: {v:.1f}" for k, v in table["validation"].items())
    print(f"SDC weight chosen on validation accuracy ({tried}).")
    gain = np.array(table["gain"])
    cells = ", ".join(f"{g:+.2f}" for g in gain)
    # Networks differ: two standard errors of the difference of the two rows.
    _, plain, corrected, _ = table["rows"]
    noise = 2 * np.sqrt(sum(row["std"] ** 2 / row["n"] for row in (plain, corrected)))
    verdict = "gains" if gain.mean() > noise else "does not reliably gain"
    print(
        f"SDC minus plain by seed: {cells} points, within ±{noise:.2f} by chance; on "
        f"this data SDC {verdict}."
    )


if __name__ == "__main__":
    main(Config, run, show)
