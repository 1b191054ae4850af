"""What a stored image becomes: against slow loops over pixels, tiles and images."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data import fit_zca, normalisation
from jaxdd.errors import UserError
from jaxdd.synthetic.decoder import ABSENT, decode_stored, make_decoder
from jaxdd.synthetic.formation import KINDS, Formation, form, form_labels, mosaic, tiles
from jaxdd.types import Synthetic


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def slow_resize(image, height, width):
    """Bilinear, half-pixel centres, the edge goes on outside; pixel by pixel."""
    rows, columns = image.shape[:2]

    def weights(i, size, whole):
        at = (i + 0.5) * size / whole - 0.5
        first = int(np.floor(at))
        inside = lambda j: min(max(j, 0), size - 1)
        return [(inside(first), 1 - (at - first)), (inside(first + 1), at - first)]

    found = np.zeros((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            for i, a in weights(y, rows, height):
                for j, b in weights(x, columns, width):
                    found[y, x] += a * b * image[i, j]
    return found


def slow_tiles(images, factor, grey):
    """[n, H, W, C] -> [f * f * n, H, W, C]: tile (0, 0) of all images, then (0, 1)."""
    _, height, width, channels = images.shape
    rows, columns = -(-height // factor), -(-width // factor)
    made = []
    for i in range(factor):
        for j in range(factor):
            for image in images:
                canvas = np.full((rows * factor, columns * factor, channels), grey)
                canvas[:height, :width] = image
                tile = canvas[i * rows :, j * columns :][:rows, :columns]
                made.append(slow_resize(tile, height, width))
    return np.stack(made)


@pytest.mark.parametrize("grey", [0.0, 0.5])
@pytest.mark.parametrize(
    ("height", "width", "factor"), [(8, 8, 2), (8, 8, 3), (7, 5, 2), (5, 9, 4)]
)
def test_tiles_are_cut_and_scaled_up_bilinearly(height, width, factor, grey):
    images = random_images(2, 2, height, width, 2)
    found = jax.jit(tiles, static_argnums=(1, 2))(images, factor, grey)
    for k in range(2):
        expected = slow_tiles(images[k], factor, grey)
        np.testing.assert_allclose(found[k], expected, atol=1e-5)


def test_a_factor_of_one_changes_nothing():
    images = jnp.asarray(random_images(2, 3, 4, 4, 1))
    assert np.array_equal(form(images, Formation()), images)


@pytest.mark.parametrize(
    ("stored", "runs", "count"),
    [
        (20, ((12, 3), (3, 2), (5, 1)), 125),
        (10, ((10, 3),), 90),
        (50, ((8, 3), (3, 2), (39, 1)), 123),
    ],
)
def test_the_plans_of_bound(stored, runs, count):
    """IDC's official code, with at most 128 images of a class."""
    formation = Formation(3, "bound")
    assert formation.grid(stored) == runs
    assert formation.count(stored) == count


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("stored", [1, 7, 30, 64, 128])
def test_bound_takes_the_largest_factors_that_fit(stored, factor):
    """As the official loop does: the images left need at least one place each."""
    runs, made, left = [], 0, stored
    for k in range(factor, 0, -1):
        slack = 128 - made - left
        n = left if k == 1 else min(slack // k**2, left)
        if n > 0:
            runs.append((n, k))
            made, left = made + n * k**2, left - n
    formation = Formation(factor, "bound")
    assert formation.grid(stored) == tuple(runs)
    assert sum(n for n, _ in runs) == stored
    assert formation.count(stored) <= 128


def test_multi_has_the_images_of_all_factors():
    images = jnp.asarray(random_images(2, 3, 6, 6, 1))
    found = form(images, Formation(3, "multi"))
    parts = [tiles(images, factor, 0.0) for factor in (1, 2, 3)]
    assert found.shape[1] == Formation(3, "multi").count(3) == 3 * (1 + 4 + 9)
    assert np.array_equal(found, jnp.concatenate(parts, axis=1))


def test_bound_has_different_factors_and_is_for_matching_only():
    formation = Formation(2, "bound", limit=9)
    images = jnp.asarray(random_images(1, 4, 6, 6, 1))
    assert formation.grid(4) == ((1, 2), (3, 1))
    found = form(images, formation)
    assert np.array_equal(found[:, :4], tiles(images[:, :1], 2, 0.0))
    assert np.array_equal(found[:, 4:], images[:, 1:])
    assert Formation(3, "bound").evaluated() == Formation(3)
    for kind in ("single", "multi"):
        assert Formation(3, kind).evaluated() == Formation(3, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_follow_their_images(kind):
    """A constant image tells by its colour which stored image it comes from."""
    formation = Formation(3, kind, limit=40)
    colours = np.arange(10).reshape(2, 5)
    images = np.broadcast_to(colours[..., None, None, None], (2, 5, 6, 6, 1))
    found = form(jnp.asarray(images, jnp.float32), formation)
    labels = form_labels(jnp.eye(10)[colours], formation)
    assert found.shape[:2] == labels.shape[:2] == (2, formation.count(5))
    expected = np.argmax(labels, axis=-1)
    np.testing.assert_allclose(found[:, :, 0, 0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(found[:, :, -1, -1, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((2, "triple"), "single, multi, bound"), ((0,), "at least 1, not 0")],
)
def test_a_wrong_formation_is_the_users_error(arguments, message):
    with pytest.raises(UserError, match=message):
        Formation(*arguments)


@pytest.mark.parametrize("size", [(8, 8), (6, 9), (11, 4), (1, 7)])
@pytest.mark.parametrize("factor", range(1, 13))
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_every_tile_holds_a_pixel_or_the_factor_is_refused(kind, factor, size):
    """By a slow loop over the tiles, cut out of an image of ones among zeros."""

    def blank(f):
        rows, columns = (-(-n // f) for n in size)
        padded = np.zeros((rows * f, columns * f))
        padded[: size[0], : size[1]] = 1
        cut = padded.reshape(f, rows, f, columns).sum((1, 3))
        return (cut == 0).any()

    factors = [factor] if kind == "single" else range(1, factor + 1)
    stored = jnp.ones((1, 1, *size, 1))
    formation = Formation(factor, kind)
    if not any(blank(f) for f in factors):
        formation.check(*size)
        return
    with pytest.raises(UserError, match=f"a factor of {factor} cuts") as error:
        form(stored, formation)
    assert "\n" not in str(error.value)
    # What is proposed works.
    proposed = int(str(error.value).rsplit(" ", 1)[1])
    Formation(proposed, kind).check(*size)


def test_a_huge_factor_is_refused_at_once():
    stored = Synthetic(jnp.ones((2, 1, 8, 8, 1)), jnp.ones((2, 1, 2)), jnp.float32(0))
    with pytest.raises(UserError, match="choose a factor that fits, such as 8"):
        decode_stored(stored, Formation(30_000))


def slow_mosaic(images, factor):
    """Every pixel by itself: its cell, the image shown there, the nearest pixel."""
    count, height, width, channels = images.shape
    n = count // factor**2

    def cells(size):
        """Of each pixel along an axis: its cell, its place in it, the cell's size."""
        found = []
        for i in range(factor):
            length = size // factor + (1 if i < size % factor else 0)
            found += [(i, place, length) for place in range(length)]
        return found

    made = np.zeros((n, height, width, channels), images.dtype)
    for j in range(n):
        for y, (i, row, rows) in enumerate(cells(height)):
            for x, (k, column, columns) in enumerate(cells(width)):
                source = images[(factor * i + k) * n + j]
                made[j, y, x] = source[row * height // rows, column * width // columns]
    return made


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(8, 8, 2), (8, 8, 3), (7, 5, 2), (7, 11, 3)]
)
def test_a_mosaic_shows_small_copies(height, width, factor):
    images = random_images(2, 2 * factor**2, height, width, 2)
    found = jax.jit(mosaic, static_argnums=1)(images, factor)
    chex.assert_shape(found, (2, 2, height, width, 2))
    for k in range(2):
        assert np.array_equal(found[k], slow_mosaic(images[k], factor))


def synthetic(classes=3, n=2, seed=0, size=6):
    labels = jnp.broadcast_to(jnp.eye(classes)[:, None], (classes, n, classes))
    images = jnp.asarray(random_images(classes, n, size, size, 1, seed=seed))
    return Synthetic(images, labels, jnp.float32(0.25))


def preprocessing(kind, size=6):
    pixels = random_images(40, size, size, 1, seed=3)
    return fit_zca(pixels) if kind == "zca" else normalisation("toy", pixels)


@pytest.mark.parametrize("kind", ["affine", "zca"])
def test_the_space_of_pixels_is_that_of_the_preprocessing(kind):
    preprocess, pixels = preprocessing(kind), random_images(3, 2, 6, 6, 1)
    space = preprocess.space()
    assert space.grey == 0.5
    seen = space.decode(jnp.asarray(pixels))
    np.testing.assert_allclose(seen, preprocess.apply(pixels), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(space.encode(seen), pixels, atol=1e-4)
    inverted = preprocess.invert(np.asarray(seen))
    np.testing.assert_allclose(space.encode(seen), inverted, atol=1e-4)


@pytest.mark.parametrize("kind", ["affine", "zca"])
def test_pixels_are_stored_and_decoded_to_what_a_network_sees(kind):
    """Tiles are of pixels, grey where there are none, and preprocessed afterwards."""
    preprocess, formation = preprocessing(kind, 7), Formation(4)
    space = preprocess.space()
    decoder = make_decoder(formation=formation, space=space)
    pixels = random_images(3, 2, 7, 7, 1)
    start = synthetic()._replace(images=jnp.asarray(preprocess.apply(pixels)))
    codes = decoder.init(jax.random.key(0), start)
    np.testing.assert_allclose(codes.images, pixels, atol=1e-4)
    stored, made = decoder.stored(codes), decoder.decode(codes)
    assert np.array_equal(stored.images, codes.images)
    assert np.array_equal(stored.labels, start.labels)
    assert float(stored.step_size) == float(made.step_size) == 0.25
    expected = np.stack([slow_tiles(x, 4, 0.5) for x in np.asarray(codes.images)])
    expected = preprocess.apply(expected.astype(np.float32))
    np.testing.assert_allclose(made.images, expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(made.labels, form_labels(start.labels, formation))
    chex.assert_trees_all_equal(made, decode_stored(stored, formation, space))


def test_without_a_choice_the_codes_are_the_set():
    start, decoder = synthetic(), make_decoder()
    codes = decoder.init(jax.random.key(0), start)
    for found in (codes, decoder.stored(codes), decoder.decode(codes)):
        chex.assert_trees_all_equal(found, start)


def test_learned_labels_are_decoded_for_every_tile():
    decoder = make_decoder("soft", Formation(2))
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 3)), jnp.float32)
    codes = synthetic()._replace(labels=logits)
    e = np.exp(np.asarray(logits, float))
    expected = e / e.sum(-1, keepdims=True)
    np.testing.assert_allclose(decoder.stored(codes).labels, expected, rtol=1e-5)
    found = decoder.decode(codes).labels  # image 0, image 1, image 0, ...
    chex.assert_shape(found, (3, 8, 3))
    np.testing.assert_allclose(found, np.tile(expected, (1, 4, 1)), rtol=1e-5)


@pytest.mark.parametrize("labels", ["hard", "teacher"])
def test_labels_that_are_not_learned_get_no_gradient(labels):
    decoder, codes = make_decoder(labels), synthetic()
    total = lambda codes: jnp.sum(jnp.square(decoder.decode(codes).labels))
    assert not np.any(jax.grad(total)(codes).labels)


def test_a_slot_without_an_image_has_no_label_and_no_gradient():
    decoder = make_decoder("soft")
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 3)), jnp.float32)
    codes = synthetic()._replace(labels=logits.at[:, 1].set(ABSENT))
    for made in (decoder.stored(codes), decoder.decode(codes)):
        assert not np.any(made.labels[:, 1])
        np.testing.assert_allclose(made.labels[:, 0].sum(-1), 1, rtol=1e-5)

    def value(labels):
        found = decoder.decode(codes._replace(labels=labels)).labels
        return jnp.sum(jnp.arange(1.0, 4.0) * found**2)

    gradient = jax.grad(value)(codes.labels)
    chex.assert_tree_all_finite(gradient)
    assert not np.any(gradient[:, 1])
    assert np.all(np.any(gradient[:, 0] != 0, axis=-1))


def test_an_unknown_kind_of_labels_is_the_users_error():
    with pytest.raises(UserError, match="choose one of hard, teacher, soft"):
        make_decoder("noisy")
