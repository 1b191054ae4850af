"""The state of a run on disk, with Orbax."""

import contextlib
import gc
import logging
import re
import shutil
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.primitives.trees import from_named_leaves, named_leaves
from jaxdd.storage.paths import reason, shown

STATES = "checkpoints"  # the folder of the states, in a workdir
# Orbax treats its path as a pattern (brackets, a backslash) and as UTF-8 text: a state
# saved below any other name could never be read again.
_PLAIN = re.compile(r"[\w /.,:;=+@~^#%&{}()!-]+")


def newest(folder: Path) -> int | None:
    """Step of the newest state in a workdir by its name, None without any state."""
    try:
        names = [entry.name for entry in (folder / STATES).iterdir()]
    except OSError:
        return None
    return max((int(x) for x in names if x.isascii() and x.isdigit()), default=None)


@runtime_checkable
class States(Protocol):
    """Where the states of a run are kept, by step."""

    def save(self, step: int, state: Any) -> None:
        """Save a state unless this step is there already."""

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """(step, state) of the newest readable state, or None when there is none."""

    def close(self) -> None:
        """Release what is held; nothing is saved after that."""


class NoStates:
    """The states of a run in memory: none is saved, so none can be restored."""

    def save(self, step: int, state: Any) -> None:
        pass

    def restore(self, like: Any) -> None:
        return None

    def close(self) -> None:
        pass


def states_in(folder: Path | None) -> States:
    """The states in a workdir; without one, nothing is written.

    Raises:
        UserError: the folder cannot be used.
    """
    return NoStates() if folder is None else Checkpoints(folder)


class Checkpoints:
    """The two newest states of a run, by step; each is complete or absent.

    A state is any pytree of arrays without typed keys (the key of step t is derived
    from the seed and t, so none has to be saved). It is replicated on every device: the
    primary process saves it, and any number of processes can restore it. The first
    state that is saved is read back at once.

    Args:
        folder: the workdir, of any name.

    Raises:
        UserError: the folder cannot be used.
    """

    def __init__(self, folder: Path):
        # Orbax logs every save in detail.
        absl_logging.set_verbosity(absl_logging.ERROR)
        self.folder = folder / STATES
        self.link: Path | None = None
        self.proven = False  # whether a saved state has been read back
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, **_alone()
        )
        try:
            place = self._plain(self.folder.absolute())
            with _quiet():
                handler = ocp.StandardCheckpointHandler()
                self.manager = ocp.CheckpointManager(
                    place, options=options, item_handlers=handler
                )
        except OSError as error:
            self._unlink()
            raise UserError(
                f"cannot use the folder {shown(self.folder)} ({_first_line(error)}): "
                "free the disk or choose another --workdir"
            ) from error

    def _plain(self, place: Path) -> Path:
        """The folder itself, or a link to it whose path is no pattern for Orbax.

        Raises:
            UserError: a link is needed and cannot be made.
        """
        if _PLAIN.fullmatch(str(place)):
            return place
        try:
            place.mkdir(parents=True, exist_ok=True)
            self.link = Path(tempfile.mkdtemp(prefix="jaxdd-"))
            if not _PLAIN.fullmatch(str(self.link)):
                raise OSError(f"{shown(self.link)} has no plain name either")
            (self.link / STATES).symlink_to(place, target_is_directory=True)
        except OSError as error:
            self._unlink()
            raise UserError(
                f"cannot save to {shown(place)}: names like this one need a link in a "
                f"temporary folder, which cannot be made ({reason(error)}); choose a "
                "--workdir of letters and digits"
            ) from error
        return self.link / STATES

    def _unlink(self) -> None:
        if self.link is not None:
            shutil.rmtree(self.link, ignore_errors=True)  # follows no link
            self.link = None

    def save(self, step: int, state) -> None:
        """Save a state unless the step has been saved already.

        Raises:
            UserError: the disk refuses, or the first saved state cannot be read back;
                earlier states stay.
        """
        if not hosts.primary() or step in self.manager.all_steps():
            return
        try:
            tree = _with_checksum(named_leaves(state))
            with _quiet():
                self.manager.save(step, args=ocp.args.StandardSave(tree))
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot save step {step} to {shown(self.folder)} "
                f"({_first_line(error)}): free the disk and start the same command "
                "again"
            ) from error
        if not self.proven:
            self._prove(step, tree)

    def _prove(self, step: int, tree: dict[str, Any]) -> None:
        """Read a state back, so that a run finds out at once whether it can resume."""
        try:
            self._read(step, tree)
        except Exception as error:  # as in `restore`
            raise UserError(
                f"step {step} was saved to {shown(self.folder)} and cannot be read back"
                f" ({_first_line(error)}): choose another --workdir"
            ) from error

    def _read(self, step: int, tree: dict[str, Any]) -> dict[str, Any]:
        """The arrays of a step; `tree` has their structure, shapes and dtypes.

        Raises:
            Exception: Orbax raises many types for a damaged folder.
        """
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
        with _quiet():
            args = ocp.args.StandardRestore(template)
            content = self.manager.restore(step, args=args)
        if _shapes(content["state"]) != _shapes(tree["state"]):
            raise ValueError(f"the arrays of step {step} have other shapes")
        if int(content["checksum"]) != _checksum(content["state"]):
            raise ValueError(f"the checksum of step {step} is wrong")
        self.proven = True
        return content["state"]

    def restore(self, like) -> tuple[int, object] | None:
        """(step, state) of the newest readable state, None if no state was saved.

        Args:
            like: a state of the same structure, shapes and dtypes.

        Raises:
            UserError: states were saved, but none can be read.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        tree = _with_checksum(named_leaves(like))
        for step in steps:
            try:
                named = self._read(step, tree)
            except Exception as error:  # Orbax raises many types for a damaged folder
                why = _first_line(error)
                continue
            # Orbax saves no step below its newest: unreadable states are deleted.
            hosts.meet()
            for damaged in steps[: steps.index(step)] if hosts.primary() else ():
                self.manager.delete(damaged)
            return step, from_named_leaves(like, named)
        if steps:
            raise UserError(
                f"no checkpoint in {shown(self.folder)} can be read ({why}): remove the"
                " folder to start anew, or choose another --workdir"
            )
        return None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the newest state's arrays by path; empty without a state."""
        step = self.manager.latest_step()
        if step is None:
            return {}
        try:
            with _quiet():
                metadata: Any = self.manager.item_metadata(step)
            return _shapes(metadata["state"])
        except Exception:  # a damaged folder, which `restore` reports
            return {}

    def close(self) -> None:
        self.manager.close()
        self._unlink()


def _alone() -> dict[str, Any]:
    """Options that keep Orbax from synchronising the processes itself."""
    if not hosts.several():
        return {}
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"jaxdd{me}"
    )
    return {"multiprocessing_options": alone, "create": False}


@contextlib.contextmanager
def _quiet():
    """Keep tracebacks of Orbax's background tasks off standard error.

    If one write fails, the others are abandoned, and Python reports each of them; the
    exception that is raised is enough.
    """
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    before, hook = [x.disabled for x in loggers], sys.unraisablehook
    for logger in loggers:
        logger.disabled = True
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    except Exception:
        gc.collect()  # abandoned tasks are reported when they are collected
        raise
    finally:
        sys.unraisablehook = hook
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _with_checksum(named: dict[str, Any]) -> dict[str, Any]:
    """The state on the host with a checksum; Orbax does not notice flipped bits."""
    state = jax.device_get(named)
    return {"state": state, "checksum": np.asarray(_checksum(state), np.uint32)}


def _shapes(named: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in named.items()}


def _checksum(named: dict[str, Any]) -> int:
    total = 0
    for _, array in sorted(named.items()):
        total = zlib.crc32(np.asarray(array).tobytes(), total)
    return total


def _first_line(error: Exception) -> str:
    if "No space left" in str(error):  # inside a long text of Orbax
        return "No space left on device"
    return reason(error)
