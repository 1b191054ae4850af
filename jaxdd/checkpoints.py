"""Run state on disk, with Orbax."""

import contextlib
import gc
import logging
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from jaxdd import hosts
from jaxdd.errors import UserError
from jaxdd.trees import from_named_leaves, named_leaves


class Checkpoints:
    """The two newest states of a run, by step; each is complete or absent.

    A state is any pytree of arrays without typed keys (the key of step t is derived
    from the seed and t, so none has to be saved). It lies whole on every device, so
    that of several processes the primary one saves it, and any number of them restores
    it.
    """

    def __init__(self, folder: Path):
        # Orbax tells every save in detail.
        absl_logging.set_verbosity(absl_logging.ERROR)
        self.folder = folder / "checkpoints"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, **_alone()
        )
        try:
            place = self.folder.absolute()
            with _quiet():
                handler = ocp.StandardCheckpointHandler()
                self.manager = ocp.CheckpointManager(
                    place, options=options, item_handlers=handler
                )
        except OSError as error:
            raise UserError(
                f"cannot use the folder {self.folder} ({_first_line(error)}): free the "
                "disk or choose another --workdir"
            ) from error

    def save(self, step: int, state) -> None:
        """Save a state unless this step is there already.

        Raises:
            UserError: the disk refuses; earlier states stay.
        """
        if not hosts.primary() or step in self.manager.all_steps():
            return
        try:
            tree = _with_checksum(named_leaves(state))
            with _quiet():
                self.manager.save(step, args=ocp.args.StandardSave(tree))
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot save step {step} to {self.folder} ({_first_line(error)}): "
                "free the disk and start the same command again"
            ) from error

    def restore(self, like) -> tuple[int, object] | None:
        """(step, state) of the newest readable state, or None when there is none.

        Args:
            like: a state, for structure, shapes and dtypes.

        Raises:
            UserError: there are states but none can be read.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        tree = _with_checksum(named_leaves(like))
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
        for step in steps:
            try:
                args = ocp.args.StandardRestore(template)
                with _quiet():
                    found = self.manager.restore(step, args=args)
                if _shapes(found["state"]) != _shapes(tree["state"]):
                    raise ValueError(f"the arrays of step {step} have other shapes")
                if int(found["checksum"]) != _checksum(found["state"]):
                    raise ValueError(f"the checksum of step {step} is wrong")
            except Exception as error:  # Orbax raises many types for a damaged folder
                reason = _first_line(error)
                continue
            # Orbax saves no step below its newest: the unreadable ones have to go.
            hosts.meet()
            for damaged in steps[: steps.index(step)] if hosts.primary() else ():
                self.manager.delete(damaged)
            return step, from_named_leaves(like, found["state"])
        if steps:
            raise UserError(
                f"no checkpoint in {self.folder} can be read ({reason}): remove the "
                "folder to start anew, or choose another --workdir"
            )
        return None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the newest state's arrays by path; empty where there is none."""
        step = self.manager.latest_step()
        if step is None:
            return {}
        try:
            with _quiet():
                found: Any = self.manager.item_metadata(step)
            return _shapes(found["state"])
        except Exception:  # a damaged folder, which `restore` tells
            return {}

    def close(self) -> None:
        self.manager.close()


def _alone() -> dict[str, Any]:
    """Options that keep Orbax's own meetings of processes out of the way."""
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

    When one write fails, the others are abandoned, and Python reports each of them;
    the exception that is raised says all there is to say.
    """
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    before, hook = [x.disabled for x in loggers], sys.unraisablehook
    for logger in loggers:
        logger.disabled = True
    sys.unraisablehook = lambda unraisable: None
    try:
        yield
    except Exception:
        gc.collect()  # what is abandoned is reported when it is collected
        raise
    finally:
        sys.unraisablehook = hook
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _with_checksum(named: dict[str, Any]) -> dict[str, Any]:
    """The state on the host; Orbax does not notice flipped bits in the arrays."""
    found = jax.device_get(named)
    return {"state": found, "checksum": np.asarray(_checksum(found), np.uint32)}


def _shapes(named: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in named.items()}


def _checksum(named: dict[str, Any]) -> int:
    total = 0
    for _, array in sorted(named.items()):
        total = zlib.crc32(np.asarray(array).tobytes(), total)
    return total


def _first_line(error: Exception) -> str:
    if "No space left" in str(error):  # Orbax buries it in a long text
        return "No space left on device"
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
