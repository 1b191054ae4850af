"""What a named result may take the place of: nothing, or a file of its own kind."""

import json
import os

import numpy as np
import pytest

import jaxdd
from jaxdd.artifact.artifact import _example
from jaxdd.errors import UserError
from jaxdd.exchange.targets import write_as
from jaxdd.report.page import PAGE, document
from jaxdd.report.pictures import PICTURE
from jaxdd.storage.files import output_file, write_atomically
from jaxdd.storage.recognising import Kind, marked, may_be_replaced
from tests.helpers import refused, toy_arrays

MINE = Kind("one of mine", marked(b"mine", 100))
FORMATS = {
    "npz": ".npz",
    "safetensors": ".safetensors",
    "pt": ".pt",
    "parquet": ".parquet",
}


def data_of_somebody(path):
    """A file with the ending of a result, and something else in it."""
    if path.suffix == ".npz":
        np.savez(path, images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    else:
        path.write_text("name,age\nx,3\n")
    return path.read_bytes()


@pytest.mark.parametrize("to", [*FORMATS, "no ending"])
def test_a_set_replaces_sets_alone(tmp_path, to):
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow: the extra hub")
    place = tmp_path / f"file{FORMATS.get(to, '')}"
    before = data_of_somebody(place)
    with refused(None, "is there already and is not a", "would be replaced"):
        write_as(_example(), "pt" if to == "no ending" else to, place)
    assert place.read_bytes() == before
    place.unlink()
    if to in FORMATS:
        write_as(_example(), to, place)
        write_as(_example(), to, place)  # again
        again = jaxdd.load_foreign(place)
        assert to == "parquet" or again.digest == _example().digest


def test_a_table_replaces_no_file(tmp_path):
    """Whose a table of numbers is cannot be told."""
    place = tmp_path / "patients.csv"
    before = data_of_somebody(place)
    with refused(None, "patients.csv is there already: it would be replaced"):
        write_as(_example(), "csv", place)
    assert place.read_bytes() == before


def test_saving_in_python_replaces_no_data(tmp_path):
    images, labels = toy_arrays()
    data = (1 / (1 + np.exp(-images)), labels)
    pruned = jaxdd.prune(
        data, "el2n", keep=0.5, balanced=True, net="mlp", networks=1, train_steps=1
    )
    scored = pruned.scored
    place, index = tmp_path / "mine.npz", tmp_path / "summary.json"
    before = data_of_somebody(place)
    index.write_text(json.dumps({"kind": "of something else"}))
    for save in (lambda path: jaxdd.save(_example(), path), scored.save):
        with refused(None, "mine.npz is there already and is not"):
            save(place)
    with refused(None, "must be a file that ends in .json"):
        pruned.save(place)
    with refused(None, "summary.json is there already and is not an index"):
        pruned.save(index)
    assert place.read_bytes() == before
    assert json.loads(index.read_text()) == {"kind": "of something else"}
    for save, name in ((scored.save, "scores.npz"), (pruned.save, "index.json")):
        assert save(tmp_path / name) == save(tmp_path / name)


def test_a_link_stays_and_leads_to_the_new_file(tmp_path):
    (tmp_path / "disk").mkdir()
    whole, link = tmp_path / "disk" / "set.npz", tmp_path / "set.npz"
    jaxdd.save(_example(), whole)
    link.symlink_to(whole)
    whole.write_bytes(whole.read_bytes())
    jaxdd.save(_example(), link)
    assert link.is_symlink()
    assert jaxdd.load(whole).digest == _example().digest


def test_links_that_lead_nowhere_are_refused(tmp_path):
    a, b = tmp_path / "a.npz", tmp_path / "b.npz"
    a.symlink_to(b)
    b.symlink_to(a)
    with refused():
        jaxdd.save(_example(), a)


@pytest.mark.parametrize("to", ["npz", "pt"])
def test_devices_and_pipes_stay(tmp_path, to):
    pipe = tmp_path / f"pipe{FORMATS[to]}"
    os.mkfifo(pipe)
    with refused(None, "is there already and is not"):
        write_as(_example(), to, pipe)
    with refused(None, "is not a regular file"):
        jaxdd.load_foreign(pipe)
    with pytest.raises(UserError, match="no regular file"):
        write_atomically(pipe, "text")
    with pytest.raises(UserError, match="no regular file"):
        write_atomically(tmp_path, "text")
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == [pipe.name]


def test_what_a_kind_is_known_by(tmp_path):
    mine, other = tmp_path / "a.txt", tmp_path / "b.txt"
    mine.write_text("this is mine")
    other.write_text("this is not" + 100 * " " + "mine")
    assert may_be_replaced(mine, MINE)
    assert not may_be_replaced(other, MINE)
    assert not may_be_replaced(mine, None)
    assert may_be_replaced(tmp_path / "free", None)
    (tmp_path / "empty.txt").touch()
    assert may_be_replaced(tmp_path / "empty.txt", None)  # nothing is lost
    with refused(None, "b.txt is there already and is not one of mine"):
        output_file(other, "--out", ".txt", kind=MINE)
    with refused(None, "is a folder: give the name of a file in it"):
        output_file(tmp_path, "--out", "", kind=MINE)
    (tmp_path / "page.html").write_text(document("A run", "", []))
    jaxdd.report.curves({"a": ([0, 1], [0, 1])}, tmp_path / "a.png", "x", "y")
    assert PAGE.recognises(tmp_path / "page.html")
    assert PICTURE.recognises(tmp_path / "a.png")
    long = tmp_path / "long"
    long.write_bytes(b"x" * (2**20 - 2) + b"mark")
    assert marked(b"mark")(long)  # across two pieces that are read
