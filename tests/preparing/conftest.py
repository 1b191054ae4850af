"""Folders for archives and for what is made of them."""

import pytest


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Folders for the archives and for what is made of them, and no cache of a user."""
    monkeypatch.setenv("JAXDD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "archives").mkdir()


@pytest.fixture
def source(tmp_path):
    return tmp_path / "archives"


@pytest.fixture
def made(tmp_path):
    return tmp_path / "tfds"
