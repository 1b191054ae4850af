"""Score every training sample: which are easy, which are hard?

    python -m experiments.difficulty --dataset=digits --score=el2n,grad_norm \\
        --workdir=runs/difficulty

Writes, for each score, `scores.npz` (`scores` and `ids` in dataset order), a histogram
and the easiest and hardest images per class; several scores (`--score=all` for every
one) get a folder each and their rank correlations. In Python, `jaxdd.difficulty` does
the same and writes nothing.
"""

from experiments.console.flags import main
from experiments.planning import scoring as planning
from jaxdd.scoring.api import Config, run

if __name__ == "__main__":
    main(Config, run, print, planning.difficulty)
