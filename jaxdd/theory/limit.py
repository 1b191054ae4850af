"""The error after pruning in the limit of many dimensions."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from scipy.special import erfinv

from jaxdd.theory.arguments import Amounts, check_keep, checked
from jaxdd.types import Array, Scalar

STEPS = 40  # of an iteration at most
NODES = 64  # of each Gauss-Legendre rule: 1 % at alpha = 1000, much less below
FAR = 7.0  # standard deviations beyond which a Gaussian is taken to be zero


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
        fraction: share of the samples that is kept, in (0, 1].
        keep: "easy", "hard" or "random".
        angle: between probe and teacher in degrees, in [0, 90].

    Raises:
        UserError: an argument is out of its range.

    Example:
        >>> errors = asymptotic_error([1.0, 20.0], 0.3, "easy")
        >>> [round(float(x), 2) for x in errors]
        [0.26, 0.04]
    """
    amounts = checked(alphas, fraction, angle)
    check_keep(keep)
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
    # With much data only nodes within about 1 / alpha of an end matter.
    for _ in range(2):
        x, weight = (3 * x - x**3) / 2, 1.5 * (1 - x**2) * weight
    centre = np.asarray((low + high) / 2)[..., None]
    half = np.asarray((high - low) / 2)[..., None]
    nodes = centre + half * x
    return nodes, half * weight * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)


def _kept_fields(fraction: float, keep: str, angle: float) -> _Fields:
    """Intervals end at the jumps of the integrand: a kept share, a label's change."""
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
        minimiser = minimise(student, middle)
        reached = demand(minimiser, middle) < 1
        low, high = jnp.where(reached, middle, low), jnp.where(reached, high, middle)
        return low, high, jnp.where(reached, student, minimiser)

    start = (jnp.float32(0), 1 / jnp.sqrt(kept) + FAR, jnp.array([1.0, 0.0]))
    _, kappa, student = jax.lax.fori_loop(0, 30, halve, start)
    a, b = minimise(student, kappa)
    return jnp.arctan2(jnp.sqrt(1 + b**2), a) / jnp.pi
