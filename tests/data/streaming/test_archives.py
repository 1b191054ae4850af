"""Archives in a store: the same dataset as in memory, without all of it in memory."""

import errno
import os
import tracemalloc

import numpy as np
import pytest

from jaxdd.data import load
from jaxdd.data.readers import npz, npz_rows
from jaxdd.data.streaming import building, choice, rows, store
from jaxdd.data.streaming.rows import Rows
from jaxdd.errors import UserError
from jaxdd.progress import Message, listening
from jaxdd.storage import array_blocks
from jaxdd.storage.arrays import Declared, Member
from tests.helpers import Killed, refused

RNG = np.random.default_rng(0)
IMAGES, TEST_IMAGES = (RNG.integers(0, 256, (n, 6, 5, 3), np.uint8) for n in (12, 6))
LABELS, TEST_LABELS = (np.arange(n, dtype=np.uint8) % 3 for n in (12, 6))
MEDMNIST = ("train_images", "train_labels", "test_images", "test_labels")
KERAS = ("x_train", "y_train", "x_test", "y_test")


def archive(folder, save=np.savez, **arrays) -> str:
    save(folder / "set.npz", **arrays)
    return f"npz:{folder / 'set.npz'}"


def named(names, *arrays) -> dict[str, np.ndarray]:
    return dict(zip(names, arrays, strict=False))


def whole(images, test_images, names=KERAS) -> dict[str, np.ndarray]:
    return named(names, images, LABELS, test_images, TEST_LABELS)


GREY = IMAGES[..., 0], TEST_IMAGES[..., 0]
FLOATS = IMAGES / 255, TEST_IMAGES / 255
VECTORS = IMAGES[:, 0, :, 0] - 9.0, TEST_IMAGES[:, 0, :, 0] - 9.0
ARCHIVES = {
    "MedMNIST's": (
        named(MEDMNIST, IMAGES, LABELS[:, None], TEST_IMAGES, TEST_LABELS[:, None]),
        {},
    ),
    "Keras'": (whole(*GREY), {}),
    "floats": (whole(*FLOATS), {}),
    "another byte order": (whole(*(x.astype(">f4") for x in FLOATS)), {}),
    "grey of another size": (whole(IMAGES, TEST_IMAGES), {"channels": 1}),
    "colours": (whole(*GREY), {"channels": 3, "image_size": (4, 7)}),
    "floats of another size": (whole(*FLOATS), {"channels": 1, "image_size": (3, 3)}),
    "without a test split": (
        {"images": IMAGES, "labels": LABELS, "class_names": np.array(list("abc"))},
        {"image_size": (4, 4)},
    ),
    "three splits": (
        whole(IMAGES, TEST_IMAGES, MEDMNIST)
        | {"val_images": IMAGES[:3], "val_labels": LABELS[:3]},
        {},
    ),
    "vectors": (whole(*VECTORS), {}),
    "sequences": (whole(*(x[..., 0] - 0.5 for x in FLOATS)), {"modality": "sequences"}),
}


@pytest.fixture
def small_blocks(monkeypatch):
    """Two images at a time, so that parts begin and end within blocks."""
    monkeypatch.setattr(array_blocks, "BLOCK", 200)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ARCHIVES)
def test_it_is_the_dataset_of_memory(name, save, tmp_path, small_blocks):
    arrays, form = ARCHIVES[name]
    place = archive(tmp_path, save, **arrays)
    here, there = (load(place, stream=x, **form) for x in ("never", "always"))
    assert isinstance(there.images, Rows)
    assert isinstance(there.test_images, Rows)
    assert there.images.dtype == here.images.dtype
    np.testing.assert_array_equal(there.images[:], here.images)
    np.testing.assert_array_equal(there.test_labels, here.test_labels)
    assert there.fingerprint == here.fingerprint
    assert there.remarks == here.remarks
    assert there.class_names == here.class_names
    assert there.name == here.name


def test_no_more_than_some_blocks_are_in_memory(tmp_path, monkeypatch):
    block = 2**17
    for module in (array_blocks, rows, building, store):
        monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(array_blocks, "_PIECE", block)
    images = RNG.integers(0, 256, (400, 100, 100, 1), np.uint8)
    place = archive(
        tmp_path, np.savez_compressed, images=images, labels=np.arange(400) % 4
    )
    size, peaks = images.nbytes, {}
    del images
    for stream in ("never", "always"):
        tracemalloc.start()
        load(place, stream=stream)
        peaks[stream] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks["never"] > size
    assert peaks["always"] < 10 * block < size / 3


def test_headers_and_memory_decide(tmp_path, monkeypatch):
    place = archive(tmp_path, images=IMAGES, labels=LABELS)
    assert isinstance(load(place, stream="auto").images, np.ndarray)
    monkeypatch.setattr(choice, "host_memory", lambda: 1000)
    assert isinstance(load(place, stream="auto").images, Rows)
    assert isinstance(load(place, stream="never").images, np.ndarray)


def test_what_is_too_large_for_an_array_in_memory_is_streamed(monkeypatch):
    declared = Declared((1000, 4, 4, 1), np.dtype(np.uint8), True, 0)
    split = npz_rows.Images("images", Member("u", 4), declared, lambda x: x)
    assert npz_rows.are_streamed("auto", [split], 15_999)
    assert not npz_rows.are_streamed("auto", [split], 16_000)
    assert not npz_rows.are_streamed("never", [split], 15_999)


def test_what_is_not_in_order_is_read_into_memory_and_says_so(tmp_path):
    given = whole(np.asfortranarray(IMAGES), TEST_IMAGES)
    events = []
    with listening(events.append):
        there = load(archive(tmp_path, **given), stream="always")
    said = " ".join(str(e) for e in events if isinstance(e, Message))
    assert "x_train do not follow one another" in said
    assert isinstance(there.images, Rows)
    np.testing.assert_array_equal(there.images[:], IMAGES)


REFUSED = {
    "other shapes": (whole(IMAGES, TEST_IMAGES[:, :4]), {}, "differ in shape"),
    "other types": (whole(IMAGES, FLOATS[1]), {}, "differ in dtype"),
    "integers": (whole(*(x.astype(int) for x in (IMAGES, TEST_IMAGES))), {}, "int64"),
    "no label": (
        named(KERAS, IMAGES, LABELS, TEST_IMAGES[:0], TEST_LABELS[:0]),
        {},
        "is empty",
    ),
    "a gap": ({"images": IMAGES, "labels": LABELS * 2}, {}, "without gaps"),
    "five channels": (whole(*(np.zeros((n, 4, 4, 5)) for n in (12, 6))), {}, "5 chan"),
    "not convertible": (
        whole(*(np.zeros((n, 4, 4, 5)) for n in (12, 6))), {"channels": 1}, "1, 3 or 4",
    ),
    "a size of vectors": (whole(*VECTORS), {"image_size": (4, 4)}, "converting"),
    "objects": (whole(IMAGES.astype(object), TEST_IMAGES), {}, "has the type"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_memory_refuses_is_refused_before_it_is_decoded(
    name, tmp_path, cache_dir, small_blocks
):
    arrays, form, why = REFUSED[name]
    place = archive(tmp_path, **arrays)
    sentences = []
    for stream in ("never", "always"):
        with refused(None, why) as error:
            load(place, stream=stream, **form)
        sentences.append(str(error.value))
    if name != "not convertible":  # it names the shape of one image
        assert sentences[0] == sentences[1]
    assert not cache_dir.exists()


@pytest.mark.parametrize("wrong", [255.0, np.nan])
def test_a_value_out_of_range_is_refused_where_it_is_read(
    wrong, tmp_path, small_blocks
):
    images = FLOATS[0].copy()
    images[7, 1, 1] = wrong
    with refused(None, "float images" if wrong == 255 else "not finite"):
        load(archive(tmp_path, images=images, labels=LABELS), stream="always")


def stop_at(monkeypatch, block: int, error=Killed) -> list[int]:
    """Ends the conversion at a block; notes how many images each block has."""
    seen: list[int] = []
    check = npz_rows.check_values

    def stops(where, images):
        if len(seen) == block:
            raise error
        seen.append(len(images))
        check(where, images)

    monkeypatch.setattr(npz_rows, "check_values", stops)
    return seen


def test_a_build_that_was_stopped_goes_on(tmp_path, monkeypatch, small_blocks):
    place = archive(tmp_path, np.savez_compressed, **whole(IMAGES, TEST_IMAGES))
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Killed):
            load(place, stream="always")
    seen = stop_at(monkeypatch, 99)
    there = load(place, stream="always")
    assert sum(seen) == len(IMAGES) + len(TEST_IMAGES) - 3 * 2
    assert there.fingerprint == load(place, stream="never").fingerprint


def test_another_archive_in_its_place_is_another_store(
    tmp_path, monkeypatch, small_blocks
):
    place = archive(tmp_path, **whole(IMAGES, TEST_IMAGES))
    path = tmp_path / "set.npz"
    before = path.stat()
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Killed):
            load(place, stream="always")
    archive(tmp_path, **whole(255 - IMAGES, TEST_IMAGES))
    # Even its size and time are the same, as where a copy keeps them.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (
        before.st_size, before.st_mtime_ns,
    )  # fmt: skip
    np.testing.assert_array_equal(load(place, stream="always").images[:], 255 - IMAGES)


LARGE = RNG.integers(0, 256, (12, 80, 80, 3), np.uint8)  # more than is read ahead


def check_nothing_is_kept(tmp_path, why):
    with refused(None, "set.npz", why):
        load(f"npz:{tmp_path / 'set.npz'}", stream="always")
    kept = [x.name for x in (tmp_path / "cache").rglob("*") if x.is_file()]
    assert kept == [".lock"]


@pytest.mark.parametrize("damaged", [LARGE[11], 255 - LARGE[5]])
def test_nothing_is_kept_of_an_archive_whose_checksum_differs(tmp_path, damaged):
    archive(tmp_path, **whole(LARGE, 255 - LARGE[:6]))
    path = tmp_path / "set.npz"
    content = bytearray(path.read_bytes())
    content[content.index(damaged.tobytes())] ^= 1
    path.write_bytes(content)
    check_nothing_is_kept(tmp_path, "CRC")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: os.truncate(path, 150_000), "cut short while it was read"),
        (os.utime, "changed while it was read"),
    ],
)
def test_nothing_is_kept_of_an_archive_that_changes_while_it_is_read(
    tmp_path, monkeypatch, small_blocks, damage, why
):
    archive(tmp_path, **whole(LARGE, LARGE[:6]))
    blocks = npz_rows.array_blocks

    def read(place, *arguments):
        source = blocks(place, *arguments)
        yield next(source)
        damage(place)
        yield from source

    monkeypatch.setattr(npz_rows, "array_blocks", read)
    check_nothing_is_kept(tmp_path, why)


def test_labels_of_one_archive_never_meet_images_of_another(tmp_path, monkeypatch):
    archive(tmp_path, **whole(IMAGES, TEST_IMAGES))
    read = npz.read_arrays

    def labels_of_the_first(*arguments):
        arrays = read(*arguments)
        archive(tmp_path, **whole(255 - IMAGES, TEST_IMAGES))
        return arrays

    monkeypatch.setattr(npz, "read_arrays", labels_of_the_first)
    check_nothing_is_kept(tmp_path, "changed while it was read")


def test_a_disk_that_refuses_costs_nothing_that_is_written(
    tmp_path, monkeypatch, small_blocks
):
    place = archive(tmp_path, **whole(IMAGES, TEST_IMAGES))
    with monkeypatch.context() as patch:
        stop_at(patch, 2, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with refused(None, "No space left", "JAXDD_CACHE"):
            load(place, stream="always")
    with monkeypatch.context() as patch:
        patch.setattr(
            array_blocks, "_fill", lambda *_: (_ for _ in ()).throw(OSError(5, "EIO"))
        )
        with pytest.raises(UserError, match=r"set.npz cannot be read \(EIO\)"):
            load(place, stream="always")
    seen = stop_at(monkeypatch, 99)
    load(place, stream="always")
    assert sum(seen) == len(IMAGES) + len(TEST_IMAGES) - 2 * 2
