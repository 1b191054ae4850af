"""Distil a cell without its final evaluation, and decide whether it works."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.comparing import methods
from experiments.comparing.cells import DRAWS, Cell, Record, Records, does_not_work
from jaxdd.data.problem import Problem, Scaling
from jaxdd.distillation import options, pieces, segmented
from jaxdd.distillation.job import Job
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.place import Place
from jaxdd.errors import Diverged, UserError
from jaxdd.experts import Bank
from jaxdd.scores.probes import Probes
from jaxdd.storage.lock import owned


class _DoesNotWork(Exception):
    """A cell for which there can be no images, and why."""


class Distilled(NamedTuple):
    """A cell that was distilled."""

    made: pieces.Made
    job: Job

    @property
    def images(self) -> np.ndarray:
        """[K, ipc, H, W, C], as they are stored."""
        return np.asarray(self.made.stored.images)

    @property
    def digest(self) -> str:
        """SHA-256 of the images."""
        return hashlib.sha256(self.images.tobytes()).hexdigest()


class Filler:
    """Fills cells one after another.

    Args:
        records: the cells that are filled already.
        problems: {method: data}.
        plain: (cell) -> the plain cell whose images a cell's images have to differ
            from; the cell itself where it is plain.
    """

    def __init__(
        self,
        records: Records,
        problems: Mapping[str, Problem],
        plain: Callable[[Cell], Cell],
    ):
        self.records, self.problems, self.plain = records, problems, plain
        self._probes: dict[Scaling, Probes] = {}
        self._digests: dict[Any, str | None] = {}

    def add(self, cell: Cell) -> None:
        """Fill a cell, unless there are images of it.

        Raises:
            UserError: something stands in the way that may be gone at the next start.
        """
        if self.records.digest(cell.key) is not None:
            return
        try:
            measured = self.fill(cell)
        except _DoesNotWork as error:
            measured = does_not_work(str(error))
        self.records.put(cell, measured)

    def fill(self, cell: Cell) -> Record:
        """Distil a cell and measure it.

        Raises:
            _DoesNotWork: its flags are refused, or its loss diverges.
            UserError: something else stands in the way.
        """
        distilled = self._distil(cell)
        made, images, digest = distilled.made, distilled.images, distilled.digest
        before = mean_loss(distilled, made.begun[-1])
        after = mean_loss(distilled, made.parts[-1])
        reasons = []
        if not (np.isfinite(images).all() and np.isfinite([before, after]).all()):
            reasons.append("not finite")
        if np.array_equal(images, np.asarray(made.first.images)):
            reasons.append("the images did not change")
        plain = self.plain(cell)
        if plain.key != cell.key and digest == self._digest(plain):
            reasons.append("the images equal those of the plain method")
        # A start that had no step left to take has neither timed nor compiled one.
        peak = distilled.job.program.bytes()
        return {
            "works": not reasons,
            "why": "; ".join(reasons),
            "loss_before": before if np.isfinite(before) else None,
            "loss_after": after if np.isfinite(after) else None,
            "seconds_per_step": made.timings["seconds_per_step"] or None,
            "peak_mb": None if peak is None else peak / 1e6,
            "sha256": digest,
        }

    def _digest(self, plain: Cell) -> str | None:
        """The images of a plain cell as their SHA-256; None if it does not work."""
        if plain.key in self.records:
            return self.records.digest(plain.key)
        if plain.key not in self._digests:
            try:
                self._digests[plain.key] = self._distil(plain).digest
            except _DoesNotWork:
                self._digests[plain.key] = None
        return self._digests[plain.key]

    def _distil(self, cell: Cell) -> Distilled:
        """Distil a cell without its final evaluation; see `fill` for the errors."""
        if cell.config.experts is not None:
            Bank.open(cell.config.experts)  # a damaged bank is no fault of the flags
        problem = self.problems[cell.key.method]
        try:
            # Only the flags, with data and experts that are there: nothing is written.
            opened = open_run(cell.config.method, options.given(cell.config), problem)
        except UserError as refusal:
            raise _DoesNotWork(str(refusal)) from refusal
        with owned(Path(cell.config.workdir)) as folder:
            record = opened.record(folder)
            place = Place(folder)
            job = opened.job(place)
            try:
                made = segmented.distil(job, self._probes_of(job), place, record)
            except Diverged as error:
                raise _DoesNotWork(error.fault) from error
        return Distilled(made, job)

    def _probes_of(self, job: Job) -> Probes:
        """One network is enough here, and all cells share it."""
        scaling = job.problem.scaling
        if scaling not in self._probes:
            seed, full = job.resolved.task.seed, job.inputs.full
            self._probes[scaling] = Probes(job.network, full, seed, 1, 20)
        return self._probes[scaling]


def mean_loss(distilled: Distilled, stored: Any) -> float:
    """The mean of the objective at fixed draws, of the last segment's stored set."""
    job, piece = distilled.job, distilled.made.last
    loss, key = methods.objective_of(job), job.key("matrix")
    losses = [
        float(loss(jax.random.fold_in(key, i), stored, piece.inputs_at(i)))
        for i in range(DRAWS)
    ]
    return float(np.mean(losses))
