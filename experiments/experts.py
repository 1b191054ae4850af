"""Train a bank of experts: networks on real data, with their snapshots on disk.

    python -m experiments.experts --dataset=digits --num_experts=10 --epochs=12 \\
        --workdir=runs/experts

How they are trained follows --method: plain SGD for mtt and tesla, adaptive GSAM for
ftd, datm and pad, and pad's curriculum over samples sorted by difficulty; for rded a
bank of one network, the teacher that chooses among crops and labels them. The same
command continues a stopped training. Use the bank by `python -m experiments.distill
--experts=runs/experts`.
"""

from typing import Any

from experiments.console.flags import main
from experiments.planning import plans as planning
from jaxdd.distillation.experts import Config, run


def show(summary: dict[str, Any]) -> None:
    reached = summary["accuracy"]
    print(
        f"{reached['n']} experts reach {reached['mean']:.2f} ± {reached['std']:.2f} % "
        f"on {reached['split']} data; {summary['bytes'] / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main(Config, run, show, planning.experts)
