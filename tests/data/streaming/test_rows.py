"""Rows of a file in the place of an array."""

import numpy as np
import pytest

from jaxdd.data.streaming.rows import RowFile, Rows, blocks, hash_rows, pick
from jaxdd.data.streaming.sources import joined
from tests.helpers import refused

SHAPE = (3, 2, 1)


@pytest.fixture(params=[np.uint8, np.float32])
def array(request):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (11, *SHAPE)).astype(request.param)


def in_file(array, path, source="test") -> Rows:
    path.write_bytes(array.tobytes())
    return Rows(RowFile(path, len(array), array.shape[1:], array.dtype, source))


INDICES = {
    "one": 3,
    "from the end": -1,
    "slice": slice(2, 9, 3),
    "nothing": slice(4, 4),
    "list": [5, 5, 0],
    "table": np.array([[1, 2], [10, 0]]),
    "mask": np.arange(11) % 2 == 0,
    "all": slice(None),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_an_index_reads_what_it_reads_of_an_array(array, tmp_path, index):
    rows = in_file(array, tmp_path / "rows")
    np.testing.assert_array_equal(rows[index], array[index])
    assert rows[index].dtype == array.dtype


def test_it_looks_like_an_array(array, tmp_path):
    rows = in_file(array, tmp_path / "rows")
    assert (rows.shape, rows.dtype, rows.ndim, len(rows), rows.nbytes) == (
        array.shape, array.dtype, array.ndim, len(array), array.nbytes,
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(rows), array)
    for wrong in (11, -12, [0, 11]):
        with pytest.raises(IndexError):
            rows[wrong]


def test_a_selection_of_a_selection_reads_nothing(array, tmp_path):
    rows = in_file(array, tmp_path / "rows")
    ids, places = np.array([9, 1, 4, 7]), np.array([3, 0])
    chosen = pick(pick(rows, ids), places)
    assert rows.file.bytes_read == 0
    np.testing.assert_array_equal(chosen[:], array[ids][places])
    assert rows.file.bytes_read == 2 * rows.file.row_bytes
    assert pick(rows, slice(2, 5)).shape == (3, *SHAPE)
    np.testing.assert_array_equal(pick(chosen, slice(1, None))[:], array[[9]])
    # In memory a slice is no copy.
    assert np.shares_memory(pick(array, slice(2, 5)), array)
    odd = np.arange(11) % 2 == 1
    np.testing.assert_array_equal(pick(rows, odd)[:], pick(array, odd))


def test_blocks_and_hashes_are_those_of_an_array(array, tmp_path):
    rows = in_file(array, tmp_path / "rows")
    for ours, theirs in zip(blocks(rows, 4), blocks(array, 4), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    seen: list[list[bytes]] = [[], []]
    for images, parts in zip((rows, array), seen, strict=True):
        hash_rows(images, lambda x, parts=parts: parts.append(bytes(x)))
    assert b"".join(seen[0]) == b"".join(seen[1]) == array.tobytes()


def test_equal_rows_are_known_as_equal(array, tmp_path):
    rows, same = (in_file(array, tmp_path / name) for name in "ab")
    other = in_file(array, tmp_path / "c", "another source")
    ids = np.array([1, 2])
    assert rows == same != other
    assert hash(rows) == hash(same)
    assert rows.select(ids) == same.select(ids.copy()) != rows


def test_a_file_of_another_length_is_refused_at_once_and_later(array, tmp_path):
    path = tmp_path / "rows"
    rows = in_file(array, path)
    with path.open("r+b") as file:
        file.truncate(5 * rows.file.row_bytes)
    np.testing.assert_array_equal(rows[[4]], array[[4]])
    with refused("cut short", path.name):
        rows[[5]]
    with refused("bytes instead of", path.name):
        RowFile(path, len(array), SHAPE, array.dtype, "test")
    with refused("No such file", "missing"):
        RowFile(tmp_path / "missing", 1, SHAPE, array.dtype, "test")


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_joined_rows_are_those_of_a_joined_array(array, tmp_path, index):
    rows = in_file(array, tmp_path / "rows")
    ids = np.array([9, 2, 4])
    both = joined(rows.select(slice(0, 8)), rows.select(ids))
    whole = np.concatenate([array[:8], array[ids]])
    assert rows.file.bytes_read == 0
    np.testing.assert_array_equal(both[index], whole[index])
    np.testing.assert_array_equal(both.select(np.array([10, 7]))[:], whole[[10, 7]])
    assert both.dtype == array.dtype


def test_joined_rows_are_known_by_their_parts(array, tmp_path):
    one, same, other = (
        in_file(array, tmp_path / name, source)
        for name, source in (("a", "x"), ("b", "x"), ("c", "y"))
    )
    ids = np.array([1, 2])
    assert joined(one, one.select(ids)) == joined(same, same.select(ids))
    for different in (joined(one, one), joined(one.select(ids), one),
                      joined(one, other.select(ids))):  # fmt: skip
        assert joined(one, one.select(ids)) != different
    mixed = joined(one, array[:2])
    np.testing.assert_array_equal(mixed[10:], array[[10, 0, 1]])
    assert isinstance(joined(array, array), np.ndarray)
    with pytest.raises(IndexError):
        mixed[13]


def test_rows_that_are_expected_are_those_of_each_file(array, tmp_path, monkeypatch):
    rows = in_file(array, tmp_path / "rows")
    expected = []
    monkeypatch.setattr(RowFile, "expect", lambda _, ids: expected.append(ids.tolist()))
    both = joined(rows.select(np.array([9, 2, 4])), rows)
    both.file.expect(both.of_file(np.array([[2, 0], [3, 5]])))
    assert expected == [[4, 9], [0, 2]]
