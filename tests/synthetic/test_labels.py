"""Labels in their three spaces, and what updates them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.distillation.options import run_of
from jaxdd.errors import UserError
from jaxdd.primitives.losses import LOSSES
from jaxdd.synthetic.decoder import make_decoder
from jaxdd.synthetic.images import Images
from jaxdd.synthetic.labels import LABEL_SPACES, LABELS, probabilities_of, trainable
from jaxdd.synthetic.optimizer import Adam, make_optimizer
from jaxdd.types import Synthetic

HARD = jnp.eye(3)[:, None]
PADDING = jnp.zeros((3, 1, 3))


@pytest.mark.parametrize("name", ["targets", "weights"])
def test_the_first_labels_stand_for_the_classes(name):
    first = LABELS[name]().begin(HARD)
    np.testing.assert_allclose(probabilities_of(first, name), HARD, atol=1e-6)
    assert float(first.sum()) == pytest.approx(
        {"targets": 0, "weights": 3}[name], abs=1e-6
    )


@pytest.mark.parametrize("space", LABEL_SPACES)
@pytest.mark.parametrize("loss", LOSSES)
def test_padding_is_padding_in_every_space(space, loss):
    assert not jnp.any(probabilities_of(PADDING, space))
    assert not jnp.any(trainable(PADDING, space, loss))


def test_a_loss_gets_the_labels_that_it_takes():
    labels = jnp.array([[3.0, 1.0, 0.0]])
    of_weights = jnp.array([[0.75, 0.25, 0]])
    np.testing.assert_allclose(probabilities_of(labels, "weights"), of_weights)
    for loss in ("cross_entropy", "row_cross_entropy"):
        assert trainable(labels, "weights", loss) is labels
    np.testing.assert_allclose(
        trainable(labels, "weights", "mse"), of_weights - 1 / 3, rtol=1e-6
    )
    targets = jnp.array([[2 / 3, -4 / 3, -1 / 3]])  # that is 1, -1 and 0
    assert trainable(targets, "targets", "mse") is targets
    np.testing.assert_allclose(
        trainable(targets, "targets", "cross_entropy"), [[1, 0, 0]], atol=1e-6
    )


@pytest.mark.parametrize(("name", "lowest"), [("targets", -5.0), ("weights", 0.0)])
def test_learned_labels_follow_the_optimizer_of_the_images(name, lowest):
    """Padding stays, and weights end at 0."""
    images = Images(lr=1.0, optimizer=Adam())
    labels = LABELS[name](lr=2.0)
    decoder = make_decoder(name)
    start = jnp.concatenate([labels.begin(HARD), PADDING], axis=1)
    codes = Synthetic(jnp.ones((3, 2, 1, 1, 1)), start, jnp.float32(0))
    optimizer = make_optimizer(images.updates(), labels.updates(images))
    state = optimizer.init(codes)
    for _ in range(3):
        total = lambda codes: jnp.sum(decoder.decode(codes).labels + 1)
        gradient = jax.grad(total)(codes)
        updates, state = optimizer.update(gradient, state, codes)
        codes = jax.tree.map(jnp.add, codes, updates)
    assert not jnp.any(codes.labels[:, 1])
    if lowest == 0:
        assert float(jnp.abs(codes.labels).max()) == 0  # from 1 by 2 a step, cut off
    else:
        np.testing.assert_allclose(codes.labels[:, 0], start[:, 0] - 6, rtol=1e-4)


@pytest.mark.parametrize("name", ["targets", "weights"])
def test_a_method_that_cannot_use_them_is_named(name):
    with pytest.raises(UserError, match=f"--labels={name} needs a method that trains"):
        run_of("dsa", {"labels": name})
