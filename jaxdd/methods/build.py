"""Methods as settings of the axes: read this second, after `types.py`.

`settings.METHODS` names the published combinations; `build` turns settings into a
method, one function per axis.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxdd import augment
from jaxdd.errors import UserError, quoted
from jaxdd.learners.fresh import fresh, in_passes
from jaxdd.learners.pools import pool, real_pool
from jaxdd.learners.spans import StartEpochs, spans
from jaxdd.methods.assembly import Extras, make_method
from jaxdd.methods.settings import METHODS, Settings
from jaxdd.modifiers.forgetting import forgetting
from jaxdd.modifiers.masks import TENSORS, Mask, kernels_only, make_mask
from jaxdd.modifiers.sdc import sdc
from jaxdd.modifiers.terms import WeightedTerm, weight_schedule
from jaxdd.nets import has_batch_statistics
from jaxdd.objectives import (
    Sampling,
    contrastive_match,
    feature_match,
    gradient_match,
    joint_feature_match,
    per_class,
    per_set,
    per_span,
    switch,
    trajectory_match,
)
from jaxdd.primitives import DISTANCES
from jaxdd.primitives.trees import global_norm
from jaxdd.synthetic.decoder import INPUT, make_decoder
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.optimizer import optimizer_of
from jaxdd.synthetic.sets import present
from jaxdd.training.fit import Training
from jaxdd.types import (
    Array,
    Codes,
    Decoder,
    Inputs,
    Key,
    LearnerSource,
    Method,
    MethodState,
    Network,
    Objective,
    Space,
    Synthetic,
)

__all__ = ["METHODS", "Settings", "build", "make_method"]


def choose(what: str, name: str, options: dict[str, Callable] | dict):
    """`options[name]`, or a UserError that lists them."""
    if name not in options:
        raise UserError(
            f"unknown {what} {quoted(name)}: choose one of {', '.join(options)}"
        )
    return options[name]


def terms_of(
    network: Network, settings: Settings, microbatch: int | None = None
) -> dict[str, WeightedTerm]:
    """The additive terms that the settings ask for."""
    schedule = weight_schedule(
        settings.sdc_schedule, settings.sdc_weight, settings.sdc_horizon
    )
    term = sdc(network, settings.sdc_norm, settings.sdc_at, microbatch)
    if settings.sdc_weight == 0:
        return {}
    return {"sdc": WeightedTerm(schedule, term, settings.sdc_relative)}


def mask_of(settings: Settings) -> Mask | None:
    """The mask that the settings ask for, None without one."""
    mask = make_mask(settings.mask, settings.mask_ratio, settings.mask_granularity)
    if settings.tensors not in TENSORS:
        raise UserError(
            f"unknown tensors {quoted(settings.tensors)}: choose one of "
            f"{', '.join(TENSORS)}"
        )
    return kernels_only(mask) if settings.tensors == "kernels" else mask


def formation_of(settings: Settings) -> Formation:
    """How many training images a stored image becomes."""
    return Formation(settings.factor, settings.formation, settings.batch_syn or 128)


def objective_of(
    network: Network, settings: Settings, microbatch: int | None = None
) -> Objective:
    """The objective that the settings ask for.

    Raises:
        UserError: an unknown name on one of the objective's axes.
    """
    if has_batch_statistics(network):
        microbatch = None  # samples interact
    pipeline = augment.pipeline(settings.augmentation)
    distance = choose("distance", settings.distance, DISTANCES)
    terms = terms_of(network, settings, microbatch)
    mask = mask_of(settings)
    sampling = Sampling(settings.batch_real, settings.batch_syn)
    remember = None
    if settings.segments > 1:
        remember = forgetting(settings.forgetting, settings.forgetting_weight)
    truncated = choose(
        "gradient", settings.gradient, {"exact": False, "truncated": True}
    )

    def gradient() -> Objective:
        match = gradient_match(
            network, distance, augment.siamese(pipeline), microbatch, mask
        )
        return per_class(match, sampling, terms, remember)

    def distribution() -> Objective:
        arguments = network, augment.siamese(pipeline), settings.features, mask
        if has_batch_statistics(network):
            # Classes share the statistics of one batch: none can be matched alone.
            joint = joint_feature_match(*arguments)
            return per_set(joint, sampling, terms, remember)
        return per_class(feature_match(*arguments), sampling, terms, remember)

    def trajectory() -> Objective:
        match = trajectory_match(
            network,
            augment.per_image(pipeline),
            settings.student_steps,
            settings.batch_syn,
            microbatch=microbatch,
            truncated=truncated,
            along_path=bool(terms) and settings.sdc_at == "path",
            mask=mask,
        )
        return per_span(match, terms, remember)

    def contrastive() -> Objective:
        match = contrastive_match(
            network,
            distance,
            augment.siamese(pipeline),
            microbatch,
            mask,
        )
        together = per_set(match, sampling, terms, remember)

        def warm(step):
            network_index, match_index = (
                step // settings.matches,
                step % settings.matches,
            )
            return (network_index >= settings.warmup_networks) | (
                match_index >= settings.warmup_matches
            )

        return switch(warm, gradient(), together)

    objectives = {
        "gradient": gradient,
        "contrastive": contrastive,
        "distribution": distribution,
        "trajectory": trajectory,
    }
    return choose("objective", settings.objective, objectives)()


def starts_of(settings: Settings) -> StartEpochs:
    """The start epochs that the settings ask for."""
    if settings.max_start is None:
        raise UserError("max_start has to be set before start epochs can be drawn")
    return StartEpochs(
        settings.min_start, settings.max_start, settings.first_start, settings.expansion
    )


def source_of(
    network: Network,
    settings: Settings,
    microbatch: int | None = None,
    experts: int | None = None,
) -> LearnerSource:
    """The learner source that the settings ask for."""
    name = settings.pool_augmentation
    trained = augment.training(settings.augmentation if name is None else name)
    training = Training(
        settings.inner_epochs,
        settings.network_lr,
        settings.network_momentum,
        settings.network_decay,
    )

    def of_spans() -> LearnerSource:
        if experts is None:
            raise UserError("trajectory matching needs a bank of experts")
        return spans(network, experts, starts_of(settings))

    sources = {
        "pool": lambda: pool(network, settings.matches, training, trained, microbatch),
        "real_pool": lambda: real_pool(
            network,
            settings.matches,
            replace(training, batch_size=settings.pool_batch),
            settings.pool_samples,
            trained,
            microbatch,
        ),
        "fresh": lambda: fresh(network),
        "spans": of_spans,
    }
    found = choose("learner source", settings.source, sources)()
    passes = choose(
        "sampling", settings.sampling, {"independent": False, "passes": True}
    )
    return in_passes(found) if passes else found


def decoder_of(settings: Settings, pixels: Space | None = None) -> Decoder:
    """The parameterisation that the settings ask for.

    Args:
        settings: a choice on every axis.
        pixels: the space of pixels, where images are stored as such; see
            `data.Preprocess.space`.
    """
    space = choose("space", settings.space, {"input": INPUT, "pixels": pixels})
    if space is None:
        raise UserError("storing pixels needs the space of the data's preprocessing")
    return make_decoder(settings.labels, formation_of(settings), space)


def extras_of(network: Network, settings: Settings) -> Extras:
    """Averages, teacher labels and clipped pixels, where the settings ask for them."""
    if settings.labels == "teacher" and settings.source != "spans":
        raise UserError("labels='teacher' need a method that matches trajectories")
    if settings.labels == "teacher" and (settings.factor, settings.space) != (
        1,
        "input",
    ):
        raise UserError(
            "labels='teacher' need whole images as the network sees them: use factor 1 "
            "and the input space"
        )

    def relabel(codes: Codes, inputs: Inputs) -> Codes:
        assert inputs.span is not None
        stored = codes.images.shape[:2]
        images = codes.images.reshape(-1, *codes.images.shape[2:])
        stats = network.init(jax.random.key(0))[1]
        outputs, _ = network.apply(inputs.span.target, stats, images, False)
        labels = jax.nn.softmax(outputs.logits).reshape(*stored, -1)
        # Slots without an image stay so.
        labels = jnp.where(present(codes.labels)[..., None], labels, 0)
        return codes._replace(labels=jax.lax.stop_gradient(labels))

    def clip(codes: Codes, step: Array) -> Codes:
        clipped = jnp.clip(codes.images, 0, 1)
        new_network = step % settings.matches == 0
        return codes._replace(images=jnp.where(new_network, clipped, codes.images))

    def prepare(codes: Codes, inputs: Inputs, step: Array) -> Codes:
        if settings.labels == "teacher":
            codes = relabel(codes, inputs)
        return clip(codes, step) if settings.space == "pixels" else codes

    return Extras(settings.ema_decay or None, prepare)


def build(
    network: Network,
    settings: Settings,
    microbatch: int | None = None,
    experts: int | None = None,
    pixels: Space | None = None,
) -> Method:
    """A method from its settings.

    Args:
        network: whose gradients, features or parameters are matched.
        settings: e.g. `METHODS["dsa"]`, or `presets.preset(...)`.
        microbatch: chunk length for gradients over a batch; ignored with batch norm,
            where samples interact.
        experts: how many the bank has, where trajectories are matched.
        pixels: the space of pixels, see `decoder_of`.

    Raises:
        UserError: an unknown name on an axis.

    Example:
        >>> from jaxdd.nets import make_network
        >>> method = build(make_network("mlp", (8, 8, 1), 3), METHODS["dsa"])
        >>> type(method).__name__
        'Method'
    """
    if settings.objective == "trajectory" and settings.source != "spans":
        raise UserError(
            "matching trajectories needs those of experts: the learner source spans"
        )
    return make_method(
        objective_of(network, settings, microbatch),
        source_of(network, settings, microbatch, experts),
        decoder_of(settings, pixels),
        optimizer_of(settings),
        extras_of(network, settings),
    )


def loss_at(
    network: Network,
    settings: Settings,
    microbatch: int | None = None,
    experts: int | None = None,
):
    """The objective on fixed draws, for comparing sets.

    Returns:
        (key, synthetic, inputs) -> [], the loss of a decoded set at step 0, at the
        network (a new one where they are trained between matches), the samples and the
        augmentation that the key draws. Pure, not jitted.
    """
    objective = objective_of(network, settings, microbatch)
    source = source_of(network, settings, microbatch, experts)

    def loss(key: Key, synthetic: Synthetic, inputs: Inputs):
        key_init, key_draw, key_match = jax.random.split(key, 3)
        learner = source.draw(key_draw, source.init(key_init), inputs)
        return objective(key_match, synthetic, learner, inputs, jnp.int32(0))[0]

    return loss


def term_share(
    network: Network,
    settings: Settings,
    microbatch: int | None = None,
    experts: int | None = None,
    pixels: Space | None = None,
):
    """How much of the image gradient comes from the terms, for looking now and then.

    Returns:
        (key, state, inputs) -> |terms| / (|match| + |terms|) in [0, 1], L2 norms of the
        gradients w.r.t. the images at the networks and samples that the key draws.
        Costs two steps. Pure, not jitted.
    """
    full = objective_of(network, settings, microbatch)
    bare = objective_of(network, replace(settings, sdc_weight=0.0), microbatch)
    source = source_of(network, settings, microbatch, experts)
    decoder = decoder_of(settings, pixels)

    def share(key: Key, state: MethodState, inputs: Inputs):
        key_draw, key_match = jax.random.split(key)
        learner = source.draw(key_draw, state.source, inputs)
        found = decoder.decode(state.codes)

        def images_gradient(objective: Objective):
            def loss(images):
                synthetic = found._replace(images=images)
                return objective(key_match, synthetic, learner, inputs, state.step)[0]

            return jax.grad(loss)(found.images)

        matched = images_gradient(bare)
        terms = global_norm(images_gradient(full) - matched)
        return terms / (terms + global_norm(matched))

    return share
