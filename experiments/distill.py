"""Distil a dataset into a few synthetic images per class.

    python -m experiments.distill --dataset=digits --method=dsa --ipc=1 \\
        --sdc_weight=1 --seed=0 --workdir=runs/digits

This takes about 30 s on two CPU cores. Flags that are not given have the published
values of the method, dataset and ipc. The same command continues a stopped run; a
larger --steps continues a finished one.
"""

from typing import Any

from experiments.console.flags import main
from experiments.planning import plans as planning
from jaxdd.distillation.options import Config
from jaxdd.distillation.run import run
from jaxdd.storage.paths import shown


def show(summary: dict[str, Any]) -> None:
    config = summary["config"]
    for name in ("distilled", "random"):
        x = summary[name]
        print(f"{name:>10}: {x['mean']:.2f} ± {x['std']:.2f} % (n = {x['n']})")
    for when in ("start", "end"):
        x = summary["difficulty"][when]
        norm = _number(x["grad_norm"], ".3g")
        places = [
            f"{name.replace('_', ' ', 1)} {_number(value, '.1f')}"
            for name, value in x.items()
            if name.startswith("percentile")
        ]
        print(f"difficulty at the {when}: GraDN {norm}, {', '.join(places)}")
    print(
        f"time: {summary['seconds']:.1f} s, {summary['seconds_per_step']:.3g} s per "
        f"step, {summary['compile_seconds']:.1f} s compiling" + _evaluated(summary)
    )
    print(
        f"results: {shown(config['workdir'])}/distilled.npz, report.html, summary.json"
    )


def _number(value: float | None, form: str) -> str:
    return "not finite" if value is None else f"{value:{form}}"


def _evaluated(summary: dict[str, Any]) -> str:
    """The evaluation's time, which older runs do not tell."""
    if "evaluation_seconds" not in summary:
        return ""
    return (
        f"; evaluation {summary['evaluation_seconds']:.1f} s, "
        f"{summary['evaluation_compile_seconds']:.1f} s compiling"
    )


if __name__ == "__main__":
    main(Config, run, show, planning.distillation)
