import numpy as np
import pytest
from PIL import Image

from jaxdd.data import load
from jaxdd.errors import UserError


def save(path, value, size=(6, 4), mode="RGB"):
    """A constant image of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """bird: 5 images of grey level 0..4; Ant: 10 of 100..109 (capitals sort first)."""
    root = tmp_path / "zoo"
    for i in range(5):
        save(root / "bird" / f"{i}.png", (i, i, i))
    for i in range(10):
        save(root / "Ant" / f"{i}.PNG", (100 + i,) * 3)
    return root


def read(root):
    return load(f"folder:{root}")


def test_a_fifth_is_held_out(folder):
    dataset = read(folder)
    assert dataset.class_names == ("Ant", "bird")
    assert dataset.images.dtype == np.uint8
    assert dataset.image_shape == (4, 6, 3)
    assert np.bincount(dataset.labels).tolist() == [8, 4]
    assert np.bincount(dataset.test_labels).tolist() == [2, 1]
    levels = np.concatenate([dataset.images, dataset.test_images])[:, 0, 0, 0]
    assert sorted(levels) == [*range(5), *range(100, 110)]
    np.testing.assert_array_equal(dataset.labels, dataset.images[:, 0, 0, 0] < 100)
    assert dataset.fingerprint == read(folder).fingerprint
    assert dataset.name == "folder:zoo"


def test_given_splits_are_kept(tmp_path):
    for i, suffix in enumerate(("png", "bmp", "jpg", "jpeg")):
        for j, name in enumerate("ab"):
            save(tmp_path / "train" / name / f"{i}.{suffix}", 10 * j, mode="L")
    save(tmp_path / "val" / "b" / "x.png", 7, mode="L")
    (tmp_path / "train" / ".hidden").mkdir()
    (tmp_path / "train" / "a" / "notes.txt").write_text("ignored")
    dataset = read(tmp_path)
    assert dataset.images.shape == (8, 4, 6, 1)
    assert dataset.test_images.shape == (1, 4, 6, 1)
    assert dataset.test_labels.tolist() == [1]
    assert dataset.labels.tolist() == [0] * 4 + [1] * 4


def test_train_alone_is_split(folder):
    whole = read(folder)
    (folder.parent / "outer").mkdir()
    folder.rename(folder.parent / "outer" / "train")
    dataset = read(folder.parent / "outer")
    assert dataset.fingerprint == whole.fingerprint


def test_train_may_be_a_class(tmp_path):
    for name in ("train", "tram"):
        for i in range(2):
            save(tmp_path / name / f"{i}.png", (0, 0, 0))
    assert read(tmp_path).class_names == ("train", "tram")


def broken(folder, case):
    """Damage the folder; returns what the message must contain."""
    if case == "absent":
        folder.rename(folder.with_name("other"))
        return str(folder)
    if case == "flat":
        for name in ("Ant", "bird"):
            (folder / name).rename(folder.parent / name)
        return str(folder)
    if case == "empty class":
        (folder / "cow").mkdir()
        return str(folder / "cow")
    if case == "single":
        save(folder / "cow" / "0.png", (0, 0, 0))
        return "class 2 has 1"
    if case == "strange test class":
        folder.rename(folder.with_name("train"))
        save(folder / "train.png", (0, 0, 0))
        (folder.with_name("train")).rename(folder / "train")
        save(folder / "test" / "cow" / "0.png", (0, 0, 0))
        return "'cow'"
    file = folder / "bird" / "3.png"
    if case == "garbage":
        file.write_bytes(b"not an image")
    elif case == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:-40])
    elif case == "size":
        save(file, (0, 0, 0), size=(6, 5))
    elif case == "mode":
        save(file, 0, mode="L")
    elif case == "alpha":
        save(file, (0, 0, 0, 0), mode="RGBA")
    return str(file)


@pytest.mark.parametrize(
    "case",
    [
        "absent",
        "flat",
        "empty class",
        "single",
        "strange test class",
        "garbage",
        "truncated",
        "size",
        "mode",
        "alpha",
    ],
)
def test_errors_name_the_place(folder, case):
    quoted = broken(folder, case)
    with pytest.raises(UserError) as error:
        read(folder)
    assert quoted in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_path():
    with pytest.raises(UserError, match="''"):
        load("folder:")
