"""Methods as settings of the axes: read this second, after `types.py`.

`settings.METHODS` names the published combinations; `build` turns settings into a
method, one function per axis.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import optax

from jaxdd import augment
from jaxdd.assembly import Extras, make_method
from jaxdd.decoders import identity, soft_labels
from jaxdd.errors import UserError
from jaxdd.learners import StartEpochs, fresh, pool, spans
from jaxdd.masks import Mask, make_mask
from jaxdd.nets import has_batch_statistics
from jaxdd.objectives import (
    contrastive_match,
    feature_match,
    gradient_match,
    per_class,
    per_set,
    per_span,
    switch,
    trajectory_match,
)
from jaxdd.primitives import DISTANCES
from jaxdd.settings import METHODS, Settings
from jaxdd.terms import WeightedTerm, sdc, weight_schedule
from jaxdd.train import Training
from jaxdd.trees import global_norm
from jaxdd.types import (
    Codes,
    Decoder,
    Inputs,
    Key,
    LearnerSource,
    Method,
    MethodState,
    Network,
    Objective,
    Synthetic,
)

__all__ = ["METHODS", "Settings", "build", "make_method"]

STEP_SIZE_MOMENTUM = 0.5  # of every trajectory method


def choose(what: str, name: str, options: dict[str, Callable] | dict):
    """`options[name]`, or a UserError that lists them."""
    if name not in options:
        raise UserError(f"unknown {what} {name!r}: choose one of {', '.join(options)}")
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
    return make_mask(settings.mask, settings.mask_ratio, settings.mask_granularity)


def objective_of(
    network: Network, settings: Settings, microbatch: int | None = None
) -> Objective:
    """The objective that the settings ask for.

    Raises:
        UserError: an unknown name on one of the objective's axes.
    """
    if has_batch_statistics(network):
        microbatch = None  # samples interact
    pipeline = augment.dsa(settings.augmentation)
    distance = choose("distance", settings.distance, DISTANCES)
    terms = terms_of(network, settings, microbatch)
    mask = mask_of(settings)
    truncated = choose(
        "gradient", settings.gradient, {"exact": False, "truncated": True}
    )

    def gradient() -> Objective:
        match = gradient_match(
            network, distance, augment.siamese(pipeline), microbatch, mask
        )
        return per_class(match, settings.batch_real, terms)

    def distribution() -> Objective:
        match = feature_match(
            network, augment.siamese(pipeline), settings.features, mask
        )
        return per_class(match, settings.batch_real, terms)

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
        return per_span(match, terms)

    def contrastive() -> Objective:
        match = contrastive_match(
            network,
            distance,
            augment.siamese(pipeline),
            settings.batch_real,
            microbatch,
            mask,
        )
        together = per_set(match, terms)

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
    network: Network, settings: Settings, experts: int | None = None
) -> LearnerSource:
    """The learner source that the settings ask for."""
    per_image = augment.per_image(augment.dsa(settings.augmentation))
    training = Training(settings.inner_epochs, settings.network_lr)

    def of_spans() -> LearnerSource:
        if experts is None:
            raise UserError("trajectory matching needs a bank of experts")
        return spans(network, experts, starts_of(settings))

    sources = {
        "pool": lambda: pool(network, settings.matches, training, per_image),
        "fresh": lambda: fresh(network),
        "spans": of_spans,
    }
    return choose("learner source", settings.source, sources)()


def decoder_of(settings: Settings) -> Decoder:
    """Learned labels are logits, all others probabilities."""
    decoders = {"hard": identity, "soft": soft_labels, "teacher": identity}
    return choose("labels", settings.labels, decoders)()


def optimizer_of(settings: Settings) -> optax.GradientTransformationExtraArgs:
    """One SGD for the images, one for the labels, one for the step size.

    With a gate, a step whose matching loss lies above it changes neither them nor their
    momentum (DATM). A loss that is not a number is not gated: it ends the run.
    """

    def sgd(rate: float, momentum: float) -> optax.GradientTransformation:
        return optax.sgd(rate, momentum=momentum) if rate else optax.set_to_zero()

    parts = Synthetic(
        sgd(settings.image_lr, settings.image_momentum),
        sgd(settings.label_lr if settings.labels == "soft" else 0.0,
            settings.label_momentum),
        sgd(settings.step_size_lr, STEP_SIZE_MOMENTUM),
    )  # fmt: skip
    names: Any = Synthetic._fields
    whole = optax.partition(parts._asdict(), Synthetic(*names))
    if not settings.gate:
        return whole
    return optax.conditionally_mask(
        whole, lambda step, value: value <= settings.gate, forward_extra_args=True
    )


def extras_of(network: Network, settings: Settings) -> Extras:
    """Averages and teacher labels, where the settings ask for them."""
    decay = settings.ema_decay or None
    if settings.labels != "teacher":
        return Extras(decay)
    if settings.source != "spans":
        raise UserError("labels='teacher' need a method that matches trajectories")

    def relabel(codes: Codes, inputs: Inputs) -> Codes:
        assert inputs.span is not None
        classes, n = codes.labels.shape[:2]
        images = codes.images.reshape(classes * n, *codes.images.shape[2:])
        stats = network.init(jax.random.key(0))[1]
        outputs, _ = network.apply(inputs.span.target, stats, images, False)
        labels = jax.nn.softmax(outputs.logits).reshape(classes, n, -1)
        return codes._replace(labels=jax.lax.stop_gradient(labels))

    return Extras(decay, relabel)


def build(
    network: Network,
    settings: Settings,
    microbatch: int | None = None,
    experts: int | None = None,
) -> Method:
    """A method from its settings.

    Args:
        network: whose gradients, features or parameters are matched.
        settings: e.g. `METHODS["dsa"]`, or `presets.preset(...)`.
        microbatch: chunk length for gradients over a batch; ignored with batch norm,
            where samples interact.
        experts: how many the bank has, where trajectories are matched.

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
        source_of(network, settings, experts),
        decoder_of(settings),
        optimizer_of(settings),
        extras_of(network, settings),
    )


def term_share(
    network: Network,
    settings: Settings,
    microbatch: int | None = None,
    experts: int | None = None,
):
    """How much of the image gradient comes from the terms, for looking now and then.

    Returns:
        (key, state, inputs) -> |terms| / (|match| + |terms|) in [0, 1], L2 norms of the
        gradients w.r.t. the images at the networks and samples that the key draws.
        Costs two steps. Pure, not jitted.
    """
    full = objective_of(network, settings, microbatch)
    bare = objective_of(network, replace(settings, sdc_weight=0.0), microbatch)
    source = source_of(network, settings, experts)
    decoder = decoder_of(settings)

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
