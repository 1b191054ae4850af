"""Which samples to keep, given how many there are: a theory of data pruning.

Sorscher et al., "Beyond neural scaling laws: beating power law scaling via data
pruning", NeurIPS 2022: a teacher perceptron labels Gaussian inputs, a probe at an angle
from the teacher tells how hard each of them is (a small margin is hard), a fraction is
kept, and a student learns from it. With little data a student learns more from easy
samples, with plenty from hard ones. SDC reads the number of images per class as the
amount of data.

Everything is said here twice: as a simulation, and as its limit for many dimensions.
Letters: D dimensions, P samples, E seeds. `alpha` is P / D before any is discarded.
Angles are in degrees, errors are probabilities.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from scipy.special import erfinv

from jaxdd import policy
from jaxdd.errors import UserError
from jaxdd.types import Array, Key, Scalar

Amounts: TypeAlias = Sequence[float] | np.ndarray  # [A]

KEEPS = ("easy", "hard", "random")
GAP = 1e-4  # relative duality gap at which a student has its largest margin
STEPS = 40  # of an iteration at most; the interior-point method needs 5 to 20
NODES = 64  # of each Gauss-Legendre rule: 1 % at alpha = 1000, much less below
FAR = 7.0  # standard deviations beyond which a Gaussian is taken to be zero


# --- Simulation ---------------------------------------------------------------------


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
    """Indices of the samples, [P] int: the first ones are the first to be kept.

    Args:
        key: of the random order.
        margins: [P] distance from the probe's boundary, of either sign; NaN where there
            is no sample, which comes last.
        keep: "easy", large margins first; "hard", small ones first; or "random".

    Raises:
        UserError: an unknown `keep`.

    Example:
        >>> margins = jnp.array([0.1, -3.0, jnp.nan, 2.0, -0.5])
        >>> keep_order(jax.random.key(0), margins, "easy").tolist()
        [1, 3, 4, 0, 2]
    """
    _check_keep(keep)
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
    all are that a perceptron has labelled; of others the result means nothing.

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
    # A margin of zero is never below -1: padding asks for nothing.
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
        fraction: how many of them are kept, in (0, 1].
        angle: between probe and teacher in degrees, in [0, 90].

    Returns:
        jitted (keys [E]) -> {"easy" | "hard" | "random": [A, E]}. One seed has one
        sequence of samples, of which all students see the beginning, so that
        differences between the three are paired.

    Raises:
        UserError: an argument out of its range, or not one sample is kept.

    Example:
        >>> errors = make_pruning(dim=10, alphas=(1.0, 4.0), fraction=0.5)
        >>> found = errors(jax.random.split(jax.random.key(0), 3))
        >>> found["easy"].shape
        (2, 3)
    """
    amounts = _checked(alphas, fraction, angle)
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
            known = jnp.where(jnp.arange(max(totals)) < total, margins, jnp.nan)
            orders = [keep_order(key_keep, known, keep) for keep in KEEPS]

            def of_order(order: Array) -> Array:
                kept = jnp.where(jnp.arange(max(counts)) < count, labels[order], 0.0)
                return generalisation_error(max_margin(inputs[order], kept), teacher)

            return jax.lax.map(of_order, jnp.stack(orders)[:, : max(counts)])

        return jax.lax.map(of_amount, (jnp.array(totals), jnp.array(counts)))

    @jax.jit
    def errors(keys: Key) -> Mapping[str, Array]:
        found = policy.map_axis(of_seed, keys)
        return {keep: found[..., i].T for i, keep in enumerate(KEEPS)}

    return errors


# --- The limit of many dimensions ---------------------------------------------------


def asymptotic_error(
    alphas: Amounts, fraction: float, keep: str, angle: float = 0.0
) -> Array:
    """The errors of `make_pruning` for D to infinity at fixed alpha, [A].

    In units of its part outside the plane of teacher and probe a student is
    w = (a, b, 1). By Gordon's comparison, margins of kappa |w| can be reached iff

        min_{a, b}  alpha f E[(kappa |w| - m - h)_+^2]  <=  1,

    with m the margin due to a and b, its law that of the kept samples, and h a standard
    normal. At the largest such kappa the minimiser is the student of largest margin.
    Sorscher et al. obtain the limit from the replica method; this derivation is ours.
    Without pruning the error tends to 0.5005 / alpha (Opper et al. 1990).

    Args:
        alphas: [A] samples per dimension before any is discarded.
        fraction: how many of them are kept, in (0, 1].
        keep: "easy", "hard" or "random".
        angle: between probe and teacher in degrees, in [0, 90].

    Raises:
        UserError: an argument out of its range.

    Example:
        >>> errors = asymptotic_error([1.0, 20.0], 0.3, "easy")
        >>> [round(float(x), 2) for x in errors]
        [0.26, 0.04]
    """
    amounts = _checked(alphas, fraction, angle)
    _check_keep(keep)
    fields = _kept_fields(fraction, keep, angle)
    return _largest_margins(fraction * jnp.array(amounts, jnp.float32), fields)


class _Fields(NamedTuple):
    """A quadrature rule for the kept samples, in the plane of teacher and probe."""

    along: Array  # [Q] margin at the teacher
    aside: Array  # [Q] label times the coordinate orthogonal to the teacher
    weight: Array  # [Q] sums to one


def _gaussian_rule(low, high) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [..., NODES] of a standard normal between the bounds [...]."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    # With much data all that counts lies within about 1 / alpha of an end.
    for _ in range(2):
        x, weight = (3 * x - x**3) / 2, 1.5 * (1 - x**2) * weight
    centre = np.asarray((low + high) / 2)[..., None]
    half = np.asarray((high - low) / 2)[..., None]
    nodes = centre + half * x
    return nodes, half * weight * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)


def _kept_fields(fraction: float, keep: str, angle: float) -> _Fields:
    """Both rules end where their integrand jumps: a kept share and a label's change."""
    shares = {"easy": (1 - fraction, 1), "hard": (0, fraction), "random": (0, 1)}
    low, high = np.minimum(math.sqrt(2) * erfinv(shares[keep]), FAR)
    # A sample and its mirror image have the same margins: one sign of u is enough.
    u, weight_u = _gaussian_rule(low, high)  # along the probe
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    change = np.clip(u * cosine / max(sine, 1e-12), -FAR, FAR)
    right, weight_right = _gaussian_rule(-FAR, change)
    wrong, weight_wrong = _gaussian_rule(change, FAR)
    v = np.concatenate([right, wrong], -1)
    label = np.concatenate([np.ones_like(right), -np.ones_like(wrong)], -1)
    weight = weight_u[:, None] * np.concatenate([weight_right, weight_wrong], -1)
    along = label * (cosine * u[:, None] - sine * v)
    aside = label * (sine * u[:, None] + cosine * v)
    flat = (x.ravel() for x in (along, aside, weight / weight.sum()))
    return _Fields(*(jnp.asarray(x, jnp.float32) for x in flat))


@jax.jit
def _largest_margins(kept: Array, fields: _Fields) -> Array:
    """Errors [A] for these numbers of kept samples per dimension, [A]."""
    return jax.lax.map(lambda one: _largest_margin(one, fields), kept)


def _largest_margin(kept: Array, fields: _Fields) -> Scalar:
    """The error at the largest kappa; bisection around Newton's method."""

    def demand(student: Array, kappa: Array) -> Array:
        margin = student[0] * fields.along + student[1] * fields.aside
        x = kappa * jnp.sqrt(1 + student @ student) - margin
        # E[(x - h)_+^2] of a standard normal h.
        squares = (1 + x**2) * norm.cdf(x) + x * norm.pdf(x)
        return kept * jnp.sum(fields.weight * squares)

    def minimise(student: Array, kappa: Array) -> Array:
        def newton(state):
            student, _, steps = state
            slope = jax.grad(demand)(student, kappa)
            hessian = jax.hessian(demand)(student, kappa)
            ridge = (1e-6 * jnp.trace(hessian) + 1e-12) * jnp.eye(2)
            turn = jnp.linalg.solve(hessian + ridge, -slope)
            # Far below the largest kappa the minimum may lie at infinity.
            most = 0.5 * (1 + jnp.linalg.norm(student))
            turn = turn * jnp.minimum(1, most / jnp.linalg.norm(turn))
            return student + turn, jnp.linalg.norm(turn), steps + 1

        def unfinished(state):
            student, turn, steps = state
            return (turn > 1e-5 * (1 + jnp.linalg.norm(student))) & (steps < STEPS)

        start = (student, jnp.float32(jnp.inf), jnp.int32(0))
        return jax.lax.while_loop(unfinished, newton, start)[0]

    def halve(_, state):
        low, high, student = state
        middle = (low + high) / 2
        found = minimise(student, middle)
        reached = demand(found, middle) < 1
        low, high = jnp.where(reached, middle, low), jnp.where(reached, high, middle)
        return low, high, jnp.where(reached, student, found)

    start = (jnp.float32(0), 1 / jnp.sqrt(kept) + FAR, jnp.array([1.0, 0.0]))
    _, kappa, student = jax.lax.fori_loop(0, 30, halve, start)
    a, b = minimise(student, kappa)
    return jnp.arctan2(jnp.sqrt(1 + b**2), a) / jnp.pi


# --- Checks -------------------------------------------------------------------------


def _check_keep(keep: str) -> None:
    if keep not in KEEPS:
        raise UserError(f"unknown keep={keep!r}: choose one of {', '.join(KEEPS)}")


def _checked(alphas: Amounts, fraction: float, angle: float) -> list[float]:
    amounts = np.array(alphas, dtype=float)
    if amounts.ndim != 1 or not amounts.size or not np.isfinite(amounts).all():
        raise UserError(f"alphas={alphas} must be a list of finite numbers")
    if amounts.min() <= 0:
        raise UserError(f"alphas={alphas} must be positive: samples per dimension")
    if not 0 < fraction <= 1:
        raise UserError(f"fraction={fraction} must be above 0 and at most 1")
    if not 0 <= angle <= 90:
        raise UserError(f"angle={angle} must be between 0 and 90 degrees")
    return amounts.tolist()
