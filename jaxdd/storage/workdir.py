"""The record of a run in its folder: one configuration per workdir."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdd.errors import UserError, quoted
from jaxdd.storage import records
from jaxdd.storage.checkpoints import newest
from jaxdd.storage.files import (
    finite,
    to_json,
    write_atomically,
)
from jaxdd.storage.paths import shown

# Keys of a configuration that may change between two starts of one run: they change
# where files are or how many steps are taken, but not what a step computes.
FREE = ("steps", "workdir", "data_dir", "stream", "save_every")
# Other values follow from these, so that they are named first where runs differ.
FIRST = ("kind", "method", "dataset", "fingerprint", "ipc", "net", "seed", "segments")
CODE = "_code"  # names of hashes of classes and functions of one's own end so
NAMED = 6  # differences, the others are counted


RUN = "run.json"
_RECORD = records.mapping(
    config=records.mapping(),
    resumed_at=records.list_of(records.integer()),
    optional={
        "kind": records.text(100),
        "timings": records.maybe(records.mapping(others=records.number(0))),
    },
)


def same_run(
    folder: Path,
    config: Mapping[str, Any],
    kind: str = "distillation",
    identity: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> dict[str, Any] | None:
    """Compare the record of a folder with a start; writes nothing.

    Args:
        folder: the workdir, which need not exist.
        config, kind, identity: as in `Record`.

    Returns:
        The content of `run.json`, None if no run has begun.

    Raises:
        UserError: the folder holds another experiment or a run of another
            configuration, or its record is damaged or lost.
    """
    path = folder / RUN
    if not path.exists():
        if (folder / "summary.json").exists():
            raise UserError(
                f"{shown(folder)} holds results of another experiment: choose another "
                "--workdir"
            )
        if newest(folder) is not None:
            raise UserError(
                f"{shown(folder)} holds the state of a run but not its run.json, which "
                "identifies the run: copy that back or choose another --workdir"
            )
        return None
    before = records.read_json(path, _RECORD, FOREIGN)
    old_kind = before.get("kind", "distillation")
    if old_kind != kind:
        raise UserError(
            f"{shown(folder)} holds another experiment ({shown(old_kind)}): choose "
            "another --workdir"
        )
    refuse_difference(folder, identity(before["config"]), identity(dict(config)))
    return before


class Record:
    """The record of a run in its workdir: its configuration, and where it was resumed.

    The record of a new run is written at once. An existing record stays unchanged until
    `save`, so that a start that is refused later has changed nothing.

    Args:
        folder: the workdir, which the caller owns.
        config: all values of this start.
        kind: name of the experiment.
        identity: (values of a start) -> the values that have to be equal in all starts
            of a run; by default all but FREE.

    Attributes:
        known: configuration of the previous start, None for a new run.
        resumed_at: steps at which the run was resumed.
        timings: seconds of the start that took the last step, by name; None before.

    Raises:
        UserError: the folder holds another experiment or a run of another
            configuration, or its record is damaged or lost; nothing is changed then.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        kind: str = "distillation",
        identity: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ):
        self.path = folder / RUN
        self.config, self.kind = dict(config), kind
        before = same_run(folder, self.config, kind, identity)
        self.known: dict[str, Any] | None = None
        self.resumed_at: list[int] = []
        self.timings: dict[str, float] | None = None
        if before is None:
            self.save()
        else:
            self.known, self.resumed_at = before["config"], before["resumed_at"]
            self.timings = before.get("timings")

    def save(self) -> None:
        content = {
            "kind": self.kind,
            "config": self.config,
            "resumed_at": self.resumed_at,
            "timings": self.timings,
        }
        write_atomically(self.path, to_json(content))


FOREIGN = "it is damaged or not of this program: choose another --workdir"


def refuse_difference(
    folder: Path, earlier: Mapping[str, Any], current: Mapping[str, Any]
) -> None:
    """Raise UserError, naming the differences, unless both are the same run.

    If both have the fingerprint of their data, the name of the data, which may be a
    path, alone is no difference; otherwise the fingerprint is none.
    """
    earlier, current = (json.loads(json.dumps(finite(c))) for c in (earlier, current))
    names = [k for k in {*earlier, *current} if earlier.get(k) != current.get(k)]
    # The code of a class typed into a console is not known, nor that of earlier runs.
    known = {k for k in names if None not in (earlier.get(k), current.get(k))}
    names = [k for k in names if k in known or not k.endswith(CODE)]
    both = bool(earlier.get("fingerprint") and current.get("fingerprint"))
    if not both or {"dataset", "fingerprint"} <= set(names):  # a name says more
        names = [k for k in names if k != "fingerprint"]
    elif "dataset" in names:
        names.remove("dataset")
    names = sorted((k for k in names if k not in FREE), key=_importance(earlier))
    if not names:
        return
    differences = [
        f"{shown(k)} is {quoted(earlier.get(k))} there and {quoted(current.get(k))} now"
        for k in names[:NAMED]
    ]
    if len(names) > NAMED:
        differences.append(f"and {len(names) - NAMED} more")
    raise UserError(
        f"{shown(folder)} holds another run ({'; '.join(differences)}): use the "
        "same values or another --workdir"
    )


def _importance(earlier: Mapping[str, Any]) -> Callable[[str], tuple[int, bool, str]]:
    """The order of differences: what others follow from first, absent choices last."""

    def place(name: str) -> tuple[int, bool, str]:
        first = FIRST.index(name) if name in FIRST else len(FIRST)
        return first, earlier.get(name) is None, name

    return place
