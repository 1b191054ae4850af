"""The composition of a method from its axes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd.primitives.trees import global_norm
from jaxdd.types import (
    Array,
    Codes,
    Decoder,
    Info,
    Inputs,
    Key,
    LearnerSource,
    Method,
    MethodState,
    Objective,
    Synthetic,
)


class Extras(NamedTuple):
    """Options of a method beside its axes.

    Attributes:
        ema_decay: the decay of a moving average, which then is the result; with None
            the result is the images themselves.
        ema_of: what is averaged: the "images" (FTD), or "all" codes, without a weight
            for where they started (RCIG).
        prepare: (codes, inputs, step) -> codes, called before every match (TESLA's
            teacher labels, IDC's clamping).
        finish: (codes) -> codes, called after every update (SRe2L's clamping).
    """

    ema_decay: float | None = None
    ema_of: str = "images"
    prepare: Callable[[Codes, Inputs, Array], Codes] = lambda codes, inputs, step: codes
    finish: Callable[[Codes], Codes] = lambda codes: codes


def make_method(
    objective: Objective,
    source: LearnerSource,
    decoder: Decoder,
    optimizer: optax.GradientTransformation,
    extras: Extras = Extras(),  # noqa: B008 - immutable
) -> Method:
    """Compose a method from its axes.

    Args:
        objective: the loss that is minimised.
        source: the origin of the networks.
        decoder: the parameterisation of the set.
        optimizer: the optimiser of all codes: images, labels and the step size. One
            that moves what has no gradient (weight decay, noise) is kept to the images
            by `optax.masked(optimizer, Synthetic(True, False, False))`. Its `update`
            gets the matching loss as `value`: the objective's "match", or the whole
            loss where info has none.
        extras: further options.

    Returns:
        A Method. `step` is pure and not jitted; its info holds the objective's info,
        "loss", "image_gradient" (the L2 norm of the gradient w.r.t. the codes) and
        "update" (the norm of their change: 0 where a gate was shut).

    Example:
        >>> import jaxdd
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3)
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> method = make_method(
        ...     jaxdd.per_class(match, jaxdd.Sampling(4)),
        ...     jaxdd.learners.fresh.fresh(network),
        ...     jaxdd.make_decoder(), optax.sgd(1.0))
        >>> type(method).__name__
        'Method'
    """
    update = optax.with_extra_args_support(optimizer).update

    def init(key: Key, start: Synthetic) -> MethodState:
        key_codes, key_source = jax.random.split(key)
        # A copy: the buffers of a state may be donated, and the caller keeps the start.
        codes = jax.tree.map(jnp.copy, decoder.init(key_codes, start))
        average = () if extras.ema_decay is None else jax.tree.map(jnp.copy, codes)
        state = MethodState(
            jnp.int32(0),
            codes,
            optimizer.init(codes),
            source.init(key_source),
            average,
        )
        # Weak types would make the second step compile again.
        return jax.tree.map(_strong, state)

    def step(key: Key, state: MethodState, inputs: Inputs) -> tuple[MethodState, Info]:
        key_draw, key_match, key_advance = jax.random.split(key, 3)
        if source.order is not None:
            inputs = inputs._replace(order=source.order(state.source))
        learner = source.draw(key_draw, state.source, inputs)
        codes = extras.prepare(state.codes, inputs, state.step)

        def loss_of(codes: Codes):
            synthetic = decoder.decode(codes)
            return objective(key_match, synthetic, learner, inputs, state.step)

        (loss, info), gradient = jax.value_and_grad(loss_of, has_aux=True)(codes)
        updates, optimizer_state = update(
            gradient, state.optimizer, codes, value=info.get("match", loss)
        )
        updates = _at_rates(updates, inputs.rates)
        codes = extras.finish(optax.apply_updates(codes, updates))
        advanced = source.advance(
            key_advance, state.source, learner, decoder.decode(codes), inputs
        )
        average = state.average
        if extras.ema_decay is not None:
            moved = _moved if extras.ema_of == "images" else _moved_all
            average = moved(average, codes, extras.ema_decay, state.step)
        info = {
            **info,
            "loss": loss,
            "image_gradient": global_norm(gradient),
            "update": global_norm(updates),
        }
        new = MethodState(state.step + 1, codes, optimizer_state, advanced, average)
        return new, info

    def chosen(state: MethodState) -> Codes:
        return state.codes if extras.ema_decay is None else state.average

    def result(state: MethodState) -> Synthetic:
        return decoder.decode(chosen(state))

    def stored(state: MethodState) -> Synthetic:
        return decoder.stored(chosen(state))

    return Method(init, step, result, stored)


def _at_rates(updates: Codes, rates: Array | None) -> Codes:
    """Updates of images and labels, scaled slot by slot."""
    if rates is None:
        return updates

    def scaled(x: Array) -> Array:
        return x * rates.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 2))

    return updates._replace(
        images=scaled(updates.images), labels=scaled(updates.labels)
    )


def _moved_all(average: Codes, codes: Codes, decay: float, step: Array) -> Codes:
    """The average of all codes after a step, corrected for its start at zero.

    That of the first t codes has weights in proportion to decay^(t - i), which is a
    mean with a share of the newest that falls from 1 to 1 - decay.
    """
    share = (1 - decay) / (1 - decay ** (step + 1))
    return jax.tree.map(
        lambda a, x: a + (share * (x - a)).astype(a.dtype), average, codes
    )


def _moved(average: Codes, codes: Codes, decay: float, step: Array) -> Codes:
    """The average after a step: FTD averages the images, the rest is the newest."""
    del step
    images = jax.tree.map(
        lambda a, x: decay * a + (1 - decay) * x, average.images, codes.images
    )
    return codes._replace(images=images)


def _strong(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    return jax.lax.convert_element_type(x, x.dtype)
