"""The step at which what changes along a run has arrived."""

# In a recipe that no preset completes (ours).
USUAL = 1000


def last_step(horizon: int | None) -> int:
    """Where a rate, a weight or a view arrives: at the horizon, if there is one.

    Example:
        >>> last_step(300), last_step(None)
        (300, 1000)
    """
    return USUAL if horizon is None else horizon
