"""What the mask of a recipe leaves out of its match, as a sentence."""

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers import masks
from jaxdd.objectives.capabilities import MatchesPart
from jaxdd.primitives.trees import named_leaves
from jaxdd.types import Network


def describe_mask(
    network: Network, recipe: Recipe, image_shape: tuple[int, ...]
) -> str | None:
    """A sentence about what the mask drops of the parameters or features.

    Raises:
        UserError: it is asked for and drops nothing, or everything.
    """
    mask = None if recipe.mask is None else recipe.mask.make()
    if recipe.mask is None or mask is None:
        return None
    shapes = recipe.objective.matched(network, image_shape)
    example = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    counts = masks.describe(mask, example)
    if isinstance(recipe.objective, MatchesPart):
        # What is not matched anyway does not count.
        kept = recipe.objective.masking(None)
        matched = named_leaves(example if kept is None else kept(example))
        counts = {n: x for n, x in counts.items() if kept is None or matched[n].any()}
    dropped, total = (sum(x[i] for x in counts.values()) for i in (0, 1))
    if dropped == total:
        raise UserError(
            f"--mask_ratio={recipe.mask.ratio:g} leaves nothing to be matched: use a "
            "smaller one"
        )
    if recipe.mask.kind == "loss":
        return f"mask: the {dropped} of {total} entries with the smallest error"
    parts = [f"{name} {d}/{n}" for name, (d, n) in counts.items() if d]
    return f"mask: {dropped} of {total} entries are left out ({', '.join(parts)})"
