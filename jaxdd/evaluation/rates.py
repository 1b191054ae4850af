"""The learning rate of an architecture, chosen on validation data."""

from collections.abc import Sequence

import numpy as np

from jaxdd.errors import UserError, quoted

# Rates from which "auto" chooses, besides the protocol's own.
AUTO_RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
AUTO = "auto"
NETWORKS = 3  # that try a rate on every set


def rates_of(text: str | None, own: float) -> tuple[float, ...]:
    """The rates in --select_lr; none where the flag is not given.

    Args:
        text: the value of the flag.
        own: the rate of the protocol, which "auto" tries too.

    Raises:
        UserError: it holds something else than different positive numbers.

    Example:
        >>> rates_of("0.1,0.01", 0.5)
        (0.1, 0.01)
    """
    if text is None:
        return ()
    if text == AUTO:
        return tuple(sorted({*AUTO_RATES, own}, reverse=True))
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--select_lr must be numbers joined by commas or {AUTO}, not "
            f"{quoted(text)}"
        ) from error
    usable = all(0 < rate < 1e30 for rate in rates)  # not NaN either
    if not usable or len(set(rates)) < len(rates):
        raise UserError(
            f"--select_lr must hold different positive numbers, not {quoted(text)}"
        )
    return rates


def best_rate(
    rates: Sequence[float], accuracies: Sequence[np.ndarray]
) -> tuple[float, list[float]]:
    """The rate at which the sets of a table are best on average.

    Every set with every kind of labels counts once, so that no row is favoured.

    Args:
        rates: those that were tried.
        accuracies: one [cells] per rate, in percent on validation data.

    Returns:
        The rate, the first of equals, and the average at each rate.

    Source: ours.

    Example:
        >>> best_rate([0.1, 0.01], [np.array([50.0, 60.0]), np.array([70.0, 60.0])])
        (0.01, [55.0, 65.0])
    """
    means = [float(np.mean(x)) for x in accuracies]
    return rates[int(np.argmax(means))], means
