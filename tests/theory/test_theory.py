"""Data pruning in theory: the crossover, and the parts against independent answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import SVC

from jaxdd import report
from jaxdd.errors import UserError
from jaxdd.theory import (
    KEEPS,
    asymptotic_error,
    generalisation_error,
    keep_order,
    make_pruning,
    max_margin,
    probe_at,
)
from tests.helpers import refused

DIM, FRACTION = 40, 0.3
LITTLE, PLENTY = 1.0, 16.0  # samples per dimension before pruning
AMOUNTS = (LITTLE, 4.0, PLENTY)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def perfect():
    """Errors [A, E] by what is kept, with the teacher as the probe."""
    return make_pruning(DIM, AMOUNTS, FRACTION)(keys(12))


@pytest.fixture(scope="module")
def imperfect():
    return make_pruning(DIM, AMOUNTS, FRACTION, angle=30.0)(keys(12))


def lower(first, second):
    """First is lower by more than three standard errors of the paired difference."""
    gap = np.asarray(second) - np.asarray(first)
    return gap.mean() > 3 * gap.std(ddof=1) / np.sqrt(len(gap))


@pytest.mark.parametrize("probe", ["perfect", "imperfect"])
def test_little_data_wants_easy_samples_and_plenty_wants_hard_ones(probe, request):
    errors = request.getfixturevalue(probe)
    assert lower(errors["easy"][0], errors["random"][0])
    assert lower(errors["random"][0], errors["hard"][0])
    assert lower(errors["hard"][-1], errors["easy"][-1])


def test_what_a_worse_probe_costs(perfect, imperfect):
    """What looks easy to it then says little about the teacher."""
    assert lower(perfect["easy"][-1], imperfect["easy"][-1])
    assert lower(imperfect["random"][-1], imperfect["easy"][-1])
    np.testing.assert_array_equal(perfect["random"], imperfect["random"])
    assert lower(perfect["hard"][-1], perfect["random"][-1])


@pytest.mark.parametrize("probe", ["perfect", "imperfect"])
def test_more_data_is_better(probe, request):
    for keep, errors in request.getfixturevalue(probe).items():
        assert errors.shape == (len(AMOUNTS), 12)
        assert lower(errors[1], errors[0]), keep
        assert lower(errors[2], errors[1]), keep


@pytest.mark.parametrize(("probe", "angle"), [("perfect", 0.0), ("imperfect", 30.0)])
def test_simulation_and_theory_agree(probe, angle, request):
    """Within four standard errors and what 40 dimensions are short of many."""
    for keep, errors in request.getfixturevalue(probe).items():
        errors = np.asarray(errors)
        expected = np.asarray(asymptotic_error(AMOUNTS, FRACTION, keep, angle))
        noise = errors.std(axis=1, ddof=1) / np.sqrt(errors.shape[1])
        allowed = 4 * noise + 0.02 * expected
        np.testing.assert_array_less(np.abs(errors.mean(axis=1) - expected), allowed)


def test_the_limit_without_pruning_and_a_probe_that_knows_nothing():
    """Opper, Kinzel, Kleinz & Nehl, 1990: 0.5005 / alpha at the largest margin."""
    alphas = np.array([10.0, 40.0, 160.0])
    for keep in KEEPS:
        product = np.asarray(asymptotic_error(alphas, 1.0, keep)) * alphas
        np.testing.assert_allclose(product[-1], 0.5005, rtol=2e-3)
        assert 0.48 < product[0] < product[1] < 0.5005
    by_chance = asymptotic_error(AMOUNTS, FRACTION, "random")
    for keep in KEEPS:
        errors = asymptotic_error(AMOUNTS, FRACTION, keep, 90.0)
        np.testing.assert_allclose(errors, by_chance, rtol=2e-3)


PLACES, FEATURES = 400, 20
student_of = jax.jit(max_margin)


def separable(samples, seed=0):
    """Samples that the first coordinate labels, and padding up to PLACES."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(PLACES, FEATURES)).astype(np.float32)
    labels = np.where(inputs[:, 0] > 0, 1.0, -1.0).astype(np.float32)
    labels[samples:] = 0
    return inputs, labels


@pytest.mark.parametrize("samples", [1, 8, 60, 400])
def test_the_student_is_the_support_vector_machine(samples):
    inputs, labels = separable(samples)
    student = np.asarray(student_of(inputs, labels))
    inputs, labels = inputs[:samples], labels[:samples]
    # Samples and their mirror images: the machine's bias is zero then.
    both = np.vstack([inputs, -inputs]).astype(float), np.hstack([labels, -labels])
    normal = SVC(kernel="linear", C=1e8, tol=1e-6).fit(*both).coef_[0]
    expected = normal / np.linalg.norm(normal)
    margins = [labels * (inputs @ w) for w in (student, expected)]
    assert margins[0].min() == pytest.approx(margins[1].min(), rel=1e-3)
    np.testing.assert_allclose(student, expected, atol=5e-3)


@pytest.mark.parametrize("kind", ["narrow", "wide", "tiny", "large"])
def test_the_student_separates_what_is_hard_to_solve(kind):
    inputs, labels = separable(300, seed=1)
    if kind == "narrow":  # all close to the boundary
        inputs[:, 0] /= 300
    elif kind == "wide":  # none is
        inputs[:, 0] *= 300
    else:
        inputs *= 0.01 if kind == "tiny" else 100
    student = np.asarray(student_of(inputs, labels))
    assert np.linalg.norm(student) == pytest.approx(1, rel=1e-4)
    assert (labels * (inputs @ student))[:300].min() > 0


def test_padding_and_order_change_nothing():
    inputs, labels = separable(40)
    bare = max_margin(jnp.asarray(inputs[:40]), jnp.asarray(labels[:40]))
    np.testing.assert_allclose(student_of(inputs, labels), bare, atol=2e-3)
    more = student_of(*separable(60))
    assert np.abs(more - bare).max() > 0.02
    # However it is chosen: only the order of the samples is another.
    inputs, labels = separable(400)
    whole = student_of(inputs, labels)
    for keep in KEEPS:
        order = keep_order(keys(1)[0], jnp.asarray(inputs[:, 1]), keep)
        kept = student_of(inputs[order], labels[order])
        assert not np.array_equal(order, np.arange(PLACES))
        np.testing.assert_allclose(kept, whole, atol=2e-3)


def test_the_error_is_the_share_of_other_labels():
    rng = np.random.default_rng(0)
    teacher, aside = rng.normal(size=(2, 9))
    student, inputs = teacher + 0.5 * aside, rng.normal(size=(20_000, 9))
    wrong = np.mean((inputs @ teacher > 0) != (inputs @ student > 0))
    error = generalisation_error(jnp.asarray(student), jnp.asarray(teacher))
    assert 0.1 < error == pytest.approx(wrong, abs=0.01)
    teacher = jax.random.normal(jax.random.key(0), (30,))
    assert generalisation_error(teacher, teacher) < 1e-6
    assert generalisation_error(3 * teacher, teacher) < 1e-6
    assert generalisation_error(-teacher, teacher) == pytest.approx(1)
    # An arc cosine of 1 - 5e-9 would be 0 in float32.
    near = teacher + 1e-4 * jnp.linalg.norm(teacher) * probe_at(
        jax.random.key(1), teacher / jnp.linalg.norm(teacher), 90.0
    )
    error = generalisation_error(near, teacher)
    assert error == pytest.approx(1e-4 / np.pi, rel=0.01)


@pytest.mark.parametrize("angle", [0.0, 10.0, 45.0, 90.0])
def test_the_probe_has_its_angle_and_a_random_direction(angle):
    teacher = jnp.zeros(50).at[3].set(1.0)
    probes = np.array([probe_at(key, teacher, angle) for key in keys(3)])
    norms = np.linalg.norm(probes, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    degrees = np.rad2deg(np.arccos(np.clip(probes[:, 3], -1, 1)))
    np.testing.assert_allclose(degrees, angle, atol=0.05)
    if angle:
        assert np.abs(probes[0] - probes[1]).max() > 0.01


def test_easy_keeps_the_largest_margins_and_hard_the_smallest():
    margins = jax.random.normal(jax.random.key(5), (50,))
    by_size = np.argsort(np.abs(margins))
    order = lambda keep: np.asarray(keep_order(keys(1)[0], margins, keep))
    np.testing.assert_array_equal(order("hard"), by_size)
    np.testing.assert_array_equal(order("easy"), by_size[::-1])
    by_chance = order("random")
    assert sorted(by_chance) == list(range(50))
    assert abs(np.corrcoef(np.abs(margins)[by_chance], np.arange(50))[0, 1]) < 0.4
    again = np.asarray(keep_order(keys(2, 1)[1], margins, "random"))
    assert (by_chance != again).any()


@pytest.mark.parametrize("keep", KEEPS)
def test_where_there_is_no_sample_nothing_is_kept(keep):
    margins = jnp.array([jnp.nan, 0.5, jnp.nan, -2.0, 0.0])
    order = keep_order(jax.random.key(0), margins, keep).tolist()
    assert set(order[:3]) == {1, 3, 4}


def test_seeds_and_amounts_do_not_depend_on_each_other(perfect):
    """Mapped seeds give what a loop gives; fewer amounts see the same samples."""
    errors = make_pruning(DIM, (4.0, PLENTY), FRACTION)
    mapped = jax.vmap(lambda key: errors(key[None]))(keys(12)[:3])
    for keep in KEEPS:
        found = mapped[keep][..., 0].T
        np.testing.assert_allclose(found, perfect[keep][1:, :3], atol=2e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, (2.0,), 0.5), "dim=1 is too small"),
        ((20, (), 0.5), "alphas=.* must be a list"),
        ((20, (1.0, -1.0), 0.5), "alphas=.* must be positive"),
        ((20, (float("nan"),), 0.5), "alphas=.* must be a list"),
        ((20, (float("inf"),), 0.5), "alphas=.* must be a list"),
        ((20, (1.0,), 0.0), "fraction=0.0 must be above 0"),
        ((20, (1.0,), 1.5), "fraction=1.5 must be above 0 and at most 1"),
        ((20, (1.0,), 0.5, -5.0), "angle=-5.0 must be between 0 and 90 degrees"),
        ((20, (1.0,), 0.5, 100.0), "angle=100.0 must be between 0 and 90 degrees"),
        ((20, (1.0,), 0.01), "keep no sample: raise one of them"),
    ],
)
def test_what_cannot_be_simulated_is_the_users_error(arguments, message):
    with refused(message):
        make_pruning(*arguments)


def test_theory_checks_its_arguments_too():
    with pytest.raises(UserError, match="choose one of easy, hard, random"):
        asymptotic_error([1.0], 0.5, "medium")
    with pytest.raises(UserError, match="above 0 and at most 1"):
        asymptotic_error([1.0], 2.0, "easy")
    with pytest.raises(UserError, match="choose one of easy, hard, random"):
        keep_order(jax.random.key(0), jnp.zeros(3), "all")


def test_errors_of_other_shapes_are_not_drawn(tmp_path):
    for wrong in ({}, {"easy": np.ones(2)}, {"easy": np.ones((1, 2))}):
        with pytest.raises(UserError, match="cannot draw the pruning"):
            report.pruning([1.0, 4.0], wrong, tmp_path / "pruning.png")
