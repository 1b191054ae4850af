"""A distillation piece by piece: one for a plain run, one per segment for D4A.

Every piece is an ordinary resumable run with inputs of its own. A plain run is the
piece of index 0 in the workdir itself; segments are in WORKDIR/segments/0, 1, ..., each
with its `metrics.jsonl` and, once it is finished, its `segment.npz`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.distillation.first_images import as_first_images, first_images
from jaxdd.distillation.job import Job
from jaxdd.evaluation.protocol import Judge
from jaxdd.experts import Snapshots
from jaxdd.learners import spans as learners
from jaxdd.modifiers import segments
from jaxdd.primitives.keys import named_key
from jaxdd.progress import Stage, say
from jaxdd.running import resume as runs
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.running.spans import Spans
from jaxdd.running.state import Best
from jaxdd.scores.probes import Probes
from jaxdd.storage.metrics import Metrics
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record
from jaxdd.types import Inputs, MethodState, Span, Synthetic

# Networks per measurement when the best set is selected on validation data.
SELECTION_NETWORKS = 3


class Piece:
    """One run: what it may match, what it starts from, what is measured on the way.

    Args:
        job: the method, its data and its protocol.
        probes: the networks that measure difficulty; None measures none.
        index: of the segment.
        inputs: what a step may look at, without its span.
        grown: the stored set that this one begins with, where a set grows.
    """

    def __init__(
        self,
        job: Job,
        probes: Probes | None,
        index: int,
        inputs: Inputs,
        grown: Synthetic | None = None,
    ):
        self.job, self.probes = job, probes
        self.index, self.grown = index, grown
        self.inputs = inputs._replace(rates=job.rates(index))
        self.bank, self.method = job.bank, job.method
        self.span_index = job.span_index
        self.short: Snapshots | None = None
        self.starts: list[tuple[int, int]] = []

    @cached_property
    def seed(self) -> int:
        """Of all random numbers; segments draw independently."""
        seed = self.job.resolved.task.seed
        if self.index == 0:
            return seed
        key = named_key(seed, f"segment {self.index}")
        return int(jax.random.bits(key))

    @cached_property
    def first(self) -> Synthetic:
        """The set at the start, in the input space, with empty slots at its end."""
        index, job = self.index, self.job
        chosen = index > 0 or job.recipe.needs_teacher
        real = self.inputs.real if chosen else self.inputs.full
        key = named_key(self.seed, "initial")
        first = first_images(job, key, real, job.parts[index])
        if self.grown is not None:
            grown = as_first_images(job, self.grown)
            first = segments.join([grown, first])._replace(step_size=grown.step_size)
        return segments.pad(first, job.slots, job.recipe.labels.absent)

    def start(self) -> MethodState:
        """The state at step 0."""
        return self.method.init(named_key(self.seed, "method"), self.first)

    def use_short_experts(
        self, short: Snapshots, starts: list[tuple[int, int]]
    ) -> None:
        """Match experts that were trained on the kept samples.

        Args:
            short: their bank.
            starts: the expert and epoch of the first bank that each of them began at.
        """
        last = short.manifest.last_epoch - self.job.recipe.span_epochs
        epochs = learners.StartEpochs(0, last + 1)
        source = learners.spans(self.job.network, len(starts), epochs)
        self.short, self.starts = short, starts
        self.span_index = source.span_index

    def read(self, indices: np.ndarray) -> Span:
        """The span of an expert and a start epoch."""
        job, length = self.job, self.job.span_length
        assert self.bank is not None
        expert, start = (int(i) for i in indices)
        if self.short is None:
            span = self.bank.span(expert, start, length, job.params)
            return span if len(job.parts) == 1 else span._replace(whole=span.target)
        begun_by, begun_at = self.starts[expert]
        until = min(begun_at + start + length, self.bank.manifest.last_epoch)
        whole = self.bank.snapshot(begun_by, until, job.params)
        span = self.short.span(expert, start, length, job.params)
        return span._replace(whole=whole)

    def spans(self) -> Spans | None:
        """Where the spans come from, for a method that matches trajectories."""
        index = self.span_index
        return None if index is None else Spans(index, self.read)

    def inputs_at(self, step: int) -> Inputs:
        """What a step sees, its span included."""
        if self.span_index is None:
            return self.inputs
        root = jax.random.key(self.seed)
        indices = np.asarray(self.span_index(root, jnp.int32(step)))
        span = jax.tree.map(jnp.asarray, self.read(indices))
        return self.inputs._replace(span=span)

    def hooks(self, bar: Stage) -> Hooks:
        job, resolved = self.job, self.job.resolved

        def logged(line: dict[str, Any]) -> None:
            values = {name: x for name, x in line.items() if name != "step"}
            bar.measured(self.steps_before + line["step"], values)

        def measure(state: MethodState) -> dict[str, float]:
            self.show(bar, int(state.step), self.method.stored(state))
            numbers: dict[str, float] = {}
            if self.probes is not None:
                result = self.method.result(state)
                if job.recipe.labelled_last:
                    result = job.decode(job.labelled(self.method.stored(state)))
                difficulty = self.probes.measure(job.measurable(result))
                numbers = {f"difficulty_{k}": v for k, v in difficulty.items()}
            if job.recipe.follows:
                numbers["step_size"] = float(self.method.stored(state).step_size)
            if job.has_terms and resolved.records.sdc_share:
                key = jax.random.fold_in(named_key(self.seed, "share"), state.step)
                inputs = self.inputs_at(int(state.step))
                numbers["sdc_share"] = float(job.share(key, state, inputs))
            return numbers

        if resolved.task.select == "last":
            return Hooks(measure, None, bar, say, logged)
        held_out = job.problem.splits.validation
        assert held_out is not None, "check() refuses selection without validation"
        judge = Judge(job.problem, job.protocol(SELECTION_NETWORKS), held_out)
        learned = resolved.evaluation.lr is None

        def track(best: Best, stored: Synthetic, step: int) -> Best:
            rate = stored.step_size if learned else None
            stored = job.labelled(stored)
            accuracy = judge.distilled(job.decode(stored), rate)["mean"]
            if np.float32(accuracy) <= best.accuracy:  # of its precision: ties are ties
                return best
            return Best(jnp.float32(accuracy), jnp.int32(step), stored)

        return Hooks(measure, track, bar, say, logged)

    @property
    def steps_before(self) -> int:
        """Updates in the segments before this one."""
        return self.index * self.job.resolved.length.steps

    def show(self, bar: Stage, step: int, stored: Synthetic) -> None:
        """Offer the images of a set, as pixels, to whoever listens."""
        problem, size = self.job.problem, self.job.size(self.index)

        def images() -> np.ndarray:
            pixels = np.asarray(_only(stored, size).images)
            if self.job.recipe.images.space == "input":
                pixels = problem.preprocess.invert(pixels)
            return np.clip(pixels, 0.0, 1.0)

        names = tuple(problem.dataset.class_names)
        bar.pictures(self.steps_before + step, names, images)

    def run(
        self, folder: Path | None, record: Record | None
    ) -> tuple[Synthetic, int, Metrics, dict[str, float]]:
        """Distil, or continue: (stored set, its step, metrics, timings)."""
        resolved, parts = self.job.resolved, len(self.job.parts)
        steps, records = resolved.length.steps, resolved.records

        def on_resume(step: int) -> None:
            say(f"continuing at step {step}")
            if step > 0 and record is not None:
                record.resumed_at.append(self.steps_before + step)
                record.save()

        schedule = RunSchedule(
            steps,
            records.log_every,
            records.measure_every or steps,
            records.save_every,
        )
        name = (
            f"{resolved.method} on {resolved.data_name}, {resolved.task.ipc} per class"
        )
        if parts > 1:
            name = f"{name}, segment {self.index + 1}/{parts}"
        place = ""
        if folder is not None:
            place = f"{shown(folder)}/metrics.jsonl and checkpoints"
        with Stage(name, schedule.steps, place) as bar:
            hooks = self.hooks(bar)
            state, metrics, timings, _ = runs.run(
                folder, self.job.program, self.start, self.inputs, self.seed, schedule,
                hooks, on_resume, self.spans(),
            )  # fmt: skip
            stored, chosen = self.method.stored(state.method), steps
            self.show(bar, steps, stored)
        if state.best is not None and hooks.track is not None:
            say("selecting on validation data")
            best = hooks.track(state.best, stored, chosen)
            stored, chosen = best.synthetic, int(best.step)
        size = self.job.size(self.index)
        stored = self.job.labelled(_only(stored, size))
        return stored, chosen, metrics, timings._asdict()

    def begun(self) -> Synthetic:
        """The stored set at step 0, without empty slots."""
        stored = self.method.stored(self.start())
        return self.job.labelled(_only(stored, self.job.size(self.index)))


def _only(stored: Synthetic, size: int) -> Synthetic:
    images, labels = stored.images[:, :size], stored.labels[:, :size]
    return stored._replace(images=images, labels=labels)


@dataclass(frozen=True)
class Made:
    """What a finished distillation leaves.

    Attributes:
        parts: what each segment made, as it is stored; of a plain run, and where the
            set grows, one.
        begun: the same before the first step.
        step: updates behind each of them.
        metrics: lines with a global "step".
        timings: see `runs.run`.
        segments: a record per segment; none for a plain run.
        last: the last piece.
    """

    parts: list[Synthetic]
    begun: list[Synthetic]
    step: int
    metrics: list[dict[str, Any]]
    timings: dict[str, float]
    segments: list[dict[str, Any]]
    last: Piece

    @property
    def stored(self) -> Synthetic:
        """The set as it is stored, all segments together."""
        return segments.join(self.parts)

    @property
    def first(self) -> Synthetic:
        """The same before the first step."""
        return segments.join(self.begun)
