"""How synthetic images, labels and step size are parameterised."""

import jax

from jaxdd.types import Codes, Decoder, Key, Synthetic


def _init(key: Key, start: Synthetic) -> Codes:
    del key
    return start


def identity() -> Decoder:
    """The codes are the set itself: images, labels as probabilities, step size.

    Labels carry no gradient; whether the step size is learned is up to the optimiser.
    """

    def decode(codes: Codes) -> Synthetic:
        return codes._replace(labels=jax.lax.stop_gradient(codes.labels))

    return Decoder(_init, decode)


def soft_labels() -> Decoder:
    """The same with labels that are learned: the codes hold their logits.

    Source: DATM (Guo et al., ICLR 2024): softmax without a temperature.
    """

    def decode(codes: Codes) -> Synthetic:
        return codes._replace(labels=jax.nn.softmax(codes.labels))

    return Decoder(_init, decode)
