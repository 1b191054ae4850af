"""Score every training sample: which are easy, which are hard?

    python -m experiments.difficulty --dataset=digits --score=el2n,grad_norm \\
        --workdir=runs/difficulty

Writes, for each score, `scores.npz` (`scores` and `ids` in dataset order), a histogram
and the easiest and hardest images per class; several scores (`--score=all` for every
one) get a folder each and their rank correlations.
"""

from typing import Any

from experiments.console.flags import main
from jaxdd.distillation.difficulty import Config, run


def show(summary: dict[str, Any]) -> None:
    widest = max(map(len, summary["scores"]))
    for name, x in summary["scores"].items():
        print(
            f"{name:>{widest}}: {x['mean']:.4g} ± {x['std']:.4g} "
            f"({x['min']:.4g} to {x['max']:.4g})"
        )
    correlation = summary["rank_correlation"]
    if not correlation:
        return
    # Columns go by number: eleven names would not fit a line.
    numbers = range(1, len(correlation) + 1)
    print("rank correlation:")
    print(" " * (widest + 3), *(f"{n:5}" for n in numbers))
    for n, (a, row) in zip(numbers, correlation.items(), strict=True):
        cells = ("-" if x is None else f"{x:.2f}" for x in row.values())
        print(f"{a:>{widest}} {n:2}", *(f"{cell:>5}" for cell in cells))


if __name__ == "__main__":
    main(Config, run, show)
