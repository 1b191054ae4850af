"""Augmentation against slow NumPy loops, finite differences and its own promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.augment import OPS
from jaxdd.errors import UserError

SHAPES = [(8, 8, 3), (7, 10, 1)]
ALL = "color_crop_cutout_flip_scale_rotate"
NAMES = list(OPS)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- An independent reference: loops over pixels, torch's grid_sample ---------------


def grid_sample(image, theta, align_corners=True):
    """affine_grid + grid_sample, bilinear, zeros.

    -1 and 1 are the centres of the outermost pixels, or their outer edges.
    """
    height, width, channels = image.shape
    out = np.zeros((height, width, channels))
    edge = 0 if align_corners else 0.5
    to_grid = lambda i, size: (i + edge) * 2 / (size - 1 + 2 * edge) - 1
    to_pixel = lambda x, size: (x + 1) / 2 * (size - 1 + 2 * edge) - edge
    for i in range(height):
        for j in range(width):
            x_out, y_out = to_grid(j, width), to_grid(i, height)
            x_in, y_in = theta @ np.array([x_out, y_out])
            column, row = to_pixel(x_in, width), to_pixel(y_in, height)
            for r in (int(np.floor(row)), int(np.floor(row)) + 1):
                for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        weight = (1 - abs(row - r)) * (1 - abs(column - c))
                        out[i, j] += weight * image[r, c]
    return out


def slow_crop(offset, image):
    out = np.zeros_like(image)
    height, width, _ = image.shape
    for i in range(height):
        for j in range(width):
            r, c = i + int(offset[0]), j + int(offset[1])
            if 0 <= r < height and 0 <= c < width:
                out[i, j] = image[r, c]
    return out


def slow_cutout(centre, image):
    out = image.copy()
    h, w = (int(size * 0.5 + 0.5) for size in image.shape[:2])
    for i in range(h):
        for j in range(w):
            r = int(centre[0]) - h // 2 + i
            c = int(centre[1]) - w // 2 + j
            if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]:
                out[r, c] = 0
    return out


def slow_saturation(u, image):
    out = np.empty_like(image)
    for i, j in np.ndindex(*image.shape[:2]):
        mean = sum(image[i, j]) / image.shape[2]
        out[i, j] = (image[i, j] - mean) * 2 * float(u) + mean
    return out


def slow_contrast(u, image):
    mean = sum(image.ravel().tolist()) / image.size
    return (image - mean) * (float(u) + 0.5) + mean


def slow_color(draws, image):
    image = image + (float(draws[0]) - 0.5)
    return slow_contrast(draws[2], slow_saturation(draws[1], image))


def slow_rotate(angle, image, align_corners=True):
    c, s = np.cos(float(angle)), np.sin(float(angle))
    return grid_sample(image, np.array([[c, -s], [s, c]]), align_corners)


def slow_scale(factors, image, align_corners=True):
    theta = np.diag([float(factors[1]), float(factors[0])])
    return grid_sample(image, theta, align_corners)


SLOW = {
    "brightness": lambda u, image: image + (float(u) - 0.5),
    "saturation": slow_saturation,
    "contrast": slow_contrast,
    "color": slow_color,
    "crop": slow_crop,
    "cutout": slow_cutout,
    "flip": lambda coin, image: image[:, ::-1] if coin else image,
    "scale": slow_scale,
    "rotate": slow_rotate,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_op_equals_slow_reference(name, shape):
    op, image = OPS[name], random_images(*shape)

    @jax.jit
    def draw_and_apply(seed):
        drawn = op.draw(jax.random.key(seed), shape)
        return drawn, op.apply(drawn, jnp.asarray(image))

    for seed in range(6):
        drawn, fast = draw_and_apply(seed)
        assert fast.dtype == image.dtype
        np.testing.assert_allclose(fast, SLOW[name](drawn, image), atol=3e-5)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 1)])
@pytest.mark.parametrize("name", ["scale", "rotate"])
def test_grids_of_idc_give_the_pixels_of_those_of_dsa(name, shape):
    """IDC's are torch's newer ones: another rotation of images that are not square."""
    op, image = OPS[name], random_images(*shape)
    for seed in range(3):
        drawn = op.draw(jax.random.key(seed), shape)
        newer = SLOW[name](drawn, image, align_corners=False)
        gap = np.abs(op.apply(drawn, jnp.asarray(image)) - newer).max()
        assert (gap < 3e-5) == (name == "scale" or shape[0] == shape[1])


# --- Ranges -------------------------------------------------------------------------


def draws_of(name, shape, count=4000):
    keys = jax.random.split(jax.random.key(3), count)
    draw = jax.jit(jax.vmap(lambda key: OPS[name].draw(key, shape)))
    return np.asarray(draw(keys))


@pytest.mark.parametrize(("size", "reach"), [(32, 4), (64, 8)])
def test_crop_offsets_cover_exactly_their_range(size, reach):
    offsets = draws_of("crop", (size, size, 3))
    for axis in (0, 1):
        assert set(offsets[:, axis]) == set(range(-reach, reach + 1))
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.1


@pytest.mark.parametrize(("size", "last"), [(28, 28), (30, 29)])
def test_cutout_centres_and_areas(size, last):
    shape = (size, size, 1)
    centres = draws_of("cutout", shape)
    assert set(centres.ravel()) == set(range(last + 1))
    apply = jax.jit(
        jax.vmap(lambda centre: OPS["cutout"].apply(centre, jnp.ones(shape)))
    )
    removed = size**2 - np.asarray(apply(centres)).sum(axis=(1, 2, 3))
    side = int(size * 0.5 + 0.5)
    assert removed.max() == side**2
    assert removed.min() < 1.1 * (side / 2) ** 2 + side  # clipped at a corner
    box = 1 - np.asarray(apply(np.array([[0, last]])))[0]
    columns = last - side // 2
    assert box[: side - side // 2, columns:].all()
    assert box.sum() == (side - side // 2) * min(side, size - columns)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("brightness", 0.0, 1.0),
        ("saturation", 0.0, 1.0),
        ("contrast", 0.0, 1.0),
        ("scale", 1 / 1.2, 1.2),
        ("rotate", -np.pi / 12, np.pi / 12),
    ],
)
def test_continuous_draws_are_uniform_and_coins_fair(name, low, high):
    assert abs(draws_of("flip", (8, 8, 3)).mean() - 0.5) < 0.04
    drawn = draws_of(name, (32, 32, 3)).ravel()
    assert low - 1e-6 <= drawn.min() < drawn.max() <= high + 1e-6
    quantiles = np.quantile((drawn - low) / (high - low), np.arange(1, 10) / 10)
    np.testing.assert_allclose(quantiles, np.arange(1, 10) / 10, atol=0.04)


# --- Lifts --------------------------------------------------------------------------

PIPELINES = {
    "single": augment.dsa(ALL),
    "multiple": augment.dsa(ALL, "multiple"),
    "idc": augment.idc(ALL),
}


@pytest.mark.parametrize("name", ["single", "idc"])
def test_siamese_ignores_batch_size_and_order(name):
    transform = jax.jit(augment.siamese(PIPELINES[name]))
    images = jnp.asarray(random_images(7, 8, 8, 3))
    order = np.array([5, 2, 6])
    for seed in range(8):
        key = jax.random.key(seed)
        whole, part = transform(key, images, images[order])
        np.testing.assert_allclose(part, whole[order], atol=1e-5)
        (alone,) = transform(key, images[4:5])
        np.testing.assert_allclose(alone, whole[4:5], atol=1e-5)


# The lift is the same for every operation.
@pytest.mark.parametrize("name", ["color", "crop", "flip"])
def test_per_image_draws_for_every_image(name):
    images = jnp.broadcast_to(jnp.asarray(random_images(1, 16, 16, 3)), (12, 16, 16, 3))
    transform = jax.jit(augment.per_image(augment.dsa(name)))
    out = np.asarray(transform(jax.random.key(1), images))
    distinct = len({image.tobytes() for image in out})
    assert distinct == 2 if name == "flip" else distinct >= 8
    # Image i depends on the key and on i alone, so padding does not disturb it.
    part = transform(jax.random.key(1), images[:5])
    np.testing.assert_allclose(out[:5], part, atol=1e-5)


def marked(sign):
    """An op whose result tells which op was used and what was drawn."""
    return augment.Op(
        lambda key, shape: jax.random.uniform(key),
        lambda u, image: jnp.zeros_like(image) + sign * (u + 1).astype(image.dtype),
    )


@pytest.mark.parametrize("lift", [augment.per_image, augment.siamese])
def test_choice_is_shared_by_the_batch_and_uniform(lift):
    count = 6
    transform = lift((tuple(marked(10.0**i) for i in range(count)),))
    images = jnp.ones((5, 2, 2, 1))
    keys = jax.random.split(jax.random.key(0), 3000)

    @jax.jit
    def outcomes(keys):
        out = jax.lax.map(lambda key: transform(key, images), keys, batch_size=500)
        return jax.tree.leaves(out)[0][:, :, 0, 0, 0]

    out = np.asarray(outcomes(keys))
    chosen = np.floor(np.log10(out)).astype(int)
    assert (chosen == chosen[:, :1]).all()
    spread = np.ptp(out / 10.0**chosen, axis=1)
    assert (spread > 0).all() if lift is augment.per_image else (spread < 1e-6).all()
    counts = np.bincount(chosen[:, 0], minlength=count)
    chi_square = ((counts - 500) ** 2 / 500).sum()
    assert chi_square < 20.5  # 99.9th percentile with 5 degrees of freedom


@pytest.mark.parametrize("lift", [augment.per_image, augment.siamese])
def test_groups_choose_independently_and_in_order(lift):
    add = lambda value: augment.Op(lambda k, s: 0, lambda _, image: image + value)
    double = augment.Op(lambda k, s: 0, lambda _, image: 2 * image)
    transform = lift(((add(1.0), add(2.0)), (double,), (add(10.0), add(20.0))))
    keys = jax.random.split(jax.random.key(0), 40)
    out = jax.jit(jax.vmap(transform, (0, None)))(keys, jnp.zeros((1, 1, 1, 1)))
    seen = set(np.ravel(jax.tree.leaves(out)[0]).tolist())
    assert seen == {12.0, 14.0, 22.0, 24.0}


@pytest.mark.parametrize("strategy", ["", "none"])
def test_empty_pipeline_is_the_identity(strategy):
    images = jnp.asarray(random_images(2, 4, 4, 1))
    assert augment.dsa(strategy) == augment.idc(strategy) == ()
    key = jax.random.key(0)
    np.testing.assert_array_equal(augment.per_image(())(key, images), images)
    first, second = augment.siamese(())(key, images, images[:1])
    np.testing.assert_array_equal(first, images)
    np.testing.assert_array_equal(second, images[:1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtype_is_kept(dtype):
    images = jnp.asarray(random_images(3, 8, 8, 3), dtype)
    transform = augment.per_image(PIPELINES["multiple"])
    out = jax.eval_shape(transform, jax.random.key(0), images)
    assert out.dtype == dtype
    assert out.shape == images.shape


# --- Gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gradient_equals_finite_differences(name):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        real, images, direction = (
            jnp.asarray(rng.normal(size=(2, 6, 7, 2))) for _ in range(3)
        )
        transform = augment.siamese(augment.dsa(name))

        @jax.jit
        def loss(images):
            a, b = transform(jax.random.key(2), real, images)
            return jnp.sum(jnp.sin(3 * b) * a) + jnp.sum(b**3)

        slope_at = jax.jit(jax.grad(loss))
        step = 1e-6
        difference = loss(images + step * direction) - loss(images - step * direction)
        slope = jnp.vdot(slope_at(images), direction)
        np.testing.assert_allclose(slope, difference / (2 * step), rtol=1e-6)
        # Forward over reverse, which unrolled methods need.
        curvature = lambda x: jax.jvp(jax.grad(loss), (x,), (direction,))[1]
        curved = jax.jit(curvature)(images)
        bent = slope_at(images + step * direction) - slope_at(images - step * direction)
        np.testing.assert_allclose(curved, bent / (2 * step), rtol=1e-5, atol=1e-5)


# --- Pipelines by name, errors ------------------------------------------------------


def test_pipelines_by_name():
    o = augment
    everything = (o.color, o.crop, o.cutout, o.flip, o.scale, o.rotate)
    assert o.dsa(ALL) == (everything,)
    assert o.dsa(ALL, "multiple") == tuple((op,) for op in everything)
    spatial = (o.crop, o.scale, o.rotate)
    assert o.idc(ALL) == ((o.flip,), (o.color,), spatial, (o.cutout,))
    assert o.idc("cutout_crop_color") == ((o.color,), (o.crop,), (o.cutout,))


def test_strategies_by_name_and_of_a_dataset():
    for name in ("mnist", "MNIST", "svhn", "svhn_cropped", "SVHN", "digits"):
        assert augment.dsa_strategy(name) == "color_crop_cutout_scale_rotate"
    for name in ("cifar10", "fashion_mnist", "FashionMNIST", "tiny_imagenet"):
        assert augment.dsa_strategy(name) == ALL
    for make in (augment.dsa, augment.idc):
        with pytest.raises(UserError, match=r"'blur'.*brightness.*rotate"):
            make("color_blur")
    with pytest.raises(UserError, match="'double'"):
        augment.dsa("color", "double")


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [np.zeros((2, 4, 4), np.float32)],
        [np.zeros((2, 4, 4, 3), np.uint8)],
        [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 5, 4, 3), np.float32)],
    ],
)
def test_unusable_batches(batches):
    batches = [jnp.asarray(batch) for batch in batches]
    with pytest.raises(UserError, match="augmentation needs"):
        augment.siamese(augment.dsa("color"))(jax.random.key(0), *batches)
    if len(batches) == 1:
        with pytest.raises(UserError, match="augmentation needs"):
            augment.per_image(augment.dsa("color"))(jax.random.key(0), *batches)
