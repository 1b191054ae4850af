"""Who finds a distilled set hard? Its place among real samples, by kind of network.

    python -m experiments.probe --workdir=runs/probed \\
        --artifact=runs/dsa/distilled.npz,runs/dm/distilled.npz

GraDN is the norm of a sample's loss gradient, and depends on the network: a fresh one,
one that has seen real data, one that has learned the set. Each row is a set, or what
runs begin with; each column a kind of network. Writes `probed.json`, `table.md` and
`percentiles.png`. In Python, `jaxdd.probe` does the same and writes nothing.
"""

from experiments.console.flags import main
from experiments.planning import probing as planning
from jaxdd.evaluation.probing import Config, run

if __name__ == "__main__":
    main(Config, run, print, planning.probe)
