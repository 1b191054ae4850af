"""The parameterisation of synthetic images, labels and step size.

Three choices are independent: how many training images a stored image holds (a
`Formation`), in which space images are stored (a `types.Space`), and whether labels are
learned.
"""

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.primitives.losses import present
from jaxdd.synthetic.formation import Formation, form, form_labels
from jaxdd.types import Array, Codes, Decoder, Key, Space, Synthetic

# Logit of a slot without an image: far below any learned logit, yet finite, so that the
# gradient of its softmax is zero instead of NaN.
ABSENT = -1e30

# Labels that a decoder knows.
DECODED = ("hard", "teacher", "soft", "targets", "weights")

# The stored images are the inputs of the network.
INPUT = Space(lambda images: images, lambda images: images, 0.0)


def make_decoder(
    labels: str = "hard",
    formation: Formation = Formation(),  # noqa: B008 - immutable
    space: Space = INPUT,
    positive: bool = False,
) -> Decoder:
    """A decoder whose codes are a Synthetic: images, labels, step size.

    Args:
        labels: "hard" or "teacher" for probabilities without a gradient; "soft" for
            learned logits (DATM, Guo et al., ICLR 2024: softmax without a temperature);
            "targets" or "weights" for numbers that are learned as they are.
        formation: the training images in a stored image.
        space: the space in which images are stored.
        positive: whether the code of the step size is its logarithm, so that it stays
            positive however it is updated (RCIG's inverse temperature).

    Raises:
        UserError: `labels` is another text.

    Example:
        >>> decoder = make_decoder(formation=Formation(2))
        >>> start = Synthetic(
        ...     jnp.zeros((3, 1, 8, 8, 1)), jnp.eye(3)[:, None], jnp.float32(0))
        >>> decoder.decode(decoder.init(jax.random.key(0), start)).labels.shape
        (3, 4, 3)
    """
    if labels not in DECODED:
        raise UserError(
            f"unknown labels {quoted(labels)}: choose one of {', '.join(DECODED)}"
        )

    def decoded(codes: Codes) -> Array:
        if labels in ("hard", "teacher"):
            return jax.lax.stop_gradient(codes.labels)
        if labels == "soft":
            is_image = jnp.max(codes.labels, axis=-1, keepdims=True) > ABSENT / 2
            return jnp.where(is_image, jax.nn.softmax(codes.labels), 0)
        # Padding stays 0, whatever a loss makes of it.
        return jnp.where(present(codes.labels)[..., None], codes.labels, 0)

    def init(key: Key, start: Synthetic) -> Codes:
        del key
        scalar = jnp.log(start.step_size) if positive else start.step_size
        return start._replace(images=space.encode(start.images), step_size=scalar)

    def stored(codes: Codes) -> Synthetic:
        scalar = jnp.exp(codes.step_size) if positive else codes.step_size
        return codes._replace(labels=decoded(codes), step_size=scalar)

    def decode(codes: Codes) -> Synthetic:
        return decode_stored(stored(codes), formation, space)

    return Decoder(init, decode, stored)


def decode_stored(
    stored: Synthetic, formation: Formation, space: Space = INPUT
) -> Synthetic:
    """The training set of a network from the stored set.

    Args:
        stored: [K, n, ...] images in the space, labels as probabilities.
        formation, space: as in `make_decoder`.

    Returns:
        [K, n', ...] images in the input space, and their labels.

    Raises:
        UserError: the formation does not fit the images, see `Formation.check`.
    """
    return stored._replace(
        images=space.decode(form(stored.images, formation, space.grey)),
        labels=form_labels(stored.labels, formation),
    )
