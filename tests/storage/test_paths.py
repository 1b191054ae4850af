"""What people name: understood in one place, refused in one sentence."""

import os

import pytest

from jaxdd.errors import UserError
from jaxdd.storage.paths import existing_file, existing_folder, local_path, shown
from tests.helpers import refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must name a path"),
        ("a\0b", "must name a path"),
        ("gs://bucket/run", "is an address (gs)"),
        ("s3://bucket", "is an address (s3)"),
        ("file:///x", "is an address (file)"),
        ("gs:/bucket", "is an address (gs)"),
        ("~nosuchuser/x", "whose home folder is not known"),
        ("x" * 256, "is too long"),
        ("é" * 128, "is too long"),
        ("/".join(["folder"] * 700), "is too long"),
    ],
)
def test_what_is_no_path_of_this_machine_is_refused(text, says):
    with pytest.raises(UserError) as caught:
        local_path(text, "--workdir")
    assert says in str(caught.value)
    assert "--workdir" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "text",
    ["runs/[1,2]", "a b", "é", "%", "#*{}", "'\"", "a\nb", "\\", "\udcff", "c:/x"],
)
def test_odd_names_are_names(text):
    assert str(local_path(text, "--workdir")) == text


def test_the_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/runs", "--workdir") == tmp_path / "runs"


def test_only_regular_files_are_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    assert existing_file(tmp_path / "file", "--x", "give one") == tmp_path / "file"
    for name, says in (("pipe", "not a regular"), (".", "not a regular"),
                       ("none", "not exist"), ("file/x", "not exist")):  # fmt: skip
        with pytest.raises(UserError, match=f"{says}.*give one"):
            existing_file(tmp_path / name, "--x", "give one")
    with pytest.raises(UserError, match="not a folder"):
        existing_folder(tmp_path / "file", "--x", "give one")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0)
    with pytest.raises(UserError, match="permission denied"):
        existing_file(tmp_path / "file", "--x", "give one")


def test_what_is_shown_can_be_printed():
    text = shown("a\n\x1b[31m\udcff" + "x" * 10_000)
    text.encode("utf-8")
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("value", [3, None, 0.5, ["a"]])
def test_what_is_no_path_is_named(value):
    with refused(None, "must name a path"):
        local_path(value, "the set")
