"""Archives that are not the original or damaged; nothing is written of them."""

import gzip

import pytest

from jaxdd.errors import UserError
from jaxdd.preparing import writing
from jaxdd.preparing.whole import prepare
from jaxdd.storage.lock import owned
from tests.helpers import Killed, die, full_disk, refused
from tests.preparing import archives


def test_what_is_there_stays(source, made):
    original = archives.mnist(source, archives.digits(20, 0), archives.digits(12, 1))
    folder = prepare("mnist", source, made, original).folder
    before = {x.name: x.stat().st_mtime_ns for x in folder.iterdir()}
    again = prepare("mnist", source, made, original)
    assert again == (folder, {"train": 20, "test": 12}, False)
    assert {x.name: x.stat().st_mtime_ns for x in folder.iterdir()} == before


def test_an_archive_that_is_not_the_original_is_refused_by_name(source, made):
    original = archives.mnist(source, archives.digits(20, 0), archives.digits(12, 1))
    path = source / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with refused(None, str(path), "sha256"):
        prepare("mnist", source, made, original)
    path.write_bytes(content[:-1])
    with refused(None, str(path), f"{len(content)}"):
        prepare("mnist", source, made, original)
    path.unlink()
    with refused(None, path.name, "lacks"):
        prepare("mnist", source, made, original)
    with refused(None, "several"):
        prepare("mnist", source / "train-images-idx3-ubyte.gz", made, original)
    assert not made.exists()


def broken(name, source):
    """A path of an archive with the right checksum and wrong content."""
    if name == "hostile":
        batch = archives.hostile_pickle()
        files = {"cifar-10-batches-py/data_batch_1": batch}
        archives.tar(source / "cifar-10-python.tar.gz", files)
        return "cifar10", "builtins.print"
    if name == "no tar":
        (source / "cifar-10-binary.tar.gz").write_bytes(b"x" * 600)
        return "cifar10", "cifar-10-binary.tar.gz"
    if name == "cut images":
        files = {f"cifar-10-batches-bin/data_batch_{i}.bin": b"1" for i in range(1, 6)}
        archives.tar(source / "cifar-10-binary.tar.gz", files)
        return "cifar10", "no whole number"
    if name == "labels":
        archives.mnist(source, archives.digits(20, 0), archives.digits(12, 1))
        more = archives.idx_bytes(archives.labels(21, 10))
        (source / "train-labels-idx1-ubyte.gz").write_bytes(more)
        return "mnist", "21 labels"
    if name == "huge":
        archives.mnist(source, archives.digits(20, 0), archives.digits(12, 1))
        head = b"\0\0\x08\x03" + b"\xff" * 12
        (source / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head))
        return "mnist", "declares the shape"
    if name == "matlab":
        archives.svhn(source, *archives.batches([20, 5], 10))
        (source / "test_32x32.mat").write_bytes(b"MATLAB" * 100)
        return "svhn_cropped", "test_32x32.mat"
    assert name == "picture"
    path = archives.tiny_imagenet(source / "tiny-imagenet-200.zip")
    content = path.read_bytes()
    cut = content.index(b"\xff\xd8") + 700  # inside the first picture
    path.write_bytes(content[:cut] + bytes([content[cut] ^ 255]) + content[cut + 1 :])
    return "tiny_imagenet", "n02_0.JPEG"


@pytest.mark.parametrize(
    "case", ["hostile", "no tar", "cut images", "labels", "huge", "matlab", "picture"]
)
def test_broken_content_is_refused_and_nothing_is_written(case, source, made):
    name, words = broken(case, source)
    with refused(None, words):
        prepare(name, source, made, archives.original(name, source))
    left = [x for x in made.rglob("*") if x.name != ".lock"]
    assert left == [made / name]


def test_what_is_interrupted_leaves_nothing_and_can_be_done_again(
    source, made, monkeypatch
):
    split = archives.digits(20, 0)
    original = archives.mnist(source, split, split)
    for failing in (full_disk, die):
        with monkeypatch.context() as patch:
            patch.setattr(writing, "_finish", failing)
            with pytest.raises((UserError, Killed)):
                prepare("mnist", source, made, original)
        assert [x.name for x in (made / "mnist").iterdir()] == [".lock"]
    assert prepare("mnist", source, made, original).anew


def test_a_folder_that_is_no_dataset_is_named(source, made):
    split = archives.digits(20, 0)
    (made / "mnist/3.0.1").mkdir(parents=True)
    with refused(None, made / "mnist/3.0.1", "remove it"):
        prepare("mnist", source, made, archives.mnist(source, split, split))


def test_two_at_once_do_not_mix(source, made):
    split = archives.digits(20, 0)
    original = archives.mnist(source, split, split)
    with owned(made / "mnist"), refused(None, made / "mnist"):
        prepare("mnist", source, made, original)
