"""The examples in docstrings run, and every entry point has one.

Names that an example may use without a preamble are in `namespace`.
"""

import doctest
import functools
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.nets import make_network
from jaxdd.types import Batch, Learner, Network

MODULES = ["jaxdd", *(m.name for m in pkgutil.walk_packages(jaxdd.__path__, "jaxdd."))]
# What a user calls first; of these that exist, each shows how. The rest may have one.
ENTRY_POINTS = (
    "distill",
    "evaluate",
    "difficulty",
    "build",
    "make_method",
    "make_network",
    "initial_set",
    "real_data",
)


@functools.cache
def namespace():
    """A small problem: 12 grey 8x8 images of 3 classes and a ConvNet for them."""
    key = jax.random.key(0)
    images = jax.random.normal(key, (12, 8, 8, 1))
    labels = np.arange(12) % 3
    made = make_network("convnet", (8, 8, 1), 3, width=4, depth=1)
    # Examples call it outside of any `jit`: operation by operation takes longer.
    apply = jax.jit(made.apply, static_argnames="train")
    network = Network(jax.jit(made.init), apply)
    return {
        "jax": jax,
        "jnp": jnp,
        "np": np,
        "jaxdd": jaxdd,
        "key": key,
        "images": np.asarray(images),
        "labels": labels,
        "batch": Batch(images, jax.nn.one_hot(labels, 3)),
        "real": jaxdd.real_data(np.asarray(images), labels, 3),
        "network": network,
        "learner": Learner(*network.init(key)),
    }


def examples(name, item, names):
    text = inspect.getdoc(item) or ""
    return doctest.DocTestParser().get_doctest(text, names, name, None, 0)


def documented(module):
    """The module and what it defines. `doctest.DocTestFinder` would pass over all
    functions that jaxtyping has wrapped."""
    yield module.__name__, module
    for name, item in vars(module).items():
        if getattr(item, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(item):
            for inner, method in vars(item).items():
                if inspect.isfunction(method):
                    yield f"{module.__name__}.{name}.{inner}", method
        if inspect.isclass(item) or inspect.isroutine(item):
            yield f"{module.__name__}.{name}", item


def has_example(item):
    return bool(examples("", item, {}).examples)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    for path, item in documented(module):
        # The module's own names come first: an example may shadow those given.
        test = examples(path, item, {**namespace(), **vars(module)})
        output = []
        doctest.DocTestRunner().run(test, out=output.append)
        assert not output, "".join(output)


def test_examples_are_found_at_all():
    """Also those of functions whose shapes are checked under pytest."""
    assert has_example(jaxdd.inner_gradient)


@pytest.mark.parametrize("name", [x for x in ENTRY_POINTS if hasattr(jaxdd, x)])
def test_an_entry_point_has_an_example(name):
    assert has_example(getattr(jaxdd, name))
