"""The plan of a distillation, from what its parts cost."""

from pathlib import Path

import numpy as np

from experiments.planning.estimate import Lever, Part
from experiments.planning.networks import bank_lever, experts_cost
from experiments.planning.programs import Fitted, Memory
from experiments.planning.scores import sorting_cost
from experiments.planning.steps import Imagined, measuring_cost, steps_cost
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import banks
from jaxdd.distillation.job import Job
from jaxdd.distillation.opening import Opened
from jaxdd.distillation.pieces import Piece
from jaxdd.experts import DTYPES, Bank, Snapshots
from jaxdd.experts.training import group_size
from jaxdd.fields import override
from jaxdd.modifiers.segments import join
from jaxdd.progress import say
from jaxdd.types import Synthetic

# What the loop's temporaries grow with: the first of these that an objective has.
LOOP_FLAGS = ("student_steps", "batch_real", "batch_mixed")


class Distillation:
    """The costs of a run, part by part; nothing is written where it would run.

    Attributes:
        time: parts in seconds, filled in the order of the run.
        compiling: seconds by program.
        programs: {name: (memory, flag that decides)}.
        disk: parts in bytes.
        buffer: bytes of the spans that wait for their steps.
    """

    def __init__(self, opened: Opened, folder: Path, opening: Stopwatch):
        self.resolved, self.problem = opened.resolved, opened.problem
        self.network, self.given = opened.network, opened.given
        self.folder = folder
        self.compiling: dict[str, float] = {}
        self.programs: dict[str, tuple[Memory, Lever | None]] = {}
        self.disk: list[Part] = []
        with Stopwatch() as watch:
            self.bank = self._bank()
            # Experts that are right are asked apart: here there may be none yet.
            resolved = self.resolved
            if self.asks_experts:
                resolved = override(resolved, {"init": "real"})
            real = self.problem.on_device(self.problem.splits.train)
            self.job = job = Job(
                self.problem, resolved, self.network, real, self.bank, opened.start
            )
            self.count = len(job.parts)
            inputs = job.inputs
            if self.count > 1:
                inputs = inputs._replace(earlier=job.earlier([]))
            self.piece = Piece(job, None, 0, inputs)  # probes come to be timed
            self.state = self.piece.start()
        self.compiling["the start"] = opening.compile_seconds + watch.compile_seconds
        self.time = [Part("data and first images", opening.seconds + watch.seconds)]

    @property
    def asks_experts(self) -> bool:
        """Whether the images start from those that experts get right."""
        return self.resolved.recipe.images.init == "correct"

    def _bank(self) -> Snapshots | None:
        """The experts where there are any, or what stands for them."""
        if self.resolved.bank is None or self.given is not None:
            return self.given
        if Bank.is_finished(self.folder / "experts"):
            return Bank.open(self.folder / "experts")
        manifest = banks.manifest_of(self.problem, self.network, self.resolved)
        return Imagined(manifest, self.network)

    def sorting(self) -> None:
        """The score that a window sorts by, where there is none yet."""
        name, seed = self.resolved.window.score, self.resolved.task.seed
        scored = (self.folder / "scores.npz").exists() or self.given is not None
        if name is None or scored:
            return
        say(f"plan: timing the score {name}")
        full = self.job.inputs.full
        cost = sorting_cost(self.network, full, seed, name)
        self.compiling["the score"] = cost.compile_seconds
        self.time.append(Part(f"sorting by {name}", cost.seconds))
        self.file("scores", 16 * full.labels.shape[0])

    def experts(self) -> None:
        """The bank that has to be made, and the short runs of later segments."""
        if self.bank is None:
            return
        manifest, own = self.bank.manifest, isinstance(self.bank, Imagined)
        correct = self.asks_experts
        if not own and self.count == 1 and not correct:
            return
        say("plan: timing the training of experts")
        group = group_size(manifest.experts)
        train = self.problem.splits.train
        fitted = experts_cost(
            self.problem, self.network, manifest, train if correct else None, group
        )
        self.compiling["experts"] = fitted.compile_seconds
        batch = min(
            manifest.training["batch_size"], self.job.inputs.full.labels.shape[0]
        )
        self.programs["training of experts"] = (
            fitted.memory,
            Lever("expert_batch", batch),
        )
        if own:
            lever = Lever("num_experts", manifest.experts)
            seconds = fitted.seconds(manifest.experts, manifest.last_epoch)
            detail = (
                f"{manifest.experts} x {manifest.last_epoch} epochs x "
                f"{fitted.epoch / fitted.at_once:.3g} s"
            )
            self.time.append(Part("experts", seconds, detail, lever))
            lever = bank_lever(manifest, "bank_dtype")
            self.disk.append(Part("experts", manifest.bytes, "", lever))
        if self.count > 1 and self.job.recipe.follows:
            self._short_experts(fitted)
        if correct:
            # Of every segment; one expert is enough where it gets most of them right.
            seconds = self.count * fitted.seconds(1, 0, len(train.labels))
            self.time.append(Part("images that experts get right", seconds))

    def _short_experts(self, fitted: Fitted) -> None:
        """Later segments train their own, on the samples that are kept."""
        assert self.bank is not None
        recipe, manifest = self.job.recipe, self.bank.manifest
        assert recipe.segments is not None
        count = recipe.segments.segment_experts or manifest.experts
        epochs = recipe.segments.segment_epochs or recipe.span_epochs
        runs, lever = self.count - 1, Lever("segment_experts", count)
        detail = f"at most: {runs} segments x {count} x {epochs} epochs"
        seconds = runs * fitted.seconds(count, epochs)
        self.time.append(Part("experts of segments", seconds, detail, lever))
        item = np.dtype(DTYPES[manifest.dtype]).itemsize
        size = runs * count * (epochs + 1) * manifest.parameters * item
        self.disk.append(Part("experts of segments", size, "", lever))

    def measurements(self) -> None:
        """Probe networks, and what is measured at them along the run."""
        say("plan: timing the measurements of difficulty")
        records, steps = self.resolved.records, self.resolved.length.steps
        every = records.measure_every or steps
        cost = measuring_cost(self.piece)
        self.compiling["measurements"] = cost.compile_seconds
        detail = f"{records.probes} networks"
        lever = Lever("probes", records.probes)
        self.time.append(Part("probe networks", cost.begin, detail, lever))
        times = self.count * (steps // every + 1) + 2
        detail = f"{times} x {cost.each:.3g} s"
        lever = Lever("measure_every", every, rarer=True)
        self.time.append(Part("measurements", times * cost.each, detail, lever))

    def steps(self) -> None:
        """The updates of the images; all segments have one program."""
        steps = self.resolved.length.steps
        self.buffer, self.per_step, self.read = 0, 0.0, 0
        if steps == 0:
            return
        say("plan: compiling the steps and timing a few of them")
        cost = steps_cost(self.piece, steps)
        self.compiling["the steps"] = cost.compile_seconds
        objective = self.job.recipe.objective
        flag = next((name for name in LOOP_FLAGS if hasattr(objective, name)), None)
        lever = None if flag is None else Lever(flag, getattr(objective, flag))
        self.programs["distillation"] = cost.memory, lever
        self.buffer = cost.buffer
        segments = f"{self.count} segments x " if self.count > 1 else ""
        detail = f"{segments}{steps} x {cost.seconds:.3g} s"
        seconds = self.count * steps * cost.seconds
        self.time.append(Part("steps", seconds, detail, Lever("steps", steps)))
        self.per_step, self.read = cost.seconds, cost.read

    def whole(self) -> Synthetic:
        """As many stored images as the run will have, all segments together."""
        begun = self.piece.begun()
        whole = join([begun] * self.count)
        ipc = self.resolved.task.ipc
        return whole._replace(
            images=whole.images[:, :ipc], labels=whole.labels[:, :ipc]
        )

    def file(self, name: str, size: float) -> None:
        self.disk.append(Part(name, size))
