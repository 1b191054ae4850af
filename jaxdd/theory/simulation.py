"""A simulation of pruning: teacher, probe, and a student of largest margin."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.theory.arguments import KEEPS, Amounts, check_keep, checked
from jaxdd.types import Array, Key, Scalar

GAP = 1e-4  # relative duality gap at which a student has its largest margin
STEPS = 40  # of the iteration at most; it needs 5 to 20


def probe_at(key: Key, teacher: Array, angle: float) -> Array:
    """A random unit vector [D] at `angle` degrees from the unit vector `teacher` [D].

    Example:
        >>> teacher = jnp.array([0.0, 1.0, 0.0])
        >>> probe = probe_at(jax.random.key(0), teacher, 60.0)
        >>> round(float(probe @ teacher), 3)
        0.5
    """
    noise = jax.random.normal(key, teacher.shape)
    aside = noise - (noise @ teacher) * teacher
    aside = aside / jnp.linalg.norm(aside)
    radians = jnp.deg2rad(angle)
    return jnp.cos(radians) * teacher + jnp.sin(radians) * aside


def keep_order(key: Key, margins: Array, keep: str) -> Array:
    """Indices of the samples in the order in which they are kept, [P] int.

    Args:
        key: source of the random order.
        margins: [P] distance from the probe's boundary, of either sign; NaN for a
            missing sample, which comes last.
        keep: "easy" for large margins first, "hard" for small ones first, or "random".

    Raises:
        UserError: `keep` is unknown.

    Example:
        >>> margins = jnp.array([0.1, -3.0, jnp.nan, 2.0, -0.5])
        >>> keep_order(jax.random.key(0), margins, "easy").tolist()
        [1, 3, 4, 0, 2]
    """
    check_keep(keep)
    if keep == "random":
        noise = jax.random.uniform(key, margins.shape)
        return jnp.argsort(jnp.where(jnp.isnan(margins), jnp.nan, noise))
    size = jnp.abs(margins)
    # Sorting in descending order would put NaN first.
    return jnp.argsort(size if keep == "hard" else -size)


class _Iterate(NamedTuple):
    weights: Array  # [D]
    slack: Array  # [P] > 0
    dual: Array  # [P] > 0
    steps: Array  # []


def max_margin(inputs: Array, labels: Array) -> Array:
    """The perceptron without bias whose smallest margin is the largest, [D], norm 1.

    Solves min |w|^2 with every margin at least 1 by Mehrotra's predictor-corrector
    method (1992), to a relative duality gap of GAP. The samples must be separable, as
    they are if a perceptron labels them; otherwise the result is meaningless.

    Args:
        inputs: [P, D].
        labels: [P], -1 or 1; 0 is padding.

    Example:
        >>> inputs = jnp.array([[2.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
        >>> student = max_margin(inputs, jnp.ones(3))
        >>> [round(float(x), 3) for x in student]
        [0.707, 0.707]
    """
    # With rows of norm about one the weights start at the right scale.
    rows = labels[:, None] * inputs / jnp.sqrt(inputs.shape[1])
    # A margin of zero is never below -1: padding adds no constraint.
    bound = jnp.where(labels == 0, -1.0, 1.0)

    def unfinished(state: _Iterate) -> Array:
        gap = state.slack @ state.dual
        excess = jnp.abs(rows @ state.weights - bound - state.slack)
        is_open = (gap > GAP * jnp.sum(state.weights**2)) | (jnp.max(excess) > GAP)
        return is_open & (state.steps < STEPS)

    def step(state: _Iterate) -> _Iterate:
        return _interior_step(rows, bound, state)

    ones = jnp.ones(rows.shape[0])
    start = _Iterate(jnp.zeros(rows.shape[1]), ones, ones, jnp.int32(0))
    weights = jax.lax.while_loop(unfinished, step, start).weights
    return weights / jnp.linalg.norm(weights)


def _interior_step(rows: Array, bound: Array, state: _Iterate) -> _Iterate:
    """One step of the primal-dual method; slack and dual stay positive."""
    weights, slack, dual, steps = state
    excess = rows @ weights - bound - slack
    ratio = dual / slack
    hessian = jnp.eye(rows.shape[1]) + (rows * ratio[:, None]).T @ rows
    factor = jax.scipy.linalg.cho_factor(hessian)

    def towards(product: Array) -> tuple[Array, Array, Array]:
        """Newton's direction towards slack * dual = product."""
        slope = rows.T @ (product / slack - ratio * excess) - weights
        turn = jax.scipy.linalg.cho_solve(factor, slope)
        more_slack = rows @ turn + excess
        return turn, more_slack, product / slack - dual - ratio * more_slack

    def longest(more_slack: Array, more_dual: Array) -> Array:
        """The length of a step that reaches the boundary."""
        shrink = jnp.maximum(jnp.max(-more_slack / slack), jnp.max(-more_dual / dual))
        return 1 / jnp.maximum(shrink, 1e-9)

    _, more_slack, more_dual = towards(jnp.zeros_like(slack))
    size = jnp.minimum(1, longest(more_slack, more_dual))
    now = jnp.mean(slack * dual)
    predicted = jnp.mean((slack + size * more_slack) * (dual + size * more_dual))
    centre = now * (predicted / now) ** 3
    turn, more_slack, more_dual = towards(centre - more_slack * more_dual)
    size = jnp.minimum(1, 0.95 * longest(more_slack, more_dual))
    return _Iterate(
        weights + size * turn,
        slack + size * more_slack,
        dual + size * more_dual,
        steps + 1,
    )


def generalisation_error(student: Array, teacher: Array) -> Scalar:
    """How often the labels of two perceptrons [D] differ on Gaussian inputs, [].

    It is the angle between them over 180 degrees, arccos(R) / pi with the overlap R.

    Example:
        >>> float(generalisation_error(jnp.array([2.0, 0.0]), jnp.array([1.0, 1.0])))
        0.25
    """
    unit = teacher / jnp.linalg.norm(teacher)
    overlap = student @ unit
    # The arc cosine loses the digits of small angles in float32.
    return jnp.arctan2(jnp.linalg.norm(student - overlap * unit), overlap) / jnp.pi


def make_pruning(
    dim: int, alphas: Amounts, fraction: float, angle: float = 0.0
) -> Callable[[Key], Mapping[str, Array]]:
    """Build the simulation: generalisation errors over the amount of data.

    Args:
        dim: D, at least 2.
        alphas: [A] samples per dimension before any is discarded.
        fraction: share of the samples that is kept, in (0, 1].
        angle: between probe and teacher in degrees, in [0, 90].

    Returns:
        jitted (keys [E]) -> {"easy" | "hard" | "random": [A, E]}. A key has one
        sequence of samples, and every student learns from its beginning, so that
        differences between the three are paired.

    Raises:
        UserError: an argument is out of its range, or no sample is kept.

    Example:
        >>> errors = make_pruning(dim=10, alphas=(1.0, 4.0), fraction=0.5)
        >>> by_rule = errors(jax.random.split(jax.random.key(0), 3))
        >>> by_rule["easy"].shape
        (2, 3)
    """
    amounts = checked(alphas, fraction, angle)
    if dim < 2:
        raise UserError(f"dim={dim} is too small: a perceptron needs at least 2")
    totals = [round(alpha * dim) for alpha in amounts]
    counts = [round(fraction * total) for total in totals]
    if min(counts) < 1:
        raise UserError(
            f"dim={dim}, alpha={min(amounts):g} and fraction={fraction:g} keep no "
            "sample: raise one of them"
        )

    def of_seed(key: Key) -> Array:
        key_teacher, key_probe, key_inputs, key_keep = jax.random.split(key, 4)
        teacher = jax.random.normal(key_teacher, (dim,))
        teacher = teacher / jnp.linalg.norm(teacher)
        inputs = jax.random.normal(key_inputs, (max(totals), dim))
        labels = jnp.where(inputs @ teacher > 0, 1.0, -1.0)
        margins = inputs @ probe_at(key_probe, teacher, angle)

        def of_amount(amount: tuple[Array, Array]) -> Array:
            total, count = amount
            present = jnp.where(jnp.arange(max(totals)) < total, margins, jnp.nan)
            orders = [keep_order(key_keep, present, keep) for keep in KEEPS]

            def of_order(order: Array) -> Array:
                is_kept = jnp.arange(max(counts)) < count
                student = max_margin(
                    inputs[order], jnp.where(is_kept, labels[order], 0.0)
                )
                return generalisation_error(student, teacher)

            return jax.lax.map(of_order, jnp.stack(orders)[:, : max(counts)])

        return jax.lax.map(of_amount, (jnp.array(totals), jnp.array(counts)))

    @jax.jit
    def errors(keys: Key) -> Mapping[str, Array]:
        by_seed = policy.spread_axis(of_seed, keys)
        return {keep: by_seed[..., i].T for i, keep in enumerate(KEEPS)}

    return errors
