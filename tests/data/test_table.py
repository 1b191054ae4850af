"""Tables, vectors and sequences as datasets: read, refused, and readable again."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.data import fit_zca, load, normalisation
from jaxdd.data.columns import Column, readable
from jaxdd.data.readers.small import breast_cancer, waves, wine
from jaxdd.data.readers.table import from_table
from tests.helpers import refused

ROWS = [(i, 20 + i, "red" if i % 3 else "blue", "cat" if i % 2 else "dog")
        for i in range(20)]  # fmt: skip
HEADING = "id,age,colour,pet"


def text_of(rows=ROWS, heading=HEADING, comma=","):
    lines = [heading.replace(",", comma), *(comma.join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def write(tmp_path, text, name="pets.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def read(path, **options):
    return from_table(path, **{"label": "pet", "id_column": "id", **options})


def check_pets(data):
    assert data.image_shape == (3,)
    assert data.class_names == ("cat", "dog")
    assert data.columns == (Column("age"), Column("colour", ("blue", "red")))
    assert (len(data.labels), len(data.test_labels)) == (16, 4)
    rows = np.concatenate([data.images, data.test_images])
    _, cells = readable(data.columns, rows)
    assert sorted(cells) == sorted([str(age), colour] for _, age, colour, _ in ROWS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_a_csv_is_read_whatever_program_wrote_it(tmp_path, encoding, comma):
    check_pets(read(write(tmp_path, text_of(comma=comma), encoding=encoding)))


def columns():
    ids, ages, colours, pets = zip(*ROWS, strict=True)
    return {"id": np.array(ids), "age": np.array(ages, float),
            "colour": np.array(colours), "pet": np.array(pets)}  # fmt: skip


def test_columns_of_texts_are_said(tmp_path):
    data = read(write(tmp_path, text_of()))
    assert "columns of texts, each with so many categories: colour (2)" in data.remarks


def test_an_npz_of_columns_is_the_same_table(tmp_path):
    np.savez(tmp_path / "pets.npz", **columns())
    check_pets(read(tmp_path / "pets.npz"))


def test_a_parquet_file_is_the_same_table(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {name: list(map(str, x)) if x.dtype.kind == "U" else x
             for name, x in columns().items()}  # fmt: skip
    parquet.write_table(arrow.table(table), tmp_path / "pets.parquet")
    check_pets(read(tmp_path / "pets.parquet"))


def test_missing_cells_are_means_over_the_training_rows(tmp_path):
    rows = [list(row) for row in ROWS]
    path = write(tmp_path, text_of())
    first, second = (read(path).images[i, 0] - 20 for i in (0, 1))  # in train
    rows[int(first)][1], rows[int(second)][2] = "", "NA"
    path = write(tmp_path, text_of(rows))
    data = read(path, missing="mean")
    assert np.isclose(data.images[0, 0], data.images[1:, 0].mean())
    assert np.isclose(data.images[1, 1:].sum(), 1)
    assert 0 < data.images[1, 1] < 1
    with refused(None, "no value", "--missing=mean"):
        read(path)


def bad(changes=(), rows=None, heading=HEADING):
    """The text of a table with cells (row, column, text) changed."""
    table = [list(row) for row in (ROWS if rows is None else rows)]
    for row, column, text in changes:
        table[row][column] = text
    return text_of(table, heading)


REFUSED = {
    "text among numbers": (bad([(3, 1, "old")]), {}, ["'age'", "row 5", "'old'"]),
    "decimal commas": (
        bad(rows=[(r[0], f'"{r[1]},5"', *r[2:]) for r in ROWS]),
        {},
        ["'age'", "decimal commas", "'20,5'", "points"],
    ),
    "a class that means none": (
        bad([(3, 3, "None")]),
        {},
        ["row 5", "'None'", "stands for no value", "rename"],
    ),
    "one class": (bad(rows=[(*r[:3], "cat") for r in ROWS]), {}, ["one class"]),
    "two names": (bad(heading="id,age,age,pet"), {}, ["two columns", "'age'"]),
    "no name": (bad(heading="id,,colour,pet"), {}, ["column 2 has no name"]),
    "two ids": (bad([(3, 0, "4")]), {}, ["id '4'", "2 rows"]),
    "infinite": (bad([(3, 1, "inf")]), {}, ["row 5", "too large"]),
    "too large": (bad([(3, 1, "1e60")]), {}, ["1e+60"]),
    "nan": (bad([(3, 1, "nan")]), {}, ["row 5", "--missing=mean"]),
    "no class": (bad([(3, 3, "")]), {}, ["row 5", "no class"]),
    "no rows": (HEADING + "\n", {}, ["no rows"]),
    "empty": ("", {}, ["empty"]),
    "ragged": (bad() + "1,2\n", {}, ["row 22 has 2 cells", "4"]),
    "no label": (bad(), {"label": None}, ["--label=COLUMN"]),
    "other label": (bad(), {"label": "species"}, ["--label=species", "pet"]),
    "other id": (bad(), {"id_column": "key"}, ["--id_column=key"]),
    "classes of numbers": (
        bad(rows=[(*r[:3], i / 7) for i, r in enumerate(ROWS * 6)]),
        {},
        ["as measurements do"],
    ),
    "names": (
        bad(rows=[(i, 1, f"n{i}", r[3]) for i, r in enumerate(ROWS * 6)]),
        {},
        ["120 different texts", "--id_column"],
    ),
    "one sample": (bad([(0, 3, "cow")]), {}, ["1 training sample"]),
    "no value at all": (
        bad(rows=[(r[0], "", *r[2:]) for r in ROWS]),
        {"missing": "mean"},
        ["'age'", "no value"],
    ),
    "no features": ("pet\ncat\ndog\n", {"id_column": None}, ["no column beside"]),
    "latin": (bad([(3, 2, "gr\xfcn")]).encode("latin-1"), {}, ["UTF-8"]),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0\xff", {}, ["UTF-8"]),
    "unknown missing": (bad(), {"missing": "zero"}, ["--missing", "refuse, mean"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, case):
    text, options, words = REFUSED[case]
    path = write(tmp_path, text)
    with refused(None, *words):
        read(path, **options)
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused_in_a_sentence(tmp_path, monkeypatch):
    with refused(None, "pets.xlsx"):
        read(write(tmp_path, "x", "pets.xlsx"))
    with refused(None, "no .npz archive", "csv"):
        read(write(tmp_path, "x", "pets.npz"))
    np.savez(tmp_path / "ragged.npz", age=np.zeros(3), pet=np.arange(2))
    with refused(None, "differ in length"):
        read(tmp_path / "ragged.npz")
    np.savez(tmp_path / "square.npz", age=np.zeros((3, 3)), pet=np.arange(3))
    with refused(None, "'age' has shape (3, 3)"):
        read(tmp_path / "square.npz")
    monkeypatch.setattr("jaxdd.data.readers.table_files.LARGEST", 10)
    with refused(None, "more than 10 bytes"):
        read(write(tmp_path, bad()))


def test_a_damaged_or_huge_parquet_file_is_refused(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    with refused(None, "cannot be used"):
        read(write(tmp_path, "PAR1 and no more", "pets.parquet"))
    # Ten million equal numbers are a few kilobytes in the file.
    many = arrow.table({"age": np.zeros(10**6), "pet": np.zeros(10**6)})
    parquet.write_table(many, tmp_path / "many.parquet")
    monkeypatch.setattr("jaxdd.data.readers.table_files.LARGEST", 10**6)
    with refused(None, "declares more than"):
        read(tmp_path / "many.parquet")


def test_flags_of_tables_are_refused_elsewhere(tmp_path):
    with refused(None, "--label", "table"):
        load("digits", label="pet")
    with refused(None, "--modality"):
        load("wine", modality="vectors")
    path = write(tmp_path, bad())
    for flags in ({"label": "pet"}, {}):
        with refused(None, f"--dataset=table:{path}"):
            load(str(path), **flags)
    with refused(None, "wine is meant?"):
        load("wines")
    with refused(None, "vectors"):
        load("wine", channels=1)
    assert load(f"table:{path}", label="pet", id_column="id").name == "table:pets"


def test_a_constant_column_is_standardised_to_zero_and_others_to_one():
    rows = np.array([[1e4, 5.0], [1e4, 7.0], [1e4, 9.0]], np.float32)
    map_ = normalisation("mnist", rows)
    inputs = map_.apply(rows)
    np.testing.assert_array_equal(inputs[:, 0], 0)
    np.testing.assert_allclose(inputs[:, 1].std(), 1, rtol=1e-5)
    np.testing.assert_allclose(map_.invert(inputs), rows, rtol=1e-6)
    stored, scale, shift = map_.device_images(rows)
    np.testing.assert_allclose(stored * scale + shift, inputs, atol=2e-3)


@pytest.mark.parametrize("shape", [(40, 5), (40, 4, 2)])
def test_whitening_takes_any_shape_and_comes_back(shape):
    samples = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    map_ = fit_zca(samples, eps=1e-3)
    white = map_.apply(samples)
    covariance = np.cov(white.reshape(40, -1).T)
    np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=0.02)
    np.testing.assert_allclose(map_.invert(white), samples, atol=1e-4)
    space = map_.space()
    stored = space.encode(jnp.asarray(white[:, None]))
    np.testing.assert_allclose(stored, samples[:, None], atol=1e-4)


def test_the_built_in_sets():
    assert breast_cancer().images.shape == (455, 30)
    assert wine().images.shape == (142, 13)
    first, again = waves(per_class=10), waves(per_class=10)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != waves(1, per_class=10).fingerprint
    assert load("waves").modality.name == "sequences"


def test_arrays_say_what_they_are_by_their_axes_or_by_name():
    labels = np.arange(6) % 2
    make = lambda samples, **named: jaxdd.from_arrays(
        samples, labels, samples, labels, **named
    )
    assert make(np.zeros((6, 5), int)).modality.name == "vectors"
    assert make(np.zeros((6, 5, 4))).modality.name == "images"  # grey, as always
    sequences = make(7 * np.ones((6, 5, 4)), modality="sequences")
    assert sequences.image_shape == (5, 4)
    with refused(None, "modality=sequences"):
        make(7 * np.ones((6, 5, 4)))
    with refused(None, "sequences have shape [M, L, C]"):
        make(np.zeros((6, 5)), modality="sequences")
    with refused(None, "modality"):
        make(np.zeros((6, 5)), modality="sounds")
    with refused(None, "not finite"):
        make(np.full((6, 5), np.nan))
    with refused(None, "real numbers"):
        make(np.full((6, 5), "x"))


def test_an_npz_of_sequences_needs_their_name(tmp_path):
    waves_ = np.random.default_rng(0).normal(size=(20, 8, 2))
    np.savez(tmp_path / "w.npz", x_train=waves_, y_train=np.arange(20) % 2)
    data = load(f"npz:{tmp_path / 'w.npz'}", modality="sequences")
    assert data.image_shape == (8, 2)
    with refused(None, "[0, 1]"):
        load(f"npz:{tmp_path / 'w.npz'}")
