"""How synthetic images are parameterised."""

import jax

from jaxdd.types import Codes, Decoder, Key, Synthetic


def identity() -> Decoder:
    """The codes are the images themselves; labels and step size stay as they are.

    The labels and the step size travel with the codes behind a `stop_gradient`, so the
    image optimiser leaves them alone.
    """

    def init(key: Key, start: Synthetic) -> Codes:
        del key
        return start

    def decode(codes: Codes) -> Synthetic:
        return Synthetic(
            codes.images,
            jax.lax.stop_gradient(codes.labels),
            jax.lax.stop_gradient(codes.step_size),
        )

    return Decoder(init, decode)
