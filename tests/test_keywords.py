"""Keyword arguments are checked as flags are, by name and type."""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.problem import DataFlags
from jaxdd.data.readers.pictures import size_of
from jaxdd.fields import from_keywords, option
from tests.helpers import refused


@dataclass(frozen=True)
class Config:
    """Of every type that a flag has."""

    place: str = option(..., "a path", kind="path")
    steps: int = option(10, "how many")
    rate: float = option(0.1, "how fast")
    whiten: bool = option(False, "whether")
    width: int | None = option(None, "how wide")


@pytest.mark.parametrize("size", [8, (8, 8), [8, 8], "8", "8x8", np.int32(8)])
def test_a_size_of_images_is_a_number_a_pair_or_a_text(size):
    data = from_keywords(DataFlags, dataset="digits", image_size=size)
    assert size_of(data.image_size) == (8, 8)
    with refused("--image_size must be a text"):
        from_keywords(DataFlags, dataset="digits", image_size=8.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"place": Path("a") / "b"}, {"place": "a/b"}),
        ({"steps": np.int64(3)}, {"steps": 3}),
        ({"steps": jnp.int32(3)}, {"steps": 3}),
        ({"rate": 1}, {"rate": 1.0}),
        ({"rate": np.float32(0.5)}, {"rate": 0.5}),
        ({"whiten": np.bool_(True)}, {"whiten": True}),
        ({"width": None}, {"width": None}),
        ({"width": 8}, {"width": 8}),
    ],
    ids=str,
)
def test_values_come_in_the_type_of_their_field(values, expected):
    config = from_keywords(Config, **{"place": "here", **values})
    for name, value in expected.items():
        assert getattr(config, name) == value
        assert type(getattr(config, name)) is type(value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"step": 3}, "there is no keyword 'step': steps is meant"),
        ({"zzz": 3}, "there is no keyword 'zzz': help"),
        ({"steps": "3"}, "--steps must be an integer, not '3'"),
        ({"steps": 2.5}, "--steps must be an integer, not 2.5"),
        ({"rate": "fast"}, "--rate must be a number, not 'fast'"),
        ({"whiten": 1}, "--whiten must be true or false, not 1"),
        ({"place": 3}, "--place must be a text, not 3"),
    ],
    ids=str,
)
def test_other_names_and_types_are_refused(values, words):
    with refused(words):
        from_keywords(Config, **{"place": "here", **values})
