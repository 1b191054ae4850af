"""Whitening in blocks, and what is refused whole."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.artifact import file as artifacts
from jaxdd.data import Preprocess, fit_zca, from_arrays, whitening
from jaxdd.data import problem as problems
from jaxdd.data.problem import Scaling, prepare
from jaxdd.data.whitening import from_rows, to_rows
from jaxdd.methods.presets import preset
from jaxdd.progress import listening
from tests.artifact.sets import make
from tests.helpers import refused


def colour(count=60, shape=(4, 8, 3), seed=0):
    rng = np.random.default_rng(seed)
    smooth = rng.random((count, *shape)).cumsum(1).cumsum(2)
    return (255 * smooth / smooth.max()).astype(np.uint8)


def test_rows_are_the_blocks_as_they_are_cut_out():
    images = np.random.default_rng(0).random((5, 4, 8, 3))
    rows = to_rows(images, 2).reshape(5, 2, 4, 12)
    for i, j in np.ndindex(2, 4):
        cut = images[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        np.testing.assert_array_equal(rows[:, i, j], cut.reshape(5, -1))
    np.testing.assert_array_equal(
        from_rows(to_rows(images, 2), images.shape, 2), images
    )


def test_the_covariance_is_that_of_blocks_of_all_places():
    """By loops over places, each less the mean of its place; in float64."""
    images = colour()
    pixels = images / 255.0
    centred = pixels - pixels.mean(0)
    rows = to_rows(centred, 4)
    covariance = (
        sum(np.cov(centred[:, :, j : j + 4].reshape(60, -1).T) for j in (0, 4)) / 2
    )
    s, u = np.linalg.eigh(covariance)
    expected = rows @ (u / np.sqrt(s + 0.1)) @ u.T
    found = fit_zca(images, block=4)
    assert found.matrix.shape == (48, 48)
    np.testing.assert_allclose(to_rows(found.apply(images), 4), expected, atol=1e-5)


def test_it_inverts_on_host_and_device_and_each_block_is_alone():
    images = colour()
    fitted = fit_zca(images, block=2)
    inputs = fitted.apply(images)
    np.testing.assert_allclose(fitted.invert(inputs), images / 255, atol=1e-5)
    space = fitted.space()
    folded = jnp.asarray(inputs).reshape(3, 20, 4, 8, 3)
    np.testing.assert_allclose(
        space.encode(folded).reshape(images.shape), images / 255, atol=1e-5
    )
    pixels = jnp.asarray(images / 255, jnp.float32)
    np.testing.assert_allclose(space.decode(pixels), inputs, atol=1e-5)
    np.testing.assert_allclose(fitted.apply(images[0]), inputs[0], atol=1e-6)
    other = images.copy()
    other[:, :2, 2:4] = 0
    same = (fitted.apply(other) == inputs).all((0, 3))
    assert not same[:2, 2:4].any()
    same[:2, 2:4] = True
    assert same.all()


def test_a_block_as_large_as_the_image_is_the_image():
    images = colour(shape=(4, 4, 3))
    whole, block = fit_zca(images), fit_zca(images, block=4)
    assert block.kind == "zca"
    assert block.digest == whole.digest


def test_an_artifact_keeps_the_blocks(tmp_path):
    images = make().images.reshape(-1, 8, 8, 1)
    fitted = fit_zca(np.clip(images, 0, 1), block=4)
    whole = make(preprocess=fitted)
    again = artifacts.load(artifacts.save(whole, tmp_path / "a.npz"))
    assert again.preprocess.kind == "zca_blocks"
    assert again.digest == whole.digest
    np.testing.assert_array_equal(again.displayable(), whole.displayable())
    for changes in (
        {"kind": "zca"},
        {"mean": fitted.mean[:1]},
        {"matrix": np.eye(3, dtype=np.float32), "inverse": np.eye(3, dtype=np.float32)},
        {"matrix": np.eye(4, dtype=np.float32)},
    ):
        wrong = dataclasses.replace(fitted, **changes)
        with refused("cannot be saved"):
            artifacts.save(make(preprocess=wrong), tmp_path / "b.npz")
    with refused("do not fit a whitening"):
        fitted.apply(np.zeros((1, 4, 16, 1), np.float32)[:, :, :15])


def problem(scaling, shape=(64, 64, 3)):
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), np.uint8)
    labels = np.arange(8) % 2
    data = from_arrays(images, labels, images, labels)
    return prepare(data, 0.0, 0, scaling)


def test_large_images_are_not_whitened_whole():
    with refused(
        r"--zca of samples of 12288 values takes about 6.0 GB \(5 arrays of 12288 x ",
        "minutes for 100000 images of 64x64",
        "--zca_blocks=32 to whiten them in blocks",
        "64 to whiten them whole all the same, or --nozca",
    ):
        problem(Scaling(zca=True))
    rows, labels = np.zeros((8, 5000)), np.arange(8) % 2
    with refused("samples of 5000 values .*: leave it out"):
        prepare(from_arrays(rows, labels, rows, labels), 0.0, 0, Scaling(zca=True))
    assert problem(Scaling(zca=True, zca_blocks=4)).preprocess.matrix.shape == (48, 48)


@pytest.mark.parametrize(
    ("shape", "blocks", "words"),
    [
        (
            (64, 48, 1),
            5,
            "does not divide images of 64x48 pixels: give a divisor of 16",
        ),
        ((8, 8, 1), 16, "give a divisor of 8"),
    ],
)
def test_blocks_have_to_fill_the_image(shape, blocks, words):
    with refused(None, words):
        problem(Scaling(zca=True, zca_blocks=blocks), shape)


def test_published_methods_whiten_as_their_code_does():
    """MTT, FTD and RaT-BPTT normalise Tiny ImageNet; DATM, PAD, FRePo whiten it."""
    whitened = {
        method: preset(method, "tiny_imagenet", 10).scaling.zca
        for method in ("mtt", "ftd", "rat_bptt", "datm", "pad", "frepo", "rcig", "dm")
    }
    assert [m for m, zca in whitened.items() if zca] == ["datm", "pad", "frepo", "rcig"]
    large = preset("frepo", "imagenette", 1).scaling
    assert (large.zca, large.zca_blocks) == (True, 64)


def test_arrays_of_blocks_come_back():
    fitted = fit_zca(colour(), block=4)
    again = Preprocess.from_arrays(fitted.to_arrays())
    np.testing.assert_array_equal(again.apply(colour()), fitted.apply(colour()))


def test_large_blocks_are_whitened_where_they_are_asked_for(monkeypatch):
    """And what they take is said."""
    for module in (whitening, problems):
        monkeypatch.setattr(module, "LARGEST_WHOLE", 100)
    said = []
    with listening(said.append):
        fitted = problem(Scaling(zca=True, zca_blocks=8), (8, 8, 3)).preprocess
    assert fitted.matrix.shape == (192, 192)
    assert any("ZCA whitening takes about 0.0 GB (5 arr" in str(x) for x in said)
    with refused(None, "--zca_blocks=4 to whiten", ", 8 to whiten them whole"):
        problem(Scaling(zca=True), (8, 8, 3))
