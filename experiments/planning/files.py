"""What a distillation writes, on the way and at its end."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.planning.distillation import Distillation
from experiments.planning.estimate import Lever, Part
from jaxdd import report
from jaxdd.distillation.sample_difficulty import CLASSES, EACH
from jaxdd.report.pictures import draw
from jaxdd.report.tiles import PIXELS
from jaxdd.running.resume import LONG_SECONDS
from jaxdd.storage.checkpoints import Checkpoints

# Bytes of a line of metrics.jsonl, and of a chart with a few lines.
LINE_BYTES, CHART_BYTES = 200, 40_000
# Of a report without its images, and of an image byte in it.
REPORT_BYTES, PICTURED = 60_000, 4 / 3


class Written(NamedTuple):
    """What the files of a run cost."""

    save: float  # seconds of a checkpoint
    picture: float  # seconds of the picture of the images
    checkpoint_bytes: int
    picture_bytes: int


def written_cost(state: Any, pixels: np.ndarray, names: Sequence[str]) -> Written:
    """Save a state and draw the images, in a folder that is deleted again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = Checkpoints(folder)
        checkpoints.save(0, state)
        size = bytes_below(folder)
        began = time.perf_counter()
        checkpoints.save(1, state)
        save = time.perf_counter() - began
        checkpoints.close()
        began = time.perf_counter()
        picture = draw(report.image_grid, pixels, names, folder / "images.png")
        drawn = time.perf_counter() - began
        picture_bytes = 0 if picture is None else picture.stat().st_size
        return Written(save, drawn, size, picture_bytes)


def bytes_below(folder: Path) -> int:
    """Of all files in a folder."""
    return sum(x.stat().st_size for x in folder.rglob("*") if x.is_file())


def add_files(run: Distillation) -> None:
    """What is written at the end and on the way."""
    resolved, whole = run.resolved, run.whole()
    steps, records = resolved.length.steps, resolved.records
    stored = np.asarray(whole.images)
    pixels = stored
    if run.job.recipe.images.space == "input":
        pixels = run.problem.preprocess.invert(stored)
    state: Any = run.state
    if resolved.task.select == "validation":
        state = (state, run.piece.first)  # the best set is saved as well
    names = run.problem.dataset.class_names
    cost = written_cost(state, np.clip(pixels, 0, 1), names)
    saves = steps // records.save_every + 2
    if run.per_step > LONG_SECONDS:
        saves = steps + 1
    seconds = run.count * saves * cost.save + cost.picture
    detail = f"{run.count * saves} x {cost.save:.2g} s and pictures"
    lever = Lever("save_every", records.save_every, rarer=True)
    run.time.append(Part("checkpoints and pictures", seconds, detail, lever))
    run.file("checkpoints", 2 * run.count * cost.checkpoint_bytes)
    image_bytes = stored.nbytes + np.asarray(whole.labels).nbytes
    fitted = run.problem.preprocess.to_arrays().values()
    run.file("distilled set", image_bytes + sum(x.nbytes for x in fitted))
    run.file("pictures", cost.picture_bytes + 2 * CHART_BYTES)
    pictured = min(stored.size, 3 * PIXELS) + 2 * EACH * CLASSES * pixels[0, 0].size
    run.file("report", REPORT_BYTES + PICTURED * pictured)
    tested = len(run.problem.splits.test.labels)
    run.file("hits of the evaluation", tested * (resolved.evaluation.networks / 8 + 2))
    lines = run.count * (steps // records.log_every + 1)
    run.file("metrics", lines * LINE_BYTES)
    if run.count > 1:
        run.file("metrics of segments", lines * LINE_BYTES)
        trained = run.job.inputs.full.labels.shape[0]
        run.file("segments", 2 * image_bytes + 4 * run.count * trained)
