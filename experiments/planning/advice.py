"""What to change where a run does not fit, from what needs most."""

import math
from collections.abc import Sequence

from experiments.planning.estimate import Lever, Part, Plan, span_text, total
from jaxdd.devices.memory import size_text

DAY = 86400.0


def advise(plan: Plan, network: bool = True) -> list[str]:
    """A sentence for everything that does not fit, or takes longer than a day.

    Args:
        plan: the numbers.
        network: whether the run has a flag for the width of its network.
    """
    room = plan.room
    narrower = " or a smaller --width" if network else ""
    sentences = []
    for what, parts, there, text, otherwise in (
        ("time", plan.time, DAY, span_text, f"fewer steps or epochs{narrower}"),
        (
            f"device memory of the {plan.program}",
            plan.device,
            room.device,
            size_text,
            f"a device with more memory{narrower}",
        ),
        (
            "host memory",
            plan.host,
            room.host,
            size_text,
            f"a machine with more memory{narrower}",
        ),
        ("disk", plan.disk, room.disk, size_text, "a --workdir on a larger disk"),
        (
            "disk of JAXDD_CACHE",
            plan.cache,
            room.cache,
            size_text,
            "--stream=never if memory holds the images",
        ),
    ):
        if there is not None and total(parts) > there:
            sentences.append(_sentence(what, parts, there, text, otherwise))
    return sentences


def _sentence(
    what: str, parts: Sequence[Part], there: float, text, otherwise: str
) -> str:
    """What needs most, and by which flag all would fit."""
    needed = total(parts)
    most = max(parts, key=lambda part: part.amount)
    left = there - (needed - most.amount)
    detail = (
        f"{what}: {text(needed)} are needed and there is room for {text(there)}; most "
        f"goes into {most.name} ({text(most.amount)})"
    )
    lever = most.lever
    if most.instead:
        otherwise = f"{most.instead} or {otherwise}"
    if lever is None:
        return f"{detail}: use {otherwise}"
    if lever.also:
        otherwise = f"{lever.also} or {otherwise}"
    if left <= 0:
        # Its own flag cannot do it alone.
        return f"{detail}, but the rest alone does not fit: use {otherwise}"
    value = fitting(lever, left / most.amount)
    if value is None:
        least = f"--{lever.flag}={lever.least}"
        return f"{detail}: even {least} is too much, so use {otherwise}"
    return (
        f"{detail}: use --{lever.flag}={value} instead of {lever.value}, or {otherwise}"
    )


def fitting(lever: Lever, share: float) -> int | None:
    """The value at which a part shrinks to a share of itself; None below the least.

    Example:
        >>> fitting(Lever("batch_real", 256), 0.3)
        76
        >>> fitting(Lever("measure_every", 10, rarer=True), 0.3)
        34
        >>> fitting(Lever("num_random", 10, least=5), 0.3) is None
        True
    """
    if lever.rarer:
        return math.ceil(lever.value / share)
    value = math.floor(lever.value * share)
    return value if value >= lever.least else None
