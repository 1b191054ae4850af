"""A run for TensorBoard: the numbers of `metrics.jsonl`, and grids of its images.

The writer only listens to events; see `jaxdd.progress` for trackers of your own.
"""

import contextlib
import importlib.util
import io
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdd import report
from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.progress import Event, Measured, Pictures, also
from jaxdd.report.pictures import draw
from jaxdd.storage.metrics import read_metrics
from jaxdd.storage.paths import reason, shown

FOLDER = "tensorboard"
_NO_CURVE = ("step", "seconds")  # of a line; time is what TensorBoard knows itself


def require() -> None:
    """Refuse a run that asks for TensorBoard's files where nothing can write them.

    Raises:
        UserError: the package tensorboardX is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "--tensorboard needs tensorboardX, which is not installed: "
            "pip install 'jaxdd[tensorboard]'"
        )


class Recorder:
    """A callback of `jaxdd.progress` that writes WORKDIR/tensorboard.

    A run that goes on from a checkpoint takes back what lies after it. What an earlier
    start measured without this is taken from `metrics.jsonl`.

    Args:
        workdir: the folder of the run.
    """

    def __init__(self, workdir: Path):
        self.workdir = workdir
        self.writer: Any = None

    def __call__(self, event: Event) -> None:
        """Write one event.

        Raises:
            UserError: the disk refuses.
        """
        match event:
            case Measured(_, step, values):
                with self._writing(step) as writer:
                    _add(writer, step, values)
            case Pictures(_, step, names, images):
                content = draw(report.grid_png, images(), names)
                if content is not None:
                    grid = Image.open(io.BytesIO(content)).convert("RGB")
                    pixels = np.asarray(grid)
                    with self._writing(step) as writer:
                        writer.add_image("images", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Finish the file."""
        if self.writer is not None:
            self.writer.close()

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[Any]:
        """The writer, opened at its first step, and what the disk has to say."""
        try:
            if self.writer is None:
                self.writer = self._opened(step)
            yield self.writer
            self.writer.flush()
        except OSError as error:
            raise UserError(
                f"cannot write {shown(self.workdir / FOLDER)} ({reason(error)}): free "
                "the disk or leave --tensorboard out"
            ) from error

    def _opened(self, step: int) -> Any:
        from tensorboardX import SummaryWriter

        folder = self.workdir / FOLDER
        is_new = not any(folder.glob("events.*"))
        earlier = read_metrics(self.workdir) if is_new else []
        writer = SummaryWriter(
            str(folder),
            purge_step=None if is_new else step,
            # Files that begin in the same second would have one name.
            filename_suffix=f".{step:012d}.{secrets.token_hex(4)}",
        )
        for line in earlier:
            if line["step"] < step:
                _add(writer, line["step"], line)
        return writer


def _add(writer: Any, step: int, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in _NO_CURVE and value is not None:
            writer.add_scalar(name, value, step)


@contextlib.contextmanager
def recording(workdir: Path, wanted: bool) -> Iterator[None]:
    """Write the events of the `with` block for TensorBoard, if that is wanted."""
    if not wanted or not hosts.primary():
        yield
        return
    recorder = Recorder(workdir)
    with contextlib.closing(recorder), also(recorder):
        yield


def catch_up(
    workdir: Path, lines: Sequence[Mapping[str, Any]], pictures: Pictures
) -> None:
    """Write what a finished run measured, unless there are files of TensorBoard.

    Args:
        workdir: the folder of the run.
        lines: those of `metrics.jsonl`.
        pictures: the set.
    """
    if any((workdir / FOLDER).glob("events.*")):
        return
    with contextlib.closing(Recorder(workdir)) as recorder:
        for line in lines:
            values = {name: x for name, x in line.items() if name != "step"}
            recorder(Measured(pictures.stage, line["step"], values))
        recorder(pictures)
