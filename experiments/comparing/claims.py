"""Claims about difficulty, and the verdicts that paired differences allow.

The claims are those that an SDC comparison has to show rather than assume: (a) plain
gradient matching drifts towards hard samples, trajectory matching does not clearly; (b)
SDC lowers the gradient norm of the synthetic set; (c) SDC raises the accuracy; (d) too
large a weight hurts; (e) SDC raises the accuracy by more than longer steps of the
images, where these were tried.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparing.pairs import interval, mean_text
from jaxdd.scores.probes import USUAL, suffix_of

Summaries = Sequence[Mapping[str, Any]]  # of the runs of a row, one per seed


def verdict(differences: Sequence[float], side: int) -> str:
    """The verdict on a claim that differences, one per seed, lie on one side of 0.

    "shown" where the 95 % interval of their mean (Student's t) lies on the claimed
    side, "contradicted" where it lies on the other, else "not shown".

    Args:
        differences: paired by seed.
        side: 1 for the claim that they are positive, -1 for negative.

    Example:
        >>> verdict([1.0, 2.0, 1.5], 1), verdict([1.0, 2.0, 1.5], -1)
        ('shown', 'contradicted')
        >>> verdict([1.0, -2.0, 1.5], 1), verdict([1.0], 1)
        ('not shown', 'not shown (one seed)')
    """
    values = np.asarray(differences, float)
    half = interval(values)
    if half is None:
        return "not shown (one seed)"
    centre = side * values.mean()
    if centre > half:
        return "shown"
    return "contradicted" if centre < -half else "not shown"


def of_method(
    method: str,
    family: str,
    plain: Summaries,
    corrected: Summaries,
    largest: Summaries | None,
    longer: Summaries | None,
    kinds: Sequence[str] = USUAL,
) -> list[dict[str, Any]]:
    """The claims about one method, judged.

    Args:
        method: its name.
        family: what it matches, see `methods.family`.
        plain: its runs without SDC.
        corrected: its runs with the reference weight.
        largest: its runs with the largest weight, where that is above the reference.
        longer: its runs without SDC and with longer steps of the images, where there
            are any.
        kinds: of the networks at which difficulty was measured, in their order; (a) and
            (b) are judged at each of them.
    """
    reached = [_accuracy(x) for x in (plain, corrected)]
    judged = []
    for kind in kinds:
        suffix, at = suffix_of(kind, kinds), f"at {kind} networks"
        change = _difficulty(plain, "end", f"percentile{suffix}")
        change -= _difficulty(plain, "start", f"percentile{suffix}")
        # Nothing is claimed of distribution matching.
        if family != "distribution":
            drifts = family == "gradient"
            verb = "drifts" if drifts else "does not drift"
            text = f"plain {method} {verb} towards hard samples"
            unit = f"percentile of GraDN {at}, end minus start"
            judged.append(_judged("a", text, change, 1 if drifts else -1, unit))
    for kind in kinds:
        measure = f"grad_norm{suffix_of(kind, kinds)}"
        norms = [_difficulty(x, "end", measure) for x in (plain, corrected)]
        text = f"SDC lowers the gradient norm of {method}'s set"
        unit = f"GraDN at {kind} networks, with minus without"
        judged.append(_judged("b", text, norms[1] - norms[0], -1, unit))
    judged += [
        _judged(
            "c", f"SDC raises {method}'s accuracy", reached[1] - reached[0], 1,
            "points, with minus without",
        ),
    ]  # fmt: skip
    text, unit = f"too large a weight hurts {method}", "points, largest minus without"
    if largest is None:
        untried = _judged("d", text, [], -1, unit)
        untried["verdict"] = "not shown (no weight above the reference)"
        judged.append(untried)
    else:
        judged.append(_judged("d", text, _accuracy(largest) - reached[0], -1, unit))
    if longer is not None:
        text = f"SDC gains {method} more than longer steps do"
        unit = "points, with SDC minus with longer steps"
        judged.append(_judged("e", text, reached[1] - _accuracy(longer), 1, unit))
    return judged


def _difficulty(summaries: Summaries, when: str, what: str) -> np.ndarray:
    return np.array([s["difficulty"][when][what] for s in summaries], float)


def _accuracy(summaries: Summaries) -> np.ndarray:
    return np.array([s["distilled"]["mean"] for s in summaries])


def _judged(
    letter: str, text: str, differences: Sequence[float] | np.ndarray, side: int,
    unit: str,
) -> dict[str, Any]:  # fmt: skip
    values = np.asarray(differences, float)
    return {
        "claim": letter,
        "text": text,
        "unit": unit,
        "by_seed": values.tolist(),
        "difference": float(values.mean()) if len(values) else None,
        "interval": interval(values),
        "verdict": verdict(values.tolist(), side),
    }


def markdown(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """The claims as lines of a table."""
    lines = [
        "## Claims",
        "",
        "| | claim | paired difference | of | verdict |",
        "|---|---|---:|---|---|",
    ]
    for x in claims:
        difference = x["difference"]
        cell = "" if difference is None else mean_text(difference, x["interval"])
        lines.append(
            f"| ({x['claim']}) | {x['text']} | {cell} | {x['unit']} | {x['verdict']} |"
        )
    return lines
