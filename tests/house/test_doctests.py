"""The examples in docstrings run, and the public factories have one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import jaxdd

MODULES = ["jaxdd", *(m.name for m in pkgutil.walk_packages(jaxdd.__path__, "jaxdd."))]


def examples(name, item, namespace):
    text = inspect.getdoc(item) or ""
    return doctest.DocTestParser().get_doctest(text, namespace, name, None, 0)


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
        test = examples(path, item, dict(vars(module)))
        said = []
        doctest.DocTestRunner().run(test, out=said.append)
        assert not said, "".join(said)


def test_examples_are_found_at_all():
    """Also those of functions whose shapes are checked under pytest."""
    assert has_example(jaxdd.inner_gradient)
    found = dict(documented(importlib.import_module("jaxdd.primitives.trees")))
    assert has_example(found["jaxdd.primitives.trees.apply_mask"])


def test_every_public_function_has_an_example():
    public = {name: getattr(jaxdd, name) for name in jaxdd.__all__}
    lacking = [
        name
        for name, item in public.items()
        if inspect.isroutine(item) and not has_example(item)
    ]
    assert not lacking, f"no example in the docstring of {', '.join(lacking)}"
