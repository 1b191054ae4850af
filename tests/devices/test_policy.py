"""The table of choices: what a device gets, and that every choice has an effect."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import UserError, make_network
from jaxdd.devices import policy, precision
from jaxdd.nets.conv import IMPLEMENTATIONS
from jaxdd.running.loop import longest_chunk


def changed(**changes):
    return policy.using(dataclasses.replace(policy.choices(), **changes))


@pytest.mark.parametrize(
    ("kind", "backend", "entry"),
    [
        ("NVIDIA H100 80GB HBM3", "gpu", "gpu"),
        ("TPU v5e", "tpu", "tpu"),
        ("something new", "metal", "gpu"),
        ("cpu", "cpu", "cpu"),
    ],
)
def test_a_device_gets_its_backends_entry(kind, backend, entry, monkeypatch):
    monkeypatch.setattr(policy, "TABLE", {k: policy.TABLE[k] for k in ENTRIES})
    assert policy.choices_for(kind, backend) is policy.TABLE[entry]


ENTRIES = ("cpu", "gpu", "tpu")


def test_a_device_that_was_measured_gets_its_own_entry(monkeypatch):
    own = policy.Choices("today", classes=4)
    monkeypatch.setitem(policy.TABLE, "NVIDIA H100 80GB HBM3", own)
    assert policy.choices_for("NVIDIA H100 80GB HBM3", "gpu") is own
    assert policy.choices_for("NVIDIA A100", "gpu") is policy.TABLE["gpu"]


@pytest.mark.parametrize("name", sorted(policy.TABLE))
def test_entries_name_what_there_is(name):
    entry = policy.TABLE[name]
    assert {entry.convolution, entry.small_convolution} <= set(IMPLEMENTATIONS)
    assert min(entry.classes, entry.experts, entry.networks, entry.steps) >= 1
    assert entry.precision in precision.PRECISIONS


def test_a_precision_is_one_that_products_have():
    own = policy.choices().precision
    with policy.in_precision("bfloat16"):
        assert policy.choices().precision == "bfloat16"
        with policy.in_precision("auto"):  # a name of what is in force
            assert policy.choices().precision == "bfloat16"
    assert policy.choices().precision == own
    for name in ("float16", ""):
        with pytest.raises(UserError, match="is not one of float32, tf32, bfloat16"):
            policy.in_precision(name)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 32])
def test_all_ways_of_mapping_give_the_same(chunk):
    xs = jnp.arange(7.0)
    found = jax.jit(lambda x: policy.map_axis(jnp.sin, x, chunk))(xs)
    np.testing.assert_allclose(found, jnp.sin(xs), rtol=1e-6)
    with changed(networks=chunk):
        text = jax.jit(lambda x: policy.spread_axis(jnp.sin, x)).lower(xs).as_text()
    assert ("while" in text) == (chunk < 7)


def program(shape=(8, 8, 3)):
    network = make_network("convnet", shape, 3, width=8, depth=1)
    params, stats = network.init(jax.random.key(0))

    def logits(params, images):
        return network.apply(params, stats, images, False)[0].logits

    images = jnp.ones((2, *shape))
    return jax.jit(logits).lower(params, images).as_text()


def test_the_forms_of_convolutions_are_chosen():
    assert "stablehlo.convolution" not in program()
    with changed(small_convolution="lax"):
        assert "stablehlo.convolution" in program()
    with changed(small_convolution="im2col", convolution="lax"):
        assert "stablehlo.convolution" in program((8, 8, 5))


@pytest.mark.parametrize("form", [x for x in IMPLEMENTATIONS if x != "rounded"])
def test_the_precision_reaches_every_product_of_a_network(form, monkeypatch):
    with changed(small_convolution=form):
        usual = program()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with changed(small_convolution=form, precision="float32"):
        exact = program()
    products = re.findall(r"stablehlo\.(?:dot_general|convolution)\(?.*", exact)
    assert len(products) == 2
    assert all("HIGHEST" in line for line in products)
    assert "HIGHEST" not in usual


def test_microbatches_and_the_longest_dispatch():
    assert policy.microbatch_for((32, 32, 3), 128) == 8
    assert policy.microbatch_for((8, 8, 1), 128) is None
    assert policy.microbatch_for((32, 32, 3), 32) is None
    with policy.using(policy.TABLE["gpu"]):
        assert policy.microbatch_for((32, 32, 3), 128) is None
    assert longest_chunk() == 256
    with changed(steps=50):
        assert longest_chunk() == 50
    assert longest_chunk() == 256
