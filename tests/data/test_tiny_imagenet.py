"""Tiny ImageNet as its archive unpacks, beside the same archive prepared."""

import shutil
import zipfile

import pytest
from PIL import Image

from jaxdd.data import fit_zca, load
from jaxdd.data.streaming.rows import Rows
from jaxdd.preparing.whole import prepare
from tests.helpers import refused
from tests.preparing import archives

VAL = "val/val_annotations.txt"


@pytest.fixture
def unpacked(tmp_path):
    """The archive, unpacked, with the boxes that the small one lacks."""
    path = archives.tiny_imagenet(tmp_path / "tiny-imagenet-200.zip")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    root = tmp_path / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        (root / "train" / name / f"{name}_boxes.txt").write_text("0\t0\t62\t62\n")
    return root


def read(root, **form):
    return load(f"folder:{root}", **form)


def test_it_is_the_dataset_that_is_prepared_from_the_archive(unpacked, tmp_path):
    original = archives.original("tiny_imagenet", tmp_path)
    prepare("tiny_imagenet", tmp_path / "tiny-imagenet-200.zip", tmp_path, original)
    prepared, dataset = load("tiny_imagenet", tmp_path), read(unpacked)
    assert dataset.class_names == prepared.class_names == ("dog", "cat")
    # What is prepared has another order, as TFDS shuffles.
    for part in ("", "test_"):
        pairs = [
            sorted(
                (int(label), image.tobytes())
                for image, label in zip(
                    getattr(x, f"{part}images"),
                    getattr(x, f"{part}labels"),
                    strict=True,
                )
            )
            for x in (dataset, prepared)
        ]
        assert pairs[0] == pairs[1]
    assert dataset.name == "tiny_imagenet_subset"
    told = "\n".join(dataset.remarks)
    assert "read as Tiny ImageNet: val is the test split" in told
    assert "the folder test of" in told
    assert "1 image, they have no public labels" in told
    assert "boxes" not in told
    assert ".txt" not in told


def test_grey_images_become_rgb_unless_all_become_grey(unpacked):
    place = unpacked / "train" / "n01" / "images" / "n01_0.JPEG"
    Image.new("L", (64, 64), 100).save(place)
    first = read(unpacked).images[0]
    assert first.shape == (64, 64, 3)
    assert (first == 100).all()
    assert "grey images become RGB (--channels=3)" in "\n".join(read(unpacked).remarks)
    small = read(unpacked, channels=1, image_size=(8, 8))
    assert small.image_shape == (8, 8, 1)
    assert "grey images" not in "\n".join(small.remarks)


def test_files_may_be_cut_down_and_sorted(unpacked):
    """Classes without a folder are left out, and val sorted by class is found."""
    whole = read(unpacked)
    (unpacked / "wnids.txt").write_text("n03\r\nn02\r\nn01\r\n")
    with (unpacked / VAL).open("a") as file:
        file.write("val_7.JPEG\tn03\t0\t0\t62\t62\n\n")
    images = unpacked / "val" / "images"
    shutil.copy(images / "val_0.JPEG", images / "val_9.JPEG")
    (images / "n02").mkdir()
    (images / "val_0.JPEG").rename(images / "n02" / "val_0.JPEG")
    (unpacked / "words.txt").unlink()
    dataset = read(unpacked)
    assert dataset.fingerprint == whole.fingerprint
    assert dataset.class_names == ("n01", "n02")
    told = "\n".join(dataset.remarks)
    assert "left out 1 image of" in told
    assert "annotations do not give a class" in told


def write(name, content):
    return lambda root: (root / name).write_bytes(content)


LINE = b"val_0.JPEG\tn02\t0\t0\t62\t62\n"
# (what is done to the folder, what the sentence has to contain)
BROKEN = {
    "no annotations": (lambda root: (root / VAL).unlink(), VAL),
    "unknown class": (write(VAL, LINE + b"val_1.JPEG\tn99\n"), "class 'n99'"),
    "twice": (write(VAL, LINE + LINE), "'val_0.JPEG' a second time"),
    "no tabs": (write(VAL, b"val_0.JPEG n02\n"), "line 1 is no file"),
    "UTF-16": (write(VAL, LINE.decode().encode("utf-16")), "not UTF-8"),
    "a huge line": (write(VAL, LINE + b"x\t" * 10**6), "line 2"),
    "a huge file": (write(VAL, bytes(2**24 + 1)), "larger than"),
    "a way out": (write(VAL, b"../../wnids.txt\tn02\n"), "no file name"),
    "a long name": (write(VAL, b"x" * 300 + b"\tn02\n"), "is not there"),
    "absent image": (write(VAL, b"val_5.JPEG\tn02\n"), "val_5.JPEG is not there"),
    "nothing": (write(VAL, b"\n"), "lists no image"),
    "no words": (write("wnids.txt", b"n01\nn01\n"), "each class once"),
    "strange class": (write("wnids.txt", b"n01\nn05\n"), "train/n02 is no class"),
    "no text of images": (write("val/images/val_0.JPEG", b"x"), "cannot be decoded"),
    "one class": (lambda root: shutil.rmtree(root / "train/n01"), "at least 2"),
    "empty class": (lambda root: shutil.rmtree(root / "train/n01/images"), "no image"),
    "another size": (
        lambda root: Image.new("RGB", (9, 9)).save(root / "val/images/val_0.JPEG"),
        "--image_size=64x64",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_gives_a_sentence(unpacked, case):
    damage, words = BROKEN[case]
    damage(unpacked)
    with refused(None, words):
        read(unpacked)


def test_it_is_streamed_restricted_and_whitened_with_the_same_bits(unpacked):
    whole, streamed = read(unpacked), read(unpacked, stream="always")
    assert isinstance(streamed.images, Rows)
    assert streamed.fingerprint == whole.fingerprint
    ids = [0, 2, 3]
    some, ours = whole.subset(ids), streamed.subset(ids)
    assert isinstance(ours.images, Rows)
    assert ours.fingerprint == some.fingerprint
    fitted = [fit_zca(x.images, block=8) for x in (some, ours)]
    assert fitted[0].digest == fitted[1].digest
