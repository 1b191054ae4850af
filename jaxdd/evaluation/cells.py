"""The cells of a referee's table: networks that are trained and measured, and kept."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import Watch
from jaxdd.progress import Stage
from jaxdd.storage.signals import Signals

# (place of the first network, hits, signals, watch) -> None
Measure = Callable[[int, Hits, Signals, Watch], None]


class Cell(NamedTuple):
    """Networks of one row and column.

    Attributes:
        row, column: names.
        networks: how many.
        measure: trains those that are not done yet, and takes down their answers.
    """

    row: str
    column: str
    networks: int
    measure: Measure


def measured(
    name: str, cells: Sequence[Cell], samples: int, hits: Hits
) -> list[np.ndarray]:
    """Where the networks of each cell are right, [networks, M] bool.

    Args:
        name: of the stage.
        cells: in the order in which `hits` has their networks.
        samples: M.
        hits: what earlier starts have measured.

    Raises:
        signals.Interrupted: SIGTERM or SIGINT, where `hits` has a file.
    """
    total = sum(cell.networks for cell in cells)
    hits.open(total, samples)
    first, answers = 0, []
    with (
        Signals("network").installed(hits.path) as signals,
        Stage(name, total, str(hits.path or ""), "network") as stage,
    ):
        for cell in cells:
            places = slice(first, first + cell.networks)
            if not hits.done[places].all():
                cell.measure(first, hits, signals, stage.count)
            answers.append(hits.right[places])
            first += cell.networks
        hits.save()
    return answers
