"""Pytrees: norms with a derivative at zero, typed sums, named leaves.

`vdot` and `select` exist in `optax.tree` too (as `vdot` and `where`); here sums keep
the dtype of the leaves, also of an empty tree, and `select` takes typed keys.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.types import Array, Scalar


def safe_sqrt(x: Array) -> Array:
    """Square root whose derivative at zero is zero instead of infinite.

    What is no number stays none.
    """
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def in_dtypes(tree, primals):
    """Cotangents in the dtypes of their primals, which JAX asks of a derivative rule.

    Example:
        >>> in_dtypes(jnp.ones(2), jnp.ones(2, jnp.bfloat16)).dtype
        dtype(bfloat16)
    """
    cast = lambda x, primal: x.astype(jnp.result_type(primal))
    return jax.tree.map(cast, tree, primals)


def vary_alike(*trees):
    """The same trees; inside a `jax.shard_map` all vary along the same mesh axes.

    A derivative rule of one's own would else have to sum cotangents over the devices
    for arguments that are the same on all of them, such as hard labels: JAX does that
    for arguments that it made vary.
    """
    along = [_varying(x) for x in jax.tree.leaves(trees)]
    axes = frozenset().union(*along)
    if not axes:
        return trees

    def cast(x: Any) -> Any:
        missing = tuple(axes - _varying(x))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, trees)


def _varying(x: Any) -> frozenset[str]:
    """The axes of a mesh along which a value varies inside a `shard_map`."""
    if not isinstance(x, jax.core.Tracer):
        return frozenset()
    of_mesh = getattr(jax.typeof(x), "manual_axis_type", None)
    return getattr(of_mesh, "varying", frozenset())


def total(tree) -> Scalar:
    """Sum of all entries of all leaves, in their dtype; zero for an empty tree."""
    sums = [jnp.sum(x) for x in jax.tree.leaves(tree)]
    # An untyped zero would promote float32 to float64 if JAX has both.
    return sum(sums, start=jnp.zeros((), jnp.result_type(*sums or (jnp.float32,))))


def aligned(x: Array | np.ndarray, like: Array | np.ndarray) -> Array:
    """x with leading axes of length one, so that it has as many axes as `like`.

    Broadcasting would do the same implicitly; this call makes it explicit.
    """
    return jnp.expand_dims(x, tuple(range(like.ndim - x.ndim)))


def global_norm(tree) -> Scalar:
    """L2 norm over all leaves; its gradient at the zero tree is zero, not NaN."""
    return safe_sqrt(total(jax.tree.map(jnp.square, tree)))


def vdot(a, b) -> Scalar:
    """Inner product of two trees of the same structure."""
    return total(jax.tree.map(jnp.multiply, a, b))


def select(predicate: Array, on_true, on_false):
    """Leafwise `where` with one scalar predicate; typed keys pass through."""
    return jax.tree.map(lambda t, f: jnp.where(predicate, t, f), on_true, on_false)


def named_leaves(tree) -> dict[str, Any]:
    """Leaves by path, e.g. {"block0/conv/kernel": ...}, in tree order."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in leaves}


def from_named_leaves(like, named: Mapping[str, Any]):
    """The inverse of `named_leaves`; `like` gives the structure.

    Raises:
        KeyError: a leaf is not in `named`; its message is the path.
    """
    return jax.tree.unflatten(
        jax.tree.structure(like), [named[name] for name in named_leaves(like)]
    )


def apply_mask(mask, tree):
    """Multiply every leaf by its mask; entries that are masked out become zero.

    Example:
        >>> mask = {"a": jnp.float32(0), "b": jnp.float32(1)}
        >>> masked = apply_mask(mask, {"a": jnp.ones(2), "b": jnp.ones(1)})
        >>> masked["a"].tolist(), masked["b"].tolist()
        ([0.0, 0.0], [1.0])
    """
    return jax.tree.map(lambda m, x: m * x, mask, tree)
