"""Run state on disk, with Orbax."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging

from jaxdd.errors import UserError
from jaxdd.trees import from_named_leaves, named_leaves


class Checkpoints:
    """The two newest states of a run, by step; each is complete or absent.

    A state is any pytree of arrays without typed keys (the key of step t is derived
    from the seed and t, so none has to be saved).
    """

    def __init__(self, folder: Path):
        logging.set_verbosity(logging.ERROR)  # Orbax tells every save in detail
        self.folder = folder / "checkpoints"
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False
        )
        self.manager = ocp.CheckpointManager(self.folder.absolute(), options=options)

    def save(self, step: int, state) -> None:
        """Save a state unless this step is there already.

        Raises:
            UserError: the disk refuses; earlier states stay.
        """
        if step in self.manager.all_steps():
            return
        try:
            tree = named_leaves(state)
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
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, named_leaves(like))
        for step in steps:
            try:
                args = ocp.args.StandardRestore(template)
                named = self.manager.restore(step, args=args)
            except Exception as error:  # Orbax raises many types for a damaged folder
                reason = _first_line(error)
                continue
            return step, from_named_leaves(like, named)
        if steps:
            raise UserError(
                f"no checkpoint in {self.folder} can be read ({reason}): remove the "
                "folder to start anew, or choose another --workdir"
            )
        return None

    def close(self) -> None:
        self.manager.close()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
