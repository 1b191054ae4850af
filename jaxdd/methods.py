"""Methods as settings of the axes: read this second, after `types.py`.

`make_method` composes any objective, learner source, decoder and optimiser;
`METHODS` names the published combinations; `build` turns settings into a method.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax

from jaxdd import augment
from jaxdd.decoders import identity
from jaxdd.errors import UserError
from jaxdd.learners import fresh, pool
from jaxdd.objectives import feature_match, gradient_match, per_class
from jaxdd.primitives import DISTANCES
from jaxdd.terms import WeightedTerm, sdc, weight_schedule
from jaxdd.train import Training
from jaxdd.trees import global_norm
from jaxdd.types import (
    Codes,
    Decoder,
    Info,
    Inputs,
    Key,
    LearnerSource,
    Method,
    MethodState,
    Network,
    Objective,
    Synthetic,
)


def make_method(
    objective: Objective,
    source: LearnerSource,
    decoder: Decoder,
    optimizer: optax.GradientTransformation,
) -> Method:
    """Compose a method from its axes.

    Returns:
        A Method. `step` is pure and not jitted; its info holds the objective's info,
        "loss" and "image_gradient" (the L2 norm of the gradient w.r.t. the codes).

    Example:
        >>> from jaxdd.nets import make_network
        >>> network = make_network("mlp", (8, 8, 1), 3)
        >>> match = feature_match(network, augment.siamese(()))
        >>> method = make_method(
        ...     per_class(match, 4), fresh(network), identity(), optax.sgd(1.0))
        >>> type(method).__name__
        'Method'
    """

    def init(key: Key, start: Synthetic) -> MethodState:
        key_codes, key_source = jax.random.split(key)
        codes = decoder.init(key_codes, start)
        state = MethodState(
            jnp.int32(0), codes, optimizer.init(codes), source.init(key_source)
        )
        # Weak types would make the second step compile again.
        return jax.tree.map(_strong, state)

    def step(key: Key, state: MethodState, inputs: Inputs) -> tuple[MethodState, Info]:
        key_draw, key_match, key_advance = jax.random.split(key, 3)
        learner = source.draw(key_draw, state.source, inputs)

        def loss_of(codes: Codes):
            synthetic = decoder.decode(codes)
            return objective(key_match, synthetic, learner, inputs, state.step)

        (loss, info), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.codes)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.codes
        )
        codes = optax.apply_updates(state.codes, updates)
        advanced = source.advance(
            key_advance, state.source, learner, decoder.decode(codes), inputs
        )
        info = {**info, "loss": loss, "image_gradient": global_norm(gradient)}
        return MethodState(state.step + 1, codes, optimizer_state, advanced), info

    def result(state: MethodState) -> Synthetic:
        return decoder.decode(state.codes)

    return Method(init, step, result)


def _strong(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)


@dataclass(frozen=True)
class Settings:
    """One choice on every axis. Defaults are DC's.

    Attributes:
        objective: "gradient" or "distribution".
        source: "pool" (trained on the synthetic set between matches) or "fresh".
        distance: of gradients, one of `primitives.DISTANCES`.
        augmentation: names joined by "_", as in `augment.dsa`, or "none"; Siamese in
            the match, per image in the pool's training.
        batch_real: real samples per class and step.
        matches: steps per network of the pool.
        inner_epochs: epochs of training on the synthetic set between two matches.
        network_lr: of that training.
        image_lr, image_momentum: SGD on the images.
        sdc_weight: weight of the difficulty correction; 0 leaves it out.
        sdc_norm: "mean" or "per_sample".
        sdc_schedule: "constant", "linear" or "log".
        sdc_horizon: step at which a rising schedule arrives.
        sdc_relative: measure the weight in units of the matching loss.
    """

    objective: str = "gradient"
    source: str = "pool"
    distance: str = "ours"
    augmentation: str = "none"
    batch_real: int = 256
    matches: int = 1
    inner_epochs: int = 1
    network_lr: float = 0.01
    image_lr: float = 0.1
    image_momentum: float = 0.5
    sdc_weight: float = 0.0
    sdc_norm: str = "mean"
    sdc_schedule: str = "constant"
    sdc_horizon: int = 1000
    sdc_relative: bool = False


# The published methods. What depends on dataset and ipc is in `presets.py`.
METHODS: dict[str, Settings] = {
    "dc": Settings(),
    "dsa": Settings(augmentation="color_crop_cutout_flip_scale_rotate"),
    "dm": Settings(
        objective="distribution",
        source="fresh",
        augmentation="color_crop_cutout_flip_scale_rotate",
        image_lr=1.0,
    ),
}


def choose(what: str, name: str, options: dict[str, Callable] | dict):
    """`options[name]`, or a UserError that lists them."""
    if name not in options:
        raise UserError(f"unknown {what} {name!r}: choose one of {', '.join(options)}")
    return options[name]


def terms_of(network: Network, settings: Settings) -> dict[str, WeightedTerm]:
    """The additive terms that the settings ask for."""
    schedule = weight_schedule(
        settings.sdc_schedule, settings.sdc_weight, settings.sdc_horizon
    )
    term = sdc(network, settings.sdc_norm)
    if settings.sdc_weight == 0:
        return {}
    return {"sdc": WeightedTerm(schedule, term, settings.sdc_relative)}


def objective_of(
    network: Network, settings: Settings, microbatch: int | None = None
) -> Objective:
    """The objective that the settings ask for.

    Raises:
        UserError: an unknown objective, distance, norm, schedule or augmentation.
    """
    siamese = augment.siamese(augment.dsa(settings.augmentation))
    distance = choose("distance", settings.distance, DISTANCES)
    match = choose(
        "objective",
        settings.objective,
        {
            "gradient": lambda: gradient_match(network, distance, siamese, microbatch),
            "distribution": lambda: feature_match(network, siamese),
        },
    )()
    return per_class(match, settings.batch_real, terms_of(network, settings))


def build(
    network: Network, settings: Settings, microbatch: int | None = None
) -> Method:
    """A method from its settings.

    Args:
        network: whose gradients or features are matched.
        settings: e.g. `METHODS["dsa"]`, or `presets.preset(...)`.
        microbatch: chunk length for gradients over a batch; not with batch norm.

    Raises:
        UserError: an unknown name on an axis.

    Example:
        >>> from jaxdd.nets import make_network
        >>> method = build(make_network("mlp", (8, 8, 1), 3), METHODS["dsa"])
        >>> type(method).__name__
        'Method'
    """
    optimizer = optax.sgd(settings.image_lr, momentum=settings.image_momentum)
    return make_method(
        objective_of(network, settings, microbatch),
        source_of(network, settings),
        identity(),
        optimizer,
    )


def source_of(network: Network, settings: Settings) -> LearnerSource:
    """The learner source that the settings ask for."""
    per_image = augment.per_image(augment.dsa(settings.augmentation))
    training = Training(settings.inner_epochs, settings.network_lr)
    return choose(
        "learner source",
        settings.source,
        {
            "pool": lambda: pool(network, settings.matches, training, per_image),
            "fresh": lambda: fresh(network),
        },
    )()


def term_share(network: Network, settings: Settings, microbatch: int | None = None):
    """How much of the image gradient comes from the terms, for looking now and then.

    Returns:
        (key, state, inputs) -> |terms| / (|match| + |terms|) in [0, 1], L2 norms of the
        gradients w.r.t. the images at the networks and samples that the key draws.
        Costs two steps. Pure, not jitted.
    """
    full = objective_of(network, settings, microbatch)
    bare = objective_of(network, replace(settings, sdc_weight=0.0), microbatch)
    source = source_of(network, settings)

    def share(key: Key, state: MethodState, inputs: Inputs):
        key_draw, key_match = jax.random.split(key)
        learner = source.draw(key_draw, state.source, inputs)

        def images_gradient(objective: Objective):
            def loss(images):
                synthetic = state.codes._replace(images=images)
                return objective(key_match, synthetic, learner, inputs, state.step)[0]

            return jax.grad(loss)(state.codes.images)

        matched = images_gradient(bare)
        terms = global_norm(images_gradient(full) - matched)
        return terms / (terms + global_norm(matched))

    return share
