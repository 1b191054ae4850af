"""Random recipes: the parts of several methods together, and choices at random.

A recipe is traced through two steps, or refused in a sentence; nothing is compiled.
"""

import random
import traceback
from collections import Counter

import jax

from jaxdd.errors import UserError
from jaxdd.fields import flags_of, flat, override
from jaxdd.methods.build import build
from jaxdd.methods.recipe import Recipe
from tests.toy_methods import (
    CONTEXT,
    EARLIER,
    INPUTS,
    NETWORK,
    NORMED,
    STEPPING,
    start_for,
    toy_recipe,
    toy_teacher,
)

# Choices by name, and those between true and false.
CHOICES = {
    name: tuple(flag.field.metadata["choices"] or (False, True))
    for name, flag in flags_of(Recipe).items()
    if flag.field.metadata.get("choices") or flag.field.type is bool
}
# Flags with which each of them acts.
MODIFIERS = {
    "sdc": {"sdc_weight": 0.5},
    "mask": {"mask": "depth", "mask_ratio": 0.4},
    "segments": {"segments": 2},
}
# How often a modifier is there, a choice is another than the method's, and learners and
# labels are those of the objective's method.
MODIFIED, CHOSEN, ALIKE = 0.4, 0.1, 0.8
KEY = jax.random.key(0)


def composed(draw: random.Random) -> Recipe:
    """A recipe at random.

    Raises:
        UserError: its parts exclude each other.
    """
    first, second, third = (toy_recipe(draw.choice(list(STEPPING))) for _ in range(3))
    recipe = Recipe(
        first.objective,
        (first if draw.random() < ALIKE else second).learner,
        third.images,
        (first if draw.random() < ALIKE else third).labels,
    )
    there = flat(recipe)
    flags = {
        name: draw.choice(values)
        for name, values in sorted(CHOICES.items())
        if name in there and draw.random() < CHOSEN
    }
    for modifier, opened in MODIFIERS.items():
        if draw.random() < MODIFIED:
            own = [x for x in CHOICES if flags_of(Recipe)[x].path == (modifier,)]
            flags |= opened
            flags |= {x: draw.choice(CHOICES[x]) for x in sorted(own)}
    return override(recipe, flags)


def trace(recipe: Recipe) -> None:
    """Two steps in the abstract, of a later segment where there are several."""
    network = NORMED if recipe.taught else NETWORK
    inputs = INPUTS._replace(teacher=toy_teacher() if recipe.taught else None)
    segments = recipe.segments
    if segments is not None and recipe.count > 1 and not segments.boosts:
        span = inputs.span._replace(whole=inputs.span.target)
        inputs = inputs._replace(earlier=EARLIER.earlier, span=span)
    if recipe.knows_classes:
        known = jax.tree.map(lambda x: x[None].repeat(3, 0), inputs.teacher.stats)
        inputs = inputs._replace(class_moments=known)
    method = build(network, recipe, CONTEXT)

    def steps(key):
        state = method.init(key, start_for(recipe))
        for _ in range(2):
            state, info = method.step(key, state, inputs)
        return method.result(state), info

    jax.eval_shape(steps, KEY)


def faults(count: int, first: int = 0) -> tuple[Counter, list[str]]:
    """Try recipes number `first` and on.

    Returns:
        How many were "traced", "refused" when they were composed or "unfit" when they
        were traced, or a "fault"; and the faults in words.
    """
    kinds: Counter = Counter()
    told = []
    for number in range(first, first + count):
        recipe = None
        try:
            recipe = composed(random.Random(number))
            trace(recipe)
            kinds["traced"] += 1
        except UserError as error:
            kinds["refused" if recipe is None else "unfit"] += 1
            if "\n" in str(error):
                told.append(f"{number}: {error}")
        except Exception as error:
            kinds["fault"] += 1
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.filename}:{frame.lineno}"
            told.append(f"{number}: {error!r:.300} at {where} of {recipe}")
    return kinds, told
