"""A whitened set without its matrices: written, read, shown, and made whole again."""

import dataclasses

import numpy as np
import pytest

from jaxdd.artifact import file as artifacts
from jaxdd.artifact.slim import filled, slim
from jaxdd.data import fit_zca
from jaxdd.exchange.content import Content
from tests.artifact.sets import PIXELS, failure, make, rewrite
from tests.helpers import refused

FLAT = PIXELS.reshape(-1, 8, 8, 1)


def whitened(block=None, eps=0.1, **changes):
    fitted = fit_zca(FLAT, eps, block)
    return make(images=fitted.apply(PIXELS), preprocess=fitted, **changes)


@pytest.fixture
def path(tmp_path):
    return artifacts.save(slim(whitened()), tmp_path / "slim.npz")


@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("space", ["input", "pixels"])
def test_a_slim_set_is_the_whole_one_after_the_whitening_is_fitted(
    tmp_path, block, space
):
    whole = whitened(block, space=space)
    if space == "pixels":
        whole = dataclasses.replace(whole, images=PIXELS / np.float32(255))
    path = artifacts.save(slim(whole), tmp_path / "slim.npz")
    again = artifacts.load(path)
    assert again.is_slim
    assert again.digest != whole.digest
    np.testing.assert_array_equal(again.images, whole.images)
    np.testing.assert_allclose(
        again.displayable(), whole.displayable(), atol=0.5 / 255 + 1e-6
    )
    fitted = filled(again, again.preprocess.fit(FLAT))
    assert fitted.digest == whole.digest
    np.testing.assert_array_equal(fitted.displayable(), whole.displayable())
    with np.load(path) as file:
        largest = max(file[name].nbytes for name in file.files)
        assert int(np.prod(whole.images.shape)) * 4 == file["images"].nbytes == largest


def test_files_of_whole_sets_are_as_they_were(tmp_path):
    """Older versions read them; slim ones they refuse as newer."""
    for made, form in ((whitened(), '"format": 3'), (slim(whitened()), '"format": 4')):
        with np.load(artifacts.save(made, tmp_path / "set.npz")) as file:
            assert form in str(file["header"])
            assert ("preprocess/matrix" in file.files) != made.is_slim


@pytest.mark.parametrize(
    "images",
    [FLAT[1:], np.concatenate([FLAT, FLAT[:1]]), np.clip(FLAT, 3, 255)],
    ids=["fewer", "more", "others"],
)
def test_other_data_are_refused(images):
    with refused("is another one than that of these training data"):
        slim(whitened()).preprocess.fit(images)


def test_a_whitening_by_another_eps_or_in_blocks_is_another():
    known = slim(whitened()).preprocess
    assert known.agrees(fit_zca(FLAT))
    for other in (fit_zca(FLAT, 0.101), fit_zca(FLAT, block=4), make().preprocess):
        assert not known.agrees(other)
    with refused("do not fit a whitening of 64 values"):
        known.fit(FLAT[:, :4])


def test_rounding_of_another_machine_is_no_other_whitening():
    known = slim(whitened()).preprocess
    fitted = fit_zca(FLAT)
    noise = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    near = dataclasses.replace(
        fitted,
        matrix=fitted.matrix * (1 + 1e-6 * noise),
        mean=fitted.mean + np.float32(1e-7),
    )
    assert known.agrees(near)
    assert not known.agrees(dataclasses.replace(near, inverse=1.001 * fitted.inverse))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.fitted,
        lambda x: x.preprocess.apply(PIXELS),
        lambda x: x.preprocess.invert(PIXELS),
        lambda x: x.preprocess.space(),
        lambda x: dataclasses.replace(x, space="pixels").synthetic(),
        Content,
    ],
)
def test_whatever_needs_the_matrices_says_what_to_do(use):
    with refused("this set is slim: its whitening has to be fitted again"):
        use(slim(whitened()))


def test_what_has_no_slim_form_is_refused():
    with refused("this set is normalised, not whitened"):
        slim(make())
    with refused("whitened by an eps below 0.1"):
        slim(whitened(eps=0.01))
    other = slim(whitened(eps=0.01), eps=0.01)
    assert other.preprocess.fit(FLAT).matrix.shape == (64, 64)
    rows = FLAT.reshape(-1, 64).astype(np.float32)
    vectors = make(images=rows.reshape(3, 4, 64), preprocess=fit_zca(rows))
    with refused("a slim set"):
        slim(vectors)


def test_some_of_its_images_are_a_slim_set_too(path):
    whole, made = whitened(), artifacts.load(path)
    assert slim(made) is made
    places = np.array([[3, 0]] * 3)
    kept = artifacts.load(artifacts.save(made.keep(places), path))
    expected = slim(whole).displayable()[:, [3, 0]]
    np.testing.assert_array_equal(kept.displayable(), expected)


WIDE = np.zeros((2, 64), np.float32)
ODD = {
    "no products": ({"preprocess/products": None}, "matrix"),
    "no eps": ({"preprocess/eps": None}, "neither whole nor"),
    "an eps of nothing": ({"preprocess/eps": np.float64(0)}, "eps is 0"),
    "an eps that is none": ({"preprocess/eps": np.float64(np.nan)}, "eps is nan"),
    "two eps": ({"preprocess/eps": np.ones(2)}, "eps"),
    "an eps that is text": ({"preprocess/eps": np.array("0.1")}, "eps"),
    "another kind": ({"preprocess/kind": np.array("affine")}, "neither whole nor"),
    "blocks as whole": ({"preprocess/products": WIDE[:, :16]}, "does not fit"),
    "odd blocks": ({"preprocess/products": WIDE[:, :9]}, "shape"),
    "one product": ({"preprocess/products": WIDE[:1]}, "shape"),
    "infinite products": ({"preprocess/products": WIDE + np.inf}, "finite"),
    "enormous products": ({"preprocess/products": WIDE + 1e20}, "no part of"),
    "a mean of channels": ({"preprocess/mean": np.zeros(1, np.float32)}, "not fit"),
    "a matrix, too": ({"preprocess/matrix": np.eye(64, dtype=np.float32)}, "neither"),
    "no levels": ({"levels": None}, "levels"),
    "levels of floats": ({"levels": PIXELS / np.float32(255)}, "levels"),
    "levels of 16 bits": ({"levels": PIXELS.astype(np.uint16)}, "levels"),
    "levels of others": ({"levels": PIXELS[:, :2]}, "levels"),
}


@pytest.mark.parametrize(("arrays", "words"), ODD.values(), ids=ODD)
def test_a_member_that_cannot_be_used_is_named(path, arrays, words):
    rewrite(path, **arrays)
    failure(path, words, "copy it again")


def test_levels_of_a_whole_set_and_levels_twice_are_refused(tmp_path, path):
    whole = artifacts.save(whitened(), tmp_path / "whole.npz")
    rewrite(whole, levels=PIXELS)
    failure(whole, "the pixels of a slim set")
    rewrite(path, {"decoder": {"space": "pixels"}})
    failure(path, "its pixels once")


def test_images_that_a_fitted_whitening_overflows_are_refused(path):
    fitted = fit_zca(FLAT)
    signs = np.sign(fitted.inverse[np.abs(fitted.inverse).sum(1).argmax()])
    enormous = np.broadcast_to(3e38 * signs.reshape(8, 8, 1), PIXELS.shape)
    large = dataclasses.replace(
        artifacts.load(path), images=enormous.astype(np.float32)
    )
    with refused("does not fit the values of its images"), np.errstate(all="ignore"):
        filled(large, fitted)


def test_pictures_of_other_images_are_refused(path):
    set_ = artifacts.load(path)
    other = dataclasses.replace(set_, levels=255 - set_.levels)
    with refused(None, "the pictures of this slim set are not those of its images"):
        filled(other, set_.preprocess.fit(FLAT))


@pytest.mark.parametrize("eps", [0, -0.1, float("nan"), "0.1", None])
def test_an_eps_that_is_none_is_refused(eps):
    with refused(None, "eps must be a positive number"):
        slim(whitened(), eps=eps)


def test_a_set_is_slimmed_by_its_path_too(tmp_path):
    path = artifacts.save(whitened(), tmp_path / "whole.npz")
    assert np.array_equal(slim(path).images, slim(whitened()).images)
    with refused(None, "a int is no distilled set"):
        slim(3)
