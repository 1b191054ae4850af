"""Random streams: none of them is another one's."""

import jax
import numpy as np
import pytest

from jaxdd.primitives.keys import Draw

KEY = jax.random.key(0)


@pytest.mark.parametrize("classes", [10, 200, 1000, 100_000])
@pytest.mark.parametrize("draw", [Draw.CALIBRATION, Draw.FREQUENCIES, Draw.SPANS])
def test_a_stream_beside_classes_or_steps_is_none_of_theirs(draw, classes):
    counted = jax.vmap(jax.random.fold_in, (None, 0))(KEY, np.arange(classes))
    own = jax.random.key_data(draw.of(KEY, beside=classes))
    assert not (jax.random.key_data(counted) == own).all(-1).any()


@pytest.mark.parametrize("draw", [Draw.CALIBRATION, Draw.FREQUENCIES])
def test_few_classes_leave_a_stream_as_it_is(draw):
    """What runs of earlier versions drew."""
    keys = draw.of(KEY, beside=200), jax.random.fold_in(KEY, draw.value)
    np.testing.assert_array_equal(*map(jax.random.key_data, keys))
