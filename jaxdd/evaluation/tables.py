"""`referee.json`: what is in it, and how it is read."""

from pathlib import Path
from typing import Any

from jaxdd.evaluation.rows import COLUMNS
from jaxdd.storage.records import (
    anything,
    integer,
    list_of,
    mapping,
    maybe,
    number,
    one_of,
    read_json,
    text,
    tuple_of,
)

KINDS = ("distilled", "random", "selected", "full")
_ACCURACY = mapping(mean=number(0, 100), std=number(0, 100), n=integer(1), others=None)
_CELL = mapping(
    row=text(),
    column=one_of(*COLUMNS),
    optional={"accuracy": _ACCURACY, "lacking": text()},
    others=None,
)
_NETWORK = mapping(
    network=mapping(name=text()),
    learning_rate=number(0),
    chosen=maybe(
        mapping(
            samples=integer(1),
            networks=integer(1),
            accuracies=list_of(tuple_of(number(0), number(0, 100)), shortest=1),
        )
    ),
    cells=list_of(_CELL, shortest=1),
)
_TABLE = mapping(
    identity=text(64),
    about=mapping(
        training=mapping(
            epochs=integer(), batch_size=integer(), optimizer=text(), loss=text()
        ),
        augmentation=text(),
        num_eval=integer(1),
        num_random=integer(1),
        seed=integer(0, 2**32 - 1),
        test=mapping(samples=integer(1)),
        real_epochs=maybe(integer(1)),
    ),
    data=text(),
    rows=list_of(
        mapping(name=text(), kind=one_of(*KINDS), ipc=maybe(integer(1))), shortest=1
    ),
    teacher=maybe(
        mapping(
            source=text(),
            network=mapping(name=text()),
            training=mapping(
                epochs=integer(1),
                learning_rate=number(0),
                batch_size=integer(1),
                optimizer=text(),
            ),
            augmentation=text(),
            accuracy=number(0, 100),
        )
    ),
    notes=list_of(text()),
    networks=mapping(others=_NETWORK),
    versions=mapping(),
    device=anything,
)
_FILE = mapping(tables=list_of(_TABLE))


def read_tables(path: Path) -> list[dict[str, Any]]:
    """The tables in a `referee.json`, the latest first; none where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return []
    remedy = "move it away or choose another --workdir"
    return read_json(path, _FILE, remedy)["tables"]
