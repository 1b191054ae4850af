"""The site of `make docs`: read without a warning, whole, and without a network.

The notebooks are not run here; `make docs` runs them. Its HTML, which takes as long as
everything before it, is left to `make test-slow`.
"""

import dataclasses
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import jaxdd

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs/site/api"


def build(folder, builder):
    """The folder of the site, built to pass without a warning."""
    command = (
        sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder,
        "-c", ROOT / "docs/site", "-d", folder / "doctrees", ROOT, folder / "site",
    )  # fmt: skip
    # Signatures come from the source: no test wraps them there.
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [str(x) for x in command], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"), "html")


def page(name):
    """The path of a page of docs/ in the site."""
    return f"docs/{name}.html"


def pages(site):
    texts = {
        x.relative_to(site).as_posix(): x.read_text() for x in site.rglob("*.html")
    }
    assert len(texts) > 30
    return texts


def test_pages_docstrings_and_links_are_read_without_a_warning(tmp_path):
    """All is parsed and every reference is looked up; no page is written."""
    build(tmp_path, "dummy")
    read = {x.stem for x in (tmp_path / "doctrees").rglob("*.doctree")}
    assert read > {x.stem for x in [*ROOT.glob("docs/*.md"), *API.glob("*.md")]}


@pytest.mark.slow
def test_every_page_and_notebook_is_in_the_site(site):
    sources = [
        *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), ROOT / "README.md",
        *ROOT.glob("docs/site/**/*.md"), ROOT / "benchmarks/README.md",
    ]  # fmt: skip
    expected = {x.relative_to(ROOT).with_suffix(".html").as_posix() for x in sources}
    assert not expected - set(pages(site))


@pytest.mark.slow
def test_links_between_pages_lead_to_pages_that_are_there(site):
    for name, text in pages(site).items():
        for target in re.findall(r'href="([^"#]+\.html)(?:#[^"]*)?"', text):
            if "://" not in target:
                there = ((site / name).parent / target).resolve()
                assert there.exists(), f"{name} links to {target}"
    assert 'href="exactness.html#pad-fiex-and-fiem"' in pages(site)[page("pad")]
    first = pages(site)["index.html"]
    assert page("site/index") in first


@pytest.mark.slow
def test_pages_load_nothing_from_the_network(site):
    loading = re.compile(
        r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(https?:[^"]*)'
    )
    for name, text in pages(site).items():
        assert not loading.findall(text), name
    assert "<math" in "".join(x for n, x in pages(site).items() if "02_traj" in n)


@pytest.mark.slow
def test_the_api_is_what_its_docstrings_say(site):
    text = pages(site)[page("site/api/runs")]
    assert 'id="jaxdd.distill"' in text
    for part in ("Parameters", "Raises", "Example", "UserError"):
        assert part in text
    choices = pages(site)[page("site/api/choices")]
    assert 'id="jaxdd.METHODS"' in choices
    assert "rat_bptt" in choices
    assert "Alias for field" not in "".join(pages(site).values())


def choices_of(owner) -> set[type]:
    """The classes of choices that the fields of a class take, and those of theirs."""
    hints = typing.get_type_hints(owner).values()
    kinds = {kind for hint in hints for kind in typing.get_args(hint) or (hint,)}
    own = {kind for kind in kinds if dataclasses.is_dataclass(kind)}
    return own.union(*map(choices_of, own))


def test_every_choice_of_a_recipe_is_public():
    """A published method can be written with `import jaxdd` alone."""
    choices = choices_of(jaxdd.Recipe)
    assert jaxdd.AgedPool in choices
    assert jaxdd.LAMB in choices
    for choice in choices:
        assert getattr(jaxdd, choice.__name__) is choice


def test_the_api_has_every_public_name_once():
    listed = []
    for path in API.glob("*.md"):
        blocks = re.findall(r"\.\. api:: jaxdd\n\n((?:   .*\n)+)", path.read_text())
        listed += " ".join(blocks).split()
    modules = {"report", "theory"}
    assert sorted(listed) == sorted(set(jaxdd.__all__) - modules)
