"""A distillation piece by piece: one for a plain run, one per segment for D4A.

Every piece is an ordinary resumable run with inputs of its own. A plain run is the
piece of index 0 in the workdir itself; segments are in WORKDIR/segments/0, 1, ..., each
with its `metrics.jsonl` and, once it is finished, its `segment.npz`.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import banks
from experiments.job import Job
from experiments.probes import Probes
from experiments.problem import named_key
from experiments.progress import Bar, say
from experiments.protocol import Judge
from jaxdd import augment, decoders, learners, methods, runs, segments
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.sets import flatten
from jaxdd.types import Array, Inputs, MethodState, RealData, Span, Synthetic
from jaxdd.windows import Curriculum
from jaxdd.workdir import Metrics, Record, atomic_file, make_folder

NAMES = ("images", "labels")
# Networks per measurement when the best set is selected on validation data.
SELECTION_NETWORKS = 3


class Piece:
    """One run: what it may match, what it starts from, what is measured on the way."""

    def __init__(self, job: Job, probes: Probes, index: int, inputs: Inputs):
        self.job, self.probes = job, probes
        self.index, self.inputs = index, inputs
        self.bank, self.method = job.bank, job.method
        self.short: Bank | None = None
        self.starts: list[tuple[int, int]] = []

    @cached_property
    def seed(self) -> int:
        """Of all random numbers; segments draw independently."""
        seed = self.job.values["seed"]
        if self.index == 0:
            return seed
        key = named_key(seed, f"segment {self.index}")
        return int(jax.random.bits(key))

    @cached_property
    def first(self) -> Synthetic:
        """The set at the start, in the input space, with empty slots at its end."""
        index, job = self.index, self.job
        real = self.inputs.real if index else self.inputs.full
        key = named_key(self.seed, "initial")
        absent = decoders.ABSENT if job.settings.labels == "soft" else 0.0
        found = job.first(key, real, job.parts[index])
        return segments.pad(found, job.slots, absent)

    def start(self) -> MethodState:
        """The state at step 0."""
        # A copy, since the state's buffers are donated.
        first = jax.tree.map(jnp.array, self.first)
        return self.method.init(named_key(self.seed, "method"), first)

    def use_short_experts(self, short: Bank, starts: list[tuple[int, int]]) -> None:
        """Match experts that were trained on the kept samples.

        Args:
            short: their bank.
            starts: the expert and epoch of the first bank that each of them began at.
        """
        settings = self.job.settings
        last = short.manifest.last_epoch - settings.expert_epochs
        epochs = learners.StartEpochs(0, last + 1)
        source = learners.spans(self.job.network, len(starts), epochs)
        self.short, self.starts = short, starts
        self.method = self.job.method._replace(plan=source.plan)

    def read(self, indices: np.ndarray) -> Span:
        """The span that the plan asks for."""
        job, length = self.job, self.job.settings.expert_epochs
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

    def inputs_at(self, step: int) -> Inputs:
        """What a step sees, its span included."""
        if self.method.plan is None:
            return self.inputs
        root = jax.random.key(self.seed)
        indices = np.asarray(self.method.plan(root, jnp.int32(step)))
        span = jax.tree.map(jnp.asarray, self.read(indices))
        return self.inputs._replace(span=span)

    def hooks(self, bar: Bar) -> runs.Hooks:
        job, values = self.job, self.job.values

        def measure(state: MethodState) -> dict[str, float]:
            found = self.probes.measure(self.method.result(state))
            numbers = {f"difficulty_{k}": v for k, v in found.items()}
            if self.bank is not None:
                numbers["step_size"] = float(self.method.stored(state).step_size)
            if job.settings.sdc_weight != 0 and values["sdc_share"]:
                key = jax.random.fold_in(named_key(self.seed, "share"), state.step)
                inputs = self.inputs_at(int(state.step))
                numbers["sdc_share"] = float(job.share(key, state, inputs))
            return numbers

        read = None if self.bank is None else self.read
        if values["select"] == "last":
            return runs.Hooks(measure, None, bar, read)
        held_out = job.problem.splits.validation
        assert held_out is not None, "check() refuses selection without validation"
        judge = Judge(job.problem, job.protocol(SELECTION_NETWORKS), held_out)
        learned = values["eval_lr"] is None

        def track(best: runs.Best, stored: Synthetic, step: int) -> runs.Best:
            rate = stored.step_size if learned else None
            accuracy = judge.distilled(job.decode(stored), rate)["mean"]
            if accuracy <= float(best.accuracy):
                return best
            return runs.Best(jnp.float32(accuracy), jnp.int32(step), stored)

        return runs.Hooks(measure, track, bar, read)

    def run(
        self, folder: Path, record: Record
    ) -> tuple[Synthetic, int, Metrics, dict[str, float]]:
        """Distil, or continue: (stored set, its step, metrics, timings)."""
        values, parts = self.job.values, len(self.job.parts)

        def on_resume(step: int) -> None:
            say(f"continuing at step {step}")
            if step > 0:
                record.resumed_at.append(self.index * values["steps"] + step)
                record.save()

        plan = runs.Plan(
            values["steps"],
            values["log_every"],
            values["measure_every"],
            values["save_every"],
        )
        name = f"{values['method']} on {values['dataset']}, {values['ipc']} per class"
        if parts > 1:
            name = f"{name}, segment {self.index + 1}/{parts}"
        with Bar(name, plan.steps, f"{folder}/metrics.jsonl and checkpoints") as bar:
            hooks = self.hooks(bar)
            state, metrics, timings = runs.run(
                folder, self.method, self.start, self.inputs, self.seed, plan, hooks,
                on_resume,
            )  # fmt: skip
        stored, chosen = self.method.stored(state.method), values["steps"]
        if state.best is not None and hooks.track is not None:
            say("selecting on validation data")
            best = hooks.track(state.best, stored, chosen)
            stored, chosen = best.synthetic, int(best.step)
        size = self.job.parts[self.index]
        return _only(stored, size), chosen, metrics, timings

    def begun(self) -> Synthetic:
        """The stored set at step 0, without empty slots."""
        stored = self.method.stored(self.start())
        return _only(stored, self.job.parts[self.index])


def _only(stored: Synthetic, size: int) -> Synthetic:
    images, labels = stored.images[:, :size], stored.labels[:, :size]
    return stored._replace(images=images, labels=labels)


@dataclass(frozen=True)
class Made:
    """What a finished distillation leaves.

    Attributes:
        parts: what each segment made, as it is stored; of a plain run one.
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


def distil(job: Job, probes: Probes, folder: Path, record: Record) -> Made:
    """Distil in as many segments as the settings ask for, or continue."""
    if len(job.parts) > 1:
        return _Segmented(job, probes, folder, record).go()
    piece = Piece(job, probes, 0, job.inputs)
    stored, step, metrics, timings = piece.run(folder, record)
    begun = [piece.begun()]
    return Made([stored], begun, step, metrics.lines, timings, [], piece)


class _Segmented:
    """D4A's driver: distil, judge, keep what the judges get wrong, and again."""

    def __init__(self, job: Job, probes: Probes, folder: Path, record: Record):
        self.job, self.probes = job, probes
        self.folder, self.record = folder, record
        protocol = job.protocol(1, epochs=job.values["judge_epochs"])
        self.judge = segments.make_judge(
            job.network,
            protocol.training,
            augment.training(protocol.augmentation),
            job.axes[0],
        )
        self.learned = job.values["eval_lr"] is None
        self.made: list[Synthetic] = []
        self.begun: list[Synthetic] = []
        self.margins: list[Array] = []
        self.records: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.timings: list[dict[str, float]] = []

    def go(self) -> Made:
        for index in range(len(self.job.parts)):
            self._segment(index)
        steps = self.job.values["steps"]
        total = {
            "seconds": sum(t["seconds"] for t in self.timings),
            "seconds_per_step": float(
                np.median([t["seconds_per_step"] for t in self.timings])
            ),
            "compile_seconds": sum(t["compile_seconds"] for t in self.timings),
        }
        return Made(
            self.made, self.begun, steps, self.lines, total, self.records, self.last
        )

    def _segment(self, index: int) -> None:
        job, count = self.job, len(self.job.parts)
        folder = make_folder(self.folder / "segments" / str(index))
        real = self._kept(index)
        inputs = job.inputs._replace(real=real, earlier=job.earlier(self.made))
        piece = self.last = Piece(job, self.probes, index, inputs)
        if job.bank is not None and index > 0:
            piece.use_short_experts(*self._short_experts(index, folder, real))
        finished = folder / "segment.npz"
        if finished.exists():
            found = self._read(finished)
        else:
            stored, _, _, timings = piece.run(folder, self.record)
            margins = self._judged(index, [*self.made, stored])
            begun = piece.begun()
            found = {
                "images": stored.images,
                "labels": stored.labels,
                "step_size": stored.step_size,
                "begun_images": begun.images,
                "begun_labels": begun.labels,
                "margins": margins,
                "steps": job.values["steps"],
                **{f"timings/{k}": v for k, v in timings.items()},
            }
            arrays: dict[str, Any] = {k: np.asarray(v) for k, v in found.items()}
            with atomic_file(finished, "wb") as file:
                np.savez(file, **arrays)
        self._add(index, folder, real, found)
        told = self.records[-1]
        say(
            f"segment {index + 1}/{count}: the judges are right on "
            f"{100 * told['right']:.1f} % of the training samples"
            + (f" and forgot {100 * told['forgotten']:.1f} %" if index else "")
        )

    def _read(self, path: Path) -> dict[str, Any]:
        """A finished segment.

        Raises:
            UserError: it is damaged, or was distilled for another number of steps.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: np.asarray(file[name]) for name in file.files}
            steps = int(found["steps"])
        except Exception as error:  # a damaged archive can raise almost anything
            raise UserError(
                f"{path} is damaged ({error}): delete it to distil that segment again"
            ) from error
        if steps != self.job.values["steps"]:
            raise UserError(
                f"{path} was distilled in {steps} steps, and later segments depend on "
                f"it: use --steps={steps} or another --workdir"
            )
        return found

    def _add(
        self, index: int, folder: Path, real: RealData, found: dict[str, Any]
    ) -> None:
        """Take a finished segment into account."""
        step_size = jnp.asarray(found["step_size"])
        images, labels = (jnp.asarray(found[k]) for k in NAMES)
        self.made.append(Synthetic(images, labels, step_size))
        images, labels = (jnp.asarray(found[f"begun_{k}"]) for k in NAMES)
        self.begun.append(Synthetic(images, labels, step_size))
        margins = jnp.asarray(found["margins"])
        lost = segments.forgotten(self.margins[-1], margins) if index else 0.0
        self.margins.append(margins)
        self.timings.append(
            {
                k: float(found[f"timings/{k}"])
                for k in ("seconds", "seconds_per_step", "compile_seconds")
            }
        )
        self.records.append(
            {
                "size": self.job.parts[index],
                "kept": np.asarray(real.counts).tolist(),
                "right": float(jnp.mean(margins < 0)),
                "forgotten": float(lost),
            }
        )
        steps = self.job.values["steps"]
        for line in Metrics(folder, steps).lines:
            step = line["step"] + index * steps
            self.lines.append({**line, "step": step, "segment": index})

    def _kept(self, index: int) -> RealData:
        """What a segment may match, and a sentence about it."""
        real = self.job.inputs.real
        if index == 0:
            return real
        least = self.job.settings.min_keep
        kept = segments.keep_hardest(real, self.margins[-1], least)
        counts, before = np.asarray(kept.counts), int(real.counts.sum())
        say(
            f"segment {index + 1}/{len(self.job.parts)}: {counts.sum()} of {before} "
            f"training samples are kept, {counts.min()} to {counts.max()} per class"
        )
        if counts.sum() == before and bool(jnp.any(self.margins[-1] < 0)):
            say(f"warning: --min_keep={least} keeps all of them")
        elif counts.sum() == before:
            say("warning: the judges are right on none of them, so nothing is left out")
        elif not bool(jnp.any(self.margins[-1] >= 0)):
            say(
                "warning: the judges are right on every sample; what is kept is the "
                f"hardest --min_keep={least} of each class"
            )
        return kept

    def _judged(self, index: int, made: list[Synthetic]) -> Array:
        """Margins of all training samples under networks trained on what is there."""
        job = self.job
        say(f"training {job.settings.judges} judges on what has been made so far")
        padded = [segments.pad(job.decode(x), job.formed) for x in made]
        empty = jax.tree.map(jnp.zeros_like, padded[0])
        whole = segments.join([*padded, *[empty] * (len(job.parts) - len(padded))])
        keys = jax.random.split(job.key(f"judges {index}"), job.settings.judges)
        rate = made[-1].step_size if self.learned else None
        return self.judge(keys, flatten(whole), job.inputs.full, rate)

    def _short_experts(
        self, index: int, folder: Path, real: RealData
    ) -> tuple[Bank, list[tuple[int, int]]]:
        """Short runs on the kept samples, started at snapshots of the bank."""
        job, settings = self.job, self.job.settings
        assert job.bank is not None
        whole = job.bank.manifest
        count = settings.segment_experts or whole.experts
        epochs = settings.segment_epochs or settings.expert_epochs
        key_expert, key_epoch = jax.random.split(job.key(f"short experts {index}"))
        range_of = methods.starts_of(settings)
        order = jax.random.permutation(key_expert, whole.experts)
        at = jax.random.randint(key_epoch, (count,), range_of.lowest, range_of.highest)
        starts = [(int(order[i % whole.experts]), int(at[i])) for i in range(count)]
        manifest = replace(
            whole,
            data={**whole.data, "segment": index, "kept": _digest(real)},
            curriculum=banks.described(Curriculum()),
            seed=int(jax.random.bits(key_expert)),
            experts=count,
            first_epoch=0,
            last_epoch=epochs,
            complete=False,
        )

        def begin(expert: int):
            bank = job.bank
            assert bank is not None
            return bank.snapshot(*starts[expert], job.params)

        target = make_folder(folder / "experts")
        bank = banks.make(target, manifest, job.problem, job.network, real, begin=begin)
        return bank, starts


def _digest(real: RealData) -> str:
    """What tells one choice of samples from others."""
    in_play = np.arange(real.table.shape[1]) < np.asarray(real.counts)[:, None]
    kept = np.where(in_play, np.asarray(real.table), -1)
    return hashlib.sha256(kept.tobytes()).hexdigest()[:16]
