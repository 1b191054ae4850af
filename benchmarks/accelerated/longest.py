"""The longest operations of a DSA and an MTT step, by XLA's own profile."""

from functools import partial
from typing import Any

from benchmarks.accelerated.budget import Records
from benchmarks.accelerated.sizes import Sizes
from benchmarks.parts import operations, timing

METHODS = ("dsa", "mtt")
LONGEST = 12
# What runs in them is listed by itself.
CONTROL = ("while", "call", "conditional")


def profiled(method: str, sizes: Sizes) -> dict[str, Any]:
    """The second step of a method, instruction by instruction."""
    race = timing.step_race(sizes.case(method), None)
    race.ours()
    found = operations.profile(race.ours, race.program.call.as_text())
    total = sum(share.seconds for share in found.kinds.values())
    inner = [x for x in found.longest.items() if not x[0].startswith(CONTROL)]
    if total == 0:
        raise ValueError(f"the trace tells of no operation; {found.planes}")
    return {
        "traced_seconds": found.wall,
        "busy": found.busy / found.wall,
        "operations": sum(share.times for share in found.kinds.values()),
        "shares": {kind: s.seconds / total for kind, s in found.kinds.items()},
        "longest": [
            {
                "name": name,
                "share": share.seconds / total,
                "count": share.times,
                "source": source,
            }
            for name, (share, source) in inner[:LONGEST]
        ],
        "planes": found.planes,
    }


def run(records: Records, sizes: Sizes) -> None:
    for method in METHODS:
        records.measure(
            {"method": method},
            "profile",
            partial(profiled, method, sizes),
        )
