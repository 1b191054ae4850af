"""Small problems and networks for the tests."""

import contextlib
import errno
import functools
import os
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import real_data
from jaxdd.errors import UserError
from jaxdd.nets import make_network
from jaxdd.synthetic.initial import initial_set
from jaxdd.types import Batch, Inputs, Learner, Network, Outputs, RealData, Synthetic

CLASSES = 3
SHAPE = (8, 8, 1)
COUNTS = (16, 12, 8)  # samples per class


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing catches it, nothing is saved."""


def die(*args, **kwargs):
    raise Killed


def full_disk(*args, **kwargs):
    """In the place of what writes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def refused(pattern=None, *words):
    """What follows is the user's error: one line, with all of the words in it."""
    with pytest.raises(UserError, match=pattern) as error:
        yield error
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def toy_arrays(counts=COUNTS, shape=SHAPE, seed=0):
    """Images, of a pattern and a mean for each class, and labels, in random order."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(len(counts), *shape))
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    noise = 0.5 * rng.normal(size=(len(labels), *shape))
    means = 0.5 * labels.reshape(-1, *[1] * len(shape))
    return (patterns[labels] + means + noise).astype(np.float32), labels


def toy_real(counts=COUNTS, shape=SHAPE, seed=0) -> RealData:
    images, labels = toy_arrays(counts, shape, seed)
    return real_data(images, labels, len(counts))


def toy_inputs(counts=COUNTS, shape=SHAPE, seed=0) -> Inputs:
    real = toy_real(counts, shape, seed)
    return Inputs(real, real)


_first = jax.jit(initial_set, static_argnums=(1, 3))


def toy_start(inputs: Inputs, ipc=2, kind="noise", seed=1) -> Synthetic:
    return _first(jax.random.key(seed), kind, inputs.real, ipc)


def toy_batch(size=6, classes=CLASSES, shape=SHAPE, seed=0, padding=0) -> Batch:
    """Random images with soft labels of mass one; the last `padding` rows are zero."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(size, *shape)).astype(np.float32)
    labels = rng.dirichlet(np.ones(classes), size).astype(np.float32)
    labels[size - padding :] = 0
    return Batch(jnp.asarray(images), jnp.asarray(labels))


def tiny_network(name="convnet", shape=SHAPE, classes=CLASSES, **options) -> Network:
    if name.startswith("convnet"):
        options = {"width": 4, "depth": 1, **options}
    return make_network(name, shape, classes, **options)


@functools.cache
def new_learner(network: Network, seed=0) -> Learner:
    return Learner(*jax.jit(network.init)(jax.random.key(seed)))


def linear_network(features: int, classes=CLASSES, scale=1.0) -> Network:
    """logits = flattened image @ kernel + bias, in the dtype of the parameters."""

    def init(key):
        kernel = jax.random.uniform(key, (features, classes), jnp.float32, -1, 1)
        return {"kernel": scale * kernel, "bias": jnp.zeros(classes, kernel.dtype)}, {}

    def apply(params, stats, images, train):
        flat = images.reshape(images.shape[0], -1)
        return Outputs(flat @ params["kernel"] + params["bias"][None], (flat,)), stats

    return Network(init, apply)


def smooth_network(features=64, hidden=8, classes=CLASSES) -> Network:
    """One hidden layer of tanh: curved in everything and quick to compile."""

    def init(key):
        noise = jax.random.uniform(key, (features + classes, hidden), jnp.float32, -1)
        body = {"kernel": noise[:features] / 4, "bias": jnp.zeros(hidden, noise.dtype)}
        head = {"kernel": noise[features:].T, "bias": jnp.zeros(classes, noise.dtype)}
        return {"body": body, "head": head}, {}

    def apply(params, stats, images, train):
        flat = images.reshape(images.shape[0], -1)
        body, head = params["body"], params["head"]
        hidden = jnp.tanh(flat @ body["kernel"] + body["bias"][None])
        logits = hidden @ head["kernel"] + head["bias"][None]
        maps = images, hidden[:, None, None]
        return Outputs(logits, (flat, hidden), maps), stats

    return Network(init, apply)


def with_convolution(network: Network) -> Network:
    """The smooth network; its first kernel covers the image, as a convolution's."""

    def init(key):
        params, stats = network.init(key)
        kernel = params["body"]["kernel"].reshape(*SHAPE, -1)
        return {**params, "body": {**params["body"], "kernel": kernel}}, stats

    def apply(params, stats, images, train):
        kernel = params["body"]["kernel"]
        flat = {**params["body"], "kernel": kernel.reshape(-1, kernel.shape[-1])}
        return network.apply({**params, "body": flat}, stats, images, train)

    return Network(init, apply)


def counted(network: Network):
    """The network, and a list that grows by one at every trace of `apply`."""
    traces = []

    def apply(params, stats, images, train):
        traces.append(images.shape)
        return network.apply(params, stats, images, train)

    return Network(network.init, apply), traces


def flat(tree):
    """All leaves in one vector of NumPy."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]).astype(float)


def content(folder):
    """{relative path: bytes} of all files in a folder."""
    files = (file for file in Path(folder).rglob("*") if file.is_file())
    return {x.relative_to(folder).as_posix(): x.read_bytes() for x in files}


def to64(tree):
    """Floating-point leaves in float64 (inside the `x64` fixture)."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        tree,
    )


def assert_close(actual, expected, rtol=1e-5, atol=1e-6):
    """All leaves of two trees of the same structure, shapes and dtypes are close."""
    chex.assert_trees_all_close(actual, expected, rtol=rtol, atol=atol)


def temporary_bytes(function, *args) -> int:
    """Memory that the compiled function needs beside its arguments and results."""
    return jax.jit(function).lower(*args).compile().memory_analysis().temp_size_in_bytes
