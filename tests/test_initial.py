"""The images that distillation starts from."""

import jax
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.initial import INITIALS, initial_set
from tests.helpers import toy_real

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.mark.parametrize("kind", INITIALS)
def test_shapes_labels_and_step_size(kind):
    start = initial_set(jax.random.key(0), kind, toy_real(), 4)
    assert start.images.shape == (3, 4, 8, 8, 1)
    assert start.images.dtype == np.float32
    assert start.step_size.shape == ()
    expected = np.broadcast_to(np.eye(3)[:, None], (3, 4, 3))
    assert np.array_equal(start.labels, expected)


def test_noise_is_standard_normal():
    images = initial_set(jax.random.key(0), "noise", toy_real(), 40).images
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.05


def test_real_images_are_distinct_and_of_their_class():
    real = toy_real()
    start = initial_set(jax.random.key(0), "real", real, 8)
    for k, images in enumerate(np.asarray(start.images)):
        matches = (images[:, None] == np.asarray(real.images)[None]).all((2, 3, 4))
        assert np.all(matches.sum(1) == 1)
        found = matches.argmax(1)
        assert len(set(found)) == 8
        assert np.all(np.asarray(real.labels)[found] == k)


@pytest.mark.parametrize("kind", INITIALS)
def test_the_key_decides(kind):
    real = toy_real()
    a, b, c = (
        initial_set(jax.random.key(seed), kind, real, 2).images for seed in (0, 0, 1)
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_an_unknown_kind_is_the_users_error():
    with pytest.raises(UserError, match="noise, real"):
        initial_set(jax.random.key(0), "mean", toy_real(), 2)
