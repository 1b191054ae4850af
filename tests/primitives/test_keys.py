"""Random streams: none of them is another one's."""

import jax
import numpy as np
import pytest

from jaxdd.primitives.keys import Draw, named_key

KEY = jax.random.key(0)


@pytest.mark.parametrize("draw", [Draw.CALIBRATION, Draw.FREQUENCIES, Draw.SPANS])
def test_a_stream_beside_classes_or_steps_is_none_of_theirs(draw):
    counted = jax.vmap(jax.random.fold_in, (None, 0))(KEY, np.arange(100_000))
    same = jax.random.key_data(counted) == jax.random.key_data(draw.of(KEY))
    assert not same.all(-1).any()


def test_a_split_key_is_a_folded_one():
    """What the numbers of `Draw` have to keep clear of."""
    split = jax.random.key_data(jax.random.split(KEY, 3))
    folded = [jax.random.key_data(jax.random.fold_in(KEY, i)) for i in range(3)]
    np.testing.assert_array_equal(split, folded)


def test_streams_of_a_seed_are_told_apart_by_their_names():
    names = ["initial", "method", "evaluate", "share", "probes"]
    data = [tuple(jax.random.key_data(named_key(0, name)).tolist()) for name in names]
    assert len(set(data)) == len(names)
