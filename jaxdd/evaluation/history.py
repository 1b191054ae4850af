"""`evaluation.json`: results network by network, and under which protocol."""

import json
from pathlib import Path
from typing import Any

from jaxdd.devices.precision import unspecified
from jaxdd.progress import say
from jaxdd.storage.records import list_of, mapping, read_json

_ENTRY = mapping(optional={"protocol": mapping()})
_RESULTS = mapping(
    others=mapping(optional={"protocol": mapping(), "earlier": list_of(_ENTRY)})
)


def known_results(folder: Path) -> dict[str, Any]:
    """The results that a folder holds.

    Raises:
        UserError: its `evaluation.json` is damaged.
    """
    path = folder / "evaluation.json"
    if not path.exists():
        return {}
    return read_json(path, _RESULTS, "move it away or choose another --workdir")


def with_earlier(
    net: str, entry: dict[str, Any], before: dict[str, Any] | None
) -> dict[str, Any]:
    """A new entry, with those of other sets or under other protocols behind it."""
    if before is None:
        return {**entry, "earlier": []}
    earlier = [
        {k: v for k, v in before.items() if k != "earlier"},
        *before.get("earlier", []),
    ]
    same = identity(entry.get("protocol"))
    kept = [x for x in earlier if identity(x.get("protocol")) != same]
    if kept:
        say(
            f"{net}: {len(kept)} earlier results of other sets or protocols stay in "
            'evaluation.json, as "earlier"'
        )
    return {**entry, "earlier": kept}


def identity(protocol: Any) -> str:
    """What tells one protocol from another: not what its data is called.

    Results of older versions have no protocol, and are no other's, or one without a
    precision.
    """
    if protocol is None:
        return ""
    test = {k: v for k, v in dict(protocol.get("test") or {}).items() if k != "dataset"}
    whole = {"precision": unspecified(), **protocol, "test": test}
    return json.dumps(whole, sort_keys=True)
