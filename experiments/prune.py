"""Keep a share of the training samples, by how hard they are: an index for --subset.

    python -m experiments.prune --dataset=digits --score=el2n --keep=0.3 --end=easy \\
        --balanced --out=runs/easy.json
    python -m experiments.distill --dataset=digits --subset=runs/easy.json \\
        --method=dm --ipc=1 --workdir=runs/dm

The index names the samples, the data by its fingerprint, the score with its seed and
effort, and what was kept of every class; a picture beside it shows the easiest and the
hardest of these. In Python, `jaxdd.prune` does the same and writes nothing.
"""

import shlex

from experiments.console.flags import main
from experiments.planning import scoring as planning
from jaxdd.scoring.pruning import Config, Indexed, run
from jaxdd.storage.paths import shown


def show(outcome: Indexed) -> None:
    """Print what was kept, and how it is used."""
    pruned, path, flags = outcome
    kept, about = [x["kept"] for x in pruned.kept], pruned.about
    of, name = len(pruned.scored.ids), shown(pruned.name)
    print(
        f"{shown(path)}: {len(pruned.ids)} of {of} training samples of {name}, the "
        f"{about['end']} ones by {about['score'] or 'the scores given'}, "
        f"{min(kept)} to {max(kept)} of a class"
    )
    words = [shlex.quote(f"--{name}={shown(value)}") for name, value in flags.items()]
    print("use it by", " ".join(words))


if __name__ == "__main__":
    main(Config, run, show, planning.prune)
