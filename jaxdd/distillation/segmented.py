"""A distillation in as many segments as the settings ask for; a plain run has one."""

import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import augment
from jaxdd.distillation import banks
from jaxdd.distillation.job import Job
from jaxdd.distillation.pieces import Made, Piece
from jaxdd.distillation.place import Place
from jaxdd.distillation.resolution import Resolved
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.modifiers import judges, segments
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.primitives.losses import share
from jaxdd.progress import say
from jaxdd.running.resume import refuse_fewer_steps
from jaxdd.scores.learnability import learnability, make_references
from jaxdd.scores.probes import Probes
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.checkpoints import newest
from jaxdd.storage.files import atomic_file
from jaxdd.storage.lock import owned
from jaxdd.storage.metrics import Metrics
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record
from jaxdd.synthetic.sets import flatten
from jaxdd.types import Array, RealData, Synthetic

NAMES = ("images", "labels")
LEARNABILITY = "learnability"
AGAIN = "delete it to distil that segment again"
TIMINGS = ("seconds", "seconds_per_step", "compile_seconds")
_SEGMENT = {
    **{f"{when}{name}": Member("f", 5 if name == "images" else 3, repetitive=True)
       for when in ("", "begun_") for name in NAMES},
    "step_size": Member("f", 0),
    "steps": Member("iu", 0),
    **{f"timings/{name}": Member("f", 0) for name in TIMINGS},
}  # fmt: skip


def read_segment(
    path: Path, shape: tuple[int, ...], samples: int, scored: bool = False
) -> dict[str, np.ndarray]:
    """A finished segment's arrays.

    Args:
        path: its `segment.npz`.
        shape: [K, n, H, W, C] of its images.
        samples: of the training split, M.
        scored: whether the next segment keeps samples by scores beside the margins.

    Raises:
        UserError: it is damaged, or of another set.
    """
    classes, count = shape[:2]
    expected = dict.fromkeys(("images", "begun_images"), shape)
    expected |= dict.fromkeys(("labels", "begun_labels"), (classes, count, classes))
    per_sample = ("margins", *([LEARNABILITY] if scored else []))
    expected |= dict.fromkeys(per_sample, (samples,))
    members = {**_SEGMENT, **{name: Member("f", 1) for name in per_sample}}

    def agree(shapes: Shapes) -> None:
        for name, fitting in expected.items():
            if shapes[name] != fitting:
                raise ValueError(f"{name} has shape {shapes[name]}, not {fitting}")

    arrays = read_arrays(path, members, AGAIN, "the segment", agree)
    for name, array in arrays.items():
        # The margin of a single class is infinite.
        if np.isnan(array).any() or (name != "margins" and np.isinf(array).any()):
            raise UserError(
                f"the segment {shown(path)} cannot be used ({name} is not finite): "
                f"{AGAIN}"
            )
    return arrays


def distil(job: Job, probes: Probes, place: Place, record: Record | None) -> Made:
    """Distil in as many segments as the recipe has, or continue."""
    if len(job.parts) > 1:
        return _Segmented(job, probes, place, record).go()
    piece = Piece(job, probes, 0, job.inputs)
    stored, step, metrics, timings = piece.run(place.folder, record)
    begun = [piece.begun()]
    return Made([stored], begun, step, metrics.lines, timings, [], piece)


def refuse_other_steps(folder: Path, resolved: Resolved) -> None:
    """Refuse fewer --steps than what lies in a workdir, before anything is changed.

    Raises:
        UserError: with the number of steps that can be asked for.
    """
    steps, count = resolved.length.steps, resolved.recipe.count
    if count == 1:
        refuse_fewer_steps(folder, newest(folder) or 0, steps)
        return
    for index in range(count):
        place = folder / "segments" / str(index)
        finished = place / "segment.npz"
        if finished.exists():
            there = read_arrays(finished, {"steps": Member("iu", 0)}, AGAIN)["steps"]
            _refuse_other_steps(finished, int(there), steps)
        else:
            refuse_fewer_steps(place, newest(place) or 0, steps)


def _refuse_other_steps(path: Path, there: int, steps: int) -> None:
    if there != steps:
        raise UserError(
            f"{shown(path)} was distilled in {there} steps, and later segments depend "
            f"on it: use --steps={there} or another --workdir"
        )


class _Segmented:
    """D4A's driver: distil, judge, keep what the judges get wrong, and again."""

    def __init__(self, job: Job, probes: Probes, place: Place, record: Record | None):
        self.job, self.probes = job, probes
        self.place, self.record = place, record
        assert job.recipe.segments is not None
        self.asked = job.recipe.segments
        protocol = self.protocol = job.protocol(1, epochs=self.asked.judge_epochs)
        self.judge = jax.jit(
            judges.make_predictions(
                job.network,
                protocol.training,
                augment.training(protocol.augmentation),
                job.problem.microbatch(protocol.network),
            )
        )
        self.learned = job.resolved.evaluation.lr is None
        self.made: list[Synthetic] = []
        self.begun: list[Synthetic] = []
        self.margins: list[Array] = []
        self.scores: list[Array | None] = []
        self.records: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.timings: list[dict[str, float]] = []

    def go(self) -> Made:
        for index in range(len(self.job.parts)):
            self._segment(index)
        steps = self.job.resolved.length.steps
        # A segment that was continued when no step was left has none to time.
        per_step = [
            t["seconds_per_step"] for t in self.timings if t["seconds_per_step"]
        ]
        total = {
            "seconds": sum(t["seconds"] for t in self.timings),
            "seconds_per_step": float(np.median(per_step or [0.0])),
            "compile_seconds": sum(t["compile_seconds"] for t in self.timings),
        }
        return Made(
            self.made, self.begun, steps, self.lines, total, self.records, self.last
        )

    def _segment(self, index: int) -> None:
        job, count = self.job, len(self.job.parts)
        place = self.place.inner("segments", str(index))
        real = self._kept(index)
        inputs = job.shown(real, job.earlier(self.made))
        grown = self.made[0] if job.boosts and index > 0 else None
        piece = self.last = Piece(job, self.probes, index, inputs, grown)
        if job.recipe.follows and index > 0 and self.asked.filters:
            piece.use_short_experts(*self._short_experts(index, place, real))
        finished = None if place.folder is None else place.folder / "segment.npz"
        if finished is not None and finished.exists():
            arrays: dict[str, Any] = self._read(finished, index)
            metrics = Metrics(place.folder, job.resolved.length.steps)
        else:
            stored, _, metrics, timings = piece.run(place.folder, self.record)
            judged = self._judged(index, [*self.made, stored])
            begun = piece.begun()
            state = {
                "images": stored.images,
                "labels": stored.labels,
                "step_size": stored.step_size,
                "begun_images": begun.images,
                "begun_labels": begun.labels,
                **judged,
                "steps": job.resolved.length.steps,
                **{f"timings/{k}": v for k, v in timings.items()},
            }
            arrays = {k: np.asarray(v) for k, v in state.items()}
            if finished is not None:
                with atomic_file(finished, "wb") as file:
                    np.savez(file, **arrays)
        self._add(index, metrics, real, arrays)
        record = self.records[-1]
        say(
            f"segment {index + 1}/{count}: the judges are right on "
            f"{100 * record['right']:.1f} % of the training samples"
            + (f" and forgot {100 * record['forgotten']:.1f} %" if index else "")
        )

    def _read(self, path: Path, index: int) -> dict[str, Any]:
        """A finished segment.

        Raises:
            UserError: it is damaged, or was distilled for another number of steps.
        """
        job = self.job
        dataset, samples = job.problem.dataset, job.inputs.full.labels.shape[0]
        shape = (dataset.num_classes, job.size(index), *dataset.image_shape)
        scored = self.asked.keeps_learnable
        arrays = read_segment(path, shape, samples, scored)
        steps = int(arrays["steps"])
        _refuse_other_steps(path, steps, job.resolved.length.steps)
        return arrays

    def _add(
        self, index: int, metrics: Metrics, real: RealData, arrays: dict[str, Any]
    ) -> None:
        """Take a finished segment into account."""
        step_size = jnp.asarray(arrays["step_size"])
        images, labels = (jnp.asarray(arrays[k]) for k in NAMES)
        made = Synthetic(images, labels, step_size)
        images, labels = (jnp.asarray(arrays[f"begun_{k}"]) for k in NAMES)
        begun = Synthetic(images, labels, step_size)
        if self.job.boosts:
            new = slice(-self.job.parts[index], None)
            added = begun._replace(
                images=begun.images[:, new], labels=begun.labels[:, new]
            )
            self.made, self.begun = [made], [segments.join([*self.begun, added])]
        else:
            self.made.append(made)
            self.begun.append(begun)
        margins = jnp.asarray(arrays["margins"])
        lost = segments.forgotten(self.margins[-1], margins) if index else 0.0
        self.margins.append(margins)
        scores = arrays.get(LEARNABILITY)
        self.scores.append(None if scores is None else jnp.asarray(scores))
        self.timings.append({k: float(arrays[f"timings/{k}"]) for k in TIMINGS})
        self.records.append(
            {
                "size": self.job.parts[index],
                "kept": np.asarray(real.counts).tolist(),
                "right": float(share(margins < 0)),
                "forgotten": float(lost),
            }
        )
        steps = self.job.resolved.length.steps
        if metrics.damage is not None:
            say(metrics.damage)
        for line in metrics.lines:
            step = line["step"] + index * steps
            self.lines.append({**line, "step": step, "segment": index})

    def _kept(self, index: int) -> RealData:
        """What a segment may match, and a sentence about it."""
        real = self.job.inputs.real
        if index == 0:
            return real
        if not self.asked.filters:
            how = "by networks that have learned the earlier segments"
            if self.asked.boosts:
                how = "by the images of all segments so far"
            say(
                f"segment {index + 1}/{len(self.job.parts)}: all {real.counts.sum()} "
                f"training samples are matched, {how}"
            )
            return real
        least = self.asked.min_keep
        kept = segments.keep_hardest(real, self.margins[-1], least, self.scores[-1])
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

    def _judged(self, index: int, made: list[Synthetic]) -> dict[str, Array]:
        """Margins of all training samples under networks trained on what is there.

        With them the samples' learnability, where the next segment is chosen by it.
        """
        job, labels = self.job, self.job.inputs.full.labels
        say(f"training {self.asked.judges} judges on what has been made so far")
        padded = [segments.pad(job.decode(x), job.formed) for x in made]
        empty = jax.tree.map(jnp.zeros_like, padded[0])
        whole = segments.join([*padded, *[empty] * (job.sets - len(padded))])
        keys = jax.random.split(job.key(f"judges {index}"), self.asked.judges)
        rate = made[-1].step_size if self.learned else None
        data = self.protocol.trained_on(flatten(whole), self.protocol.label_space)
        now = self.judge(keys, data, job.inputs.full, rate)
        judged = {"margins": judges.margins(now, labels)}
        if self.asked.keeps_learnable:
            judged[LEARNABILITY] = learnability(now, self._reference, labels)
        return judged

    @cached_property
    def _reference(self) -> Array:
        """Probabilities of all training samples under networks trained on them."""
        job, count = self.job, self.asked.judges
        say(f"training {count} networks on all data, the reference of learnability")
        predict = make_references(
            job.network, self.asked.references(), job.context.microbatch
        )
        keys = jax.random.split(job.key("references"), count)
        return jax.jit(predict)(keys, job.inputs.full)

    def _short_experts(
        self, index: int, place: Place, real: RealData
    ) -> tuple[Bank, list[tuple[int, int]]]:
        """Short runs on the kept samples, started at snapshots of the bank."""
        job, asked = self.job, self.asked
        assert job.bank is not None
        whole = job.bank.manifest
        count = asked.segment_experts or whole.experts
        epochs = asked.segment_epochs or job.recipe.span_epochs
        key = job.key(f"short experts {index}")
        key_expert, key_epoch, key_seed = jax.random.split(key, 3)
        range_of = job.recipe.spans.starts()
        order = jax.random.permutation(key_expert, whole.experts)
        at = jax.random.randint(key_epoch, (count,), range_of.lowest, range_of.highest)
        starts = [(int(order[i % whole.experts]), int(at[i])) for i in range(count)]
        manifest = replace(
            whole,
            data={**whole.data, "segment": index, "kept": _digest(real)},
            curriculum=banks.described(Curriculum()),
            seed=int(jax.random.bits(key_seed)),
            experts=count,
            first_epoch=0,
            last_epoch=epochs,
            complete=False,
        )

        def begin(expert: int):
            bank = job.bank
            assert bank is not None
            return bank.snapshot(*starts[expert], job.params)

        with owned(place.experts) as target:
            bank = banks.make(
                target, manifest, job.problem, job.network, real, begin=begin
            )
        return bank, starts


def _digest(real: RealData) -> str:
    """What tells one choice of samples from others."""
    in_play = np.arange(real.table.shape[1]) < np.asarray(real.counts)[:, None]
    kept = np.where(in_play, np.asarray(real.table), -1)
    return hashlib.sha256(kept.tobytes()).hexdigest()[:16]
