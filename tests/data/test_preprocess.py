from typing import Any

import numpy as np
import pytest

from jaxdd.data import Preprocess, digits, fit_zca, normalisation
from jaxdd.errors import UserError


def colour(num=300, dtype=np.uint8, seed=0):
    """Correlated images [num, 4, 4, 3]: noise, plus a brightness per image."""
    rng = np.random.default_rng(seed)
    x = 0.4 * rng.random((num, 4, 4, 3)) + 0.6 * rng.random((num, 1, 1, 1))
    return (255 * x).astype(np.uint8) if dtype == np.uint8 else x.astype(np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalisation_measures(dtype):
    images = colour(dtype=dtype)
    prep = normalisation("arrays", images)
    unit = images / 255.0 if dtype == np.uint8 else images
    np.testing.assert_allclose(prep.mean, unit.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(prep.std, unit.std((0, 1, 2)), rtol=1e-5)
    z = prep.apply(images)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, (unit - prep.mean) / prep.std, atol=1e-5)
    np.testing.assert_allclose(prep.invert(z), unit, atol=1e-6)


def test_known_constants():
    images = colour()
    np.testing.assert_allclose(
        normalisation("cifar10", images).mean, [0.4914, 0.4822, 0.4465]
    )
    np.testing.assert_allclose(
        normalisation("cifar100:3.0.2", images).std, [0.2673, 0.2564, 0.2762]
    )
    np.testing.assert_allclose(
        normalisation("tiny_imagenet_subset", images).std, [0.229, 0.224, 0.225]
    )
    # A set of that name with other channels is not that set.
    assert normalisation("mnist", images).mean.shape == (3,)


def test_constant_channel_stays_finite():
    prep = normalisation("arrays", np.full((5, 2, 2, 1), 7, np.uint8))
    assert prep.std.min() > 0
    np.testing.assert_allclose(prep.apply(np.full((1, 2, 2, 1), 7, np.uint8)), 0)


@pytest.mark.parametrize("kind", ["affine", "zca"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_device_images_give_the_same_as_apply(kind, dtype):
    images = colour(dtype=dtype)
    prep = normalisation("x", images) if kind == "affine" else fit_zca(images)
    stored, scale, shift = prep.device_images(images)
    assert stored.dtype == (np.float32 if kind == "zca" else dtype)
    assert scale.dtype == shift.dtype == np.float32
    assert scale.shape == shift.shape == (3,)
    np.testing.assert_allclose(stored * scale + shift, prep.apply(images), atol=1e-6)


@pytest.mark.parametrize("kind", ["affine", "zca"])
def test_leading_axes_are_free(kind):
    images = colour(12)
    prep = normalisation("x", images) if kind == "affine" else fit_zca(images)
    z = prep.apply(images)
    folded = images.reshape(3, 4, 4, 4, 3)
    np.testing.assert_allclose(prep.apply(folded).reshape(z.shape), z, atol=1e-6)
    np.testing.assert_allclose(prep.apply(images[0]), z[0], atol=1e-6)
    np.testing.assert_allclose(
        prep.invert(z.reshape(folded.shape)), folded / 255, atol=1e-5
    )


def test_zca_inverts():
    images = digits().images
    prep = fit_zca(images)
    np.testing.assert_allclose(prep.invert(prep.apply(images)), images, atol=1e-5)
    # The inverse is a map of its own, not only on the data.
    identity = prep.matrix.astype(np.float64) @ prep.inverse
    np.testing.assert_allclose(identity, np.eye(64), atol=1e-5)


@pytest.mark.parametrize("eps", [0.1, 1e-3])
def test_zca_covariance_has_the_closed_form(eps):
    """cov(whitened) = U diag(s / (s + eps)) U', with s, U from an independent SVD."""
    images = colour(2500)  # several blocks
    rows = images.reshape(2500, -1) / 255.0
    _, singular, vt = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    s = singular**2 / 2499
    z = fit_zca(images, eps).apply(images).reshape(2500, -1).astype(np.float64)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    rotated = vt @ np.cov(z.T) @ vt.T
    np.testing.assert_allclose(rotated, np.diag(s / (s + eps)), atol=1e-4)


@pytest.mark.parametrize("kind", ["affine", "zca"])
def test_npz_round_trip_without_pickle(kind, tmp_path):
    images = colour(20)
    prep = normalisation("x", images) if kind == "affine" else fit_zca(images)
    arrays: dict[str, Any] = prep.to_arrays()
    np.savez(tmp_path / "p.npz", **arrays)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as saved:
        again = Preprocess.from_arrays(saved)
    assert again.kind == kind
    np.testing.assert_array_equal(again.apply(images), prep.apply(images))
    z = prep.apply(images)
    np.testing.assert_array_equal(again.invert(z), prep.invert(z))


def test_errors_name_the_value():
    images = colour(20)
    with pytest.raises(UserError, match="'pca'"):
        Preprocess.from_arrays({"kind": np.array("pca")})
    with pytest.raises(UserError, match="missing"):
        Preprocess.from_arrays({})
    with pytest.raises(UserError, match="'std'"):
        Preprocess.from_arrays({"kind": np.array("affine"), "mean": np.zeros(3)})
    with pytest.raises(UserError, match=r"-0\.1"):
        fit_zca(images, eps=-0.1)
    with pytest.raises(UserError, match="got 1"):
        fit_zca(images[:1])
    with pytest.raises(UserError, match=r"\(20, 4, 4, 1\)"):
        normalisation("x", images).apply(images[..., :1])
    for call in (fit_zca(images).apply, fit_zca(images).invert):
        with pytest.raises(UserError, match=r"\(20, 4, 2, 3\)"):
            call(images[:, :, :2])
