"""From a recipe to a method: each choice makes its part of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.errors import UserError, quoted
from jaxdd.learners.context import Context
from jaxdd.learners.lessons import after_lessons
from jaxdd.learners.passes import in_passes
from jaxdd.methods.assembly import Extras, make_method
from jaxdd.methods.recipe import Recipe
from jaxdd.nets import has_batch_statistics
from jaxdd.objectives.capabilities import DrawsSamples, LearnsStepSize, TrainsStudent
from jaxdd.objectives.parts import MODIFIERS, Offered
from jaxdd.primitives.trees import global_norm
from jaxdd.synthetic.decoder import INPUT, make_decoder
from jaxdd.synthetic.images import Images
from jaxdd.synthetic.labels import TeacherLabels
from jaxdd.synthetic.optimizer import make_optimizer
from jaxdd.types import (
    Array,
    Codes,
    Decoder,
    Info,
    Inputs,
    Key,
    Learner,
    LearnerSource,
    Method,
    MethodState,
    Network,
    Objective,
    Scalar,
    Space,
    Synthetic,
)

ANYWHERE = Context()


def objective_of(
    network: Network, recipe: Recipe, context: Context = ANYWHERE
) -> Objective:
    """The objective of a recipe, with its terms, its mask and what it remembers.

    Returns:
        The objective. When it is traced, it raises `UserError` if it has not looked at
        a modifier of the recipe.
    """
    parts = recipe.parts(network, _microbatch(network, context))
    offered = Offered(**parts._asdict())
    objective = recipe.objective.make(network, offered)

    def attentive(
        key: Key, synthetic: Synthetic, learner: Learner, inputs: Inputs, step: Array
    ) -> tuple[Scalar, Info]:
        value = objective(key, synthetic, learner, inputs, step)
        for name in offered.ignored:
            who = quoted(recipe.objective.name)
            raise UserError(
                f"{MODIFIERS[name]} would change nothing: the objective {who} does not "
                f"look at parts.{name}; leave it out, or let the match take it"
            )
        return value

    return attentive


def _microbatch(network: Network, context: Context) -> int | None:
    """The chunk length of gradients.

    With batch norm samples interact: a batch cannot be cut into chunks.
    """
    return None if has_batch_statistics(network) else context.microbatch


def source_of(
    network: Network, recipe: Recipe, context: Context = ANYWHERE
) -> LearnerSource:
    """The learner source of a recipe.

    Raises:
        UserError: segments are to be learned by networks that do not begin anew.
    """
    objective = recipe.objective
    context = context._replace(as_targets=recipe.as_targets)
    if isinstance(objective, TrainsStudent):
        parts = recipe.parts(network, _microbatch(network, context))
        student = objective.student(network, parts)
        context = context._replace(student=student)
    source = recipe.learner.make(network, context, objective.augmentation)
    segments = recipe.segments
    if segments is not None and segments.teaches:
        augment = augmentations.training(objective.augmentation)
        lessons = segments.lessons()
        microbatch = context.microbatch
        source = after_lessons(source, network, lessons, augment, microbatch)
    in_order = isinstance(objective, DrawsSamples) and objective.sampling == "passes"
    return in_passes(source) if in_order else source


def decoder_of(recipe: Recipe, context: Context = ANYWHERE) -> Decoder:
    """The decoder of a recipe."""
    objective, space = recipe.objective, recipe.images.stored_in(context.pixels)
    positive = isinstance(objective, LearnsStepSize) and objective.log_step_size
    return make_decoder(recipe.labels.name, recipe.formation, space, positive)


def extras_of(network: Network, recipe: Recipe, context: Context = ANYWHERE) -> Extras:
    """The average, an expert's labels and clipped pixels, where the recipe has them.

    Raises:
        UserError: pixels are to be clipped and their space is not known.
    """
    images, labels, matches = recipe.images, recipe.labels, recipe.learner.matches
    relabel = None
    if isinstance(labels, TeacherLabels) and recipe.relabels:
        relabel = labels.relabel(network)

    def clip(codes: Codes, step: Array) -> Codes:
        clipped = jnp.clip(codes.images, 0, 1)
        now = (step % matches == 0) | (images.clipping == "step")
        return codes._replace(images=jnp.where(now, clipped, codes.images))

    def prepare(codes: Codes, inputs: Inputs, step: Array) -> Codes:
        if relabel is not None:
            codes = relabel(codes, inputs)
        before = images.space == "pixels" and images.clipping != "update"
        return clip(codes, step) if before else codes

    extras = Extras(images.ema_decay or None, images.ema_of, prepare)
    if images.clipping != "update":
        return extras
    return extras._replace(finish=_clipped(images, context.pixels))


def _clipped(images: Images, pixels: Space | None) -> Callable[[Codes], Codes]:
    """Codes -> codes whose pixels lie in [0, 1], however images are stored."""
    if pixels is None:
        raise UserError("clipping pixels needs the space of the data's preprocessing")
    space = INPUT if images.space == "pixels" else pixels

    def clip(codes: Codes) -> Codes:
        within = jnp.clip(space.encode(codes.images), 0, 1)
        return codes._replace(images=space.decode(within))

    return clip


def build(network: Network, recipe: Recipe, context: Context = ANYWHERE) -> Method:
    """A method from its recipe.

    Args:
        network: whose gradients, features or parameters are matched.
        recipe: e.g. `METHODS["dsa"]`, or `preset(...).recipe`.
        context: chunk length, number of experts, and the space of pixels.

    Raises:
        UserError: the recipe needs experts or pixels that the context lacks.

    Example:
        >>> import jaxdd
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3)
        >>> method = build(network, jaxdd.METHODS["dsa"])
        >>> start = jaxdd.Synthetic(
        ...     jnp.zeros((3, 1, 8, 8, 1)), jnp.eye(3)[:, None], jnp.float32(0))
        >>> int(method.init(jax.random.key(0), start).step)
        0
    """
    images, labels, objective = recipe.images, recipe.labels, recipe.objective
    of_step_size = None
    if isinstance(objective, LearnsStepSize):
        of_step_size = objective.step_size_updates()
    return make_method(
        objective_of(network, recipe, context),
        source_of(network, recipe, context),
        decoder_of(recipe, context),
        make_optimizer(
            images.updates(), labels.updates(images), of_step_size, images.gate
        ),
        extras_of(network, recipe, context),
    )


def loss_at(
    network: Network, recipe: Recipe, context: Context = ANYWHERE
) -> Callable[[Key, Synthetic, Inputs], Array]:
    """The objective on fixed draws, for comparing sets.

    Returns:
        (key, synthetic, inputs) -> [], the loss of a decoded set at step 0, at the
        network (a new one where they are trained between matches), the samples and the
        augmentation that the key draws. Pure, not jitted.
    """
    objective = objective_of(network, recipe, context)
    source = source_of(network, recipe, context)

    def loss(key: Key, synthetic: Synthetic, inputs: Inputs) -> Array:
        key_init, key_draw, key_match = jax.random.split(key, 3)
        learner = source.draw(key_draw, source.init(key_init), inputs)
        return objective(key_match, synthetic, learner, inputs, jnp.int32(0))[0]

    return loss


def term_share(
    network: Network, recipe: Recipe, context: Context = ANYWHERE
) -> Callable[[Key, MethodState, Inputs], Array]:
    """How much of the image gradient comes from the terms, for looking now and then.

    Returns:
        (key, state, inputs) -> |terms| / (|match| + |terms|) in [0, 1], L2 norms of the
        gradients w.r.t. the images at the networks and samples that the key draws.
        Costs two steps. Pure, not jitted.
    """
    full = objective_of(network, recipe, context)
    bare = objective_of(network, recipe.without_terms(), context)
    source = source_of(network, recipe, context)
    decoder = decoder_of(recipe, context)

    def share(key: Key, state: MethodState, inputs: Inputs) -> Array:
        key_draw, key_match = jax.random.split(key)
        learner = source.draw(key_draw, state.source, inputs)
        decoded = decoder.decode(state.codes)

        def images_gradient(objective: Objective):
            def loss(images):
                synthetic = decoded._replace(images=images)
                return objective(key_match, synthetic, learner, inputs, state.step)[0]

            return jax.grad(loss)(decoded.images)

        matched = images_gradient(bare)
        terms = global_norm(images_gradient(full) - matched)
        return terms / (terms + global_norm(matched))

    return share
