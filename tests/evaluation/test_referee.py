"""The referee: one table of sets, real samples and labels, by one protocol."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd import augment
from jaxdd.data.real import take
from jaxdd.evaluation import rows, work
from jaxdd.evaluation.options import PROTOCOL as FLAGS
from jaxdd.evaluation.options import protocols_of
from jaxdd.evaluation.protocol import Judge, Protocol, views
from jaxdd.evaluation.teacher import protocol_of_teacher, train_teacher
from jaxdd.evaluation.whole import Whole, schedule
from jaxdd.statistics import Gain, Statistics
from jaxdd.training.fit import Training
from jaxdd.types import Batch
from tests.evaluation.tables import (
    DATA,
    HARD,
    OTHER_INPUTS,
    PROBLEM,
    SOFT,
    all_right,
    artifact,
    judged,
    opened_of,
)
from tests.helpers import refused

SLOPES = jnp.array([-1.0, 0.0, 1.0])
PROTOCOL = Protocol(HARD.network, HARD.training, "none", 5, 5, 0, "float32")


# --- Rows and columns -----------------------------------------------------------------


def test_the_numbers_are_those_of_a_plain_evaluation(both):
    """To the bit: of every set with its own labels, and of random subsets."""
    for name, distilled, column in (("dm", HARD, "hard"), ("tesla", SOFT, "own")):
        alone = jaxdd.evaluate(distilled, dataset=DATA)["mlp"]
        assert both.accuracy("mlp", name, column) == alone.accuracy
        assert both.accuracy("mlp", "random") == alone.random
    assert both.accuracy("mlp", "tesla") == both.accuracy("mlp", "dm")
    assert both.accuracy("mlp", "dm").n == 5
    assert both.accuracy("mlp", "dm", "own") is None
    text = str(both)
    assert "own of dm: its own labels are those of the classes" in text
    assert f"own of random: {rows.NO_LABELS}" in text


def test_sets_of_other_sizes_and_inputs_share_a_table(monkeypatch):
    chosen = {("loss_easy", n): np.arange(3 * n).reshape(3, n) for n in (1, 2)}
    monkeypatch.setattr(work, "select", lambda names, sizes, *_: chosen)
    sets = {"one": HARD, "two": artifact(2, OTHER_INPUTS)}
    table = work.Work(opened_of(sets, baselines="loss_easy,random"))
    ours = {row.name: row for row in table.rows}
    assert list(ours) == [
        "one", "two", "loss_easy, ipc 1", "loss_easy, ipc 2", "random, ipc 1",
        "random, ipc 2",
    ]  # fmt: skip
    real = PROBLEM.on_device(PROBLEM.splits.train)
    batch = take(real, jnp.arange(6))
    row = ours["loss_easy, ipc 2"]
    assert np.array_equal(row.images[0], batch.images)
    assert np.array_equal(row.labels["hard"].values[0], batch.labels)
    assert ours["random, ipc 2"].images.shape == (5, 6, 8, 8, 1)
    verdict = judged(sets)
    alone = jaxdd.evaluate(sets["two"], dataset=DATA)["mlp"].accuracy
    assert verdict.accuracy("mlp", "two") == alone
    assert list(verdict.gains("mlp", "two")) == ["random, ipc 2"]
    assert "two: measured with the set's own preprocessing" in str(verdict)
    gain = verdict.gains("mlp", "one")["random, ipc 1"]["hard"]
    ours, theirs = (verdict.accuracy("mlp", x) for x in ("one", "random, ipc 1"))
    assert gain.points == ours.mean - theirs.mean
    assert f"gain of one over random, ipc 1: hard {gain}" in str(verdict)


def test_a_standard_error_is_that_of_two_samples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=5), rng.normal(size=8)
    sides = (Statistics(float(x.mean()), float(x.std()), len(x)) for x in (a, b))
    expected = np.sqrt(a.var(ddof=1) / 5 + b.var(ddof=1) / 8)
    assert Gain.of(*sides).error == pytest.approx(expected)
    assert str(Gain.of(Statistics(2, 0, 1), Statistics(1, 0, 5))) == "+1.00"


# --- The teacher and all training data ------------------------------------------------


@pytest.fixture(scope="module")
def teacher():
    how = protocol_of_teacher(HARD.network, 3, PROTOCOL)
    return train_teacher(PROBLEM, how, PROBLEM.splits.test)


def test_a_teacher_labels_images_whatever_their_inputs_are(teacher):
    ours, theirs = (
        rows.distilled("x", artifact(2, x)).taught(teacher)
        for x in (PROBLEM.preprocess, OTHER_INPUTS)
    )
    learner, images = teacher.learner, ours.images[0]
    logits = teacher.network.apply(*learner[:2], images, False)[0].logits
    expected = jax.nn.softmax(logits)[None]
    assert np.allclose(ours.labels["teacher"].values, expected, atol=1e-6)
    pixels = theirs.preprocess.invert(np.asarray(theirs.images[0]))
    inputs = jnp.asarray(PROBLEM.preprocess.apply(pixels))
    logits = teacher.network.apply(*learner[:2], inputs, False)[0].logits
    labels = theirs.labels["teacher"].values[0]
    assert np.allclose(labels, jax.nn.softmax(logits), atol=1e-5)


def test_padding_gets_no_label(teacher):
    labels = HARD.labels.copy()
    labels[1] = 0
    row = rows.distilled("x", dataclasses.replace(HARD, labels=labels)).taught(teacher)
    for column in ("hard", "teacher"):
        mass = np.asarray(row.labels[column].values.sum(axis=-1))
        assert mass[0] == pytest.approx([1, 0, 1])


def test_a_teacher_comes_from_a_bank(tmp_path, teacher, monkeypatch):
    network, epochs = (
        teacher.network,
        jaxdd.make_epochs(teacher.network, Training(2, 0.1), fetch=take),
    )
    manifest = jaxdd.Manifest(
        {"fingerprint": DATA.fingerprint}, {"digest": PROBLEM.preprocess.digest},
        HARD.network, {"learning_rate": 0.1}, {}, "none", 0, 1, 0, 2, "float32",
        jaxdd.experts.layout(network),
    )  # fmt: skip
    real = PROBLEM.on_device(PROBLEM.splits.train)
    bank = jaxdd.train_bank(tmp_path, manifest, network, epochs, real)
    monkeypatch.setattr(Judge, "measure", all_right)
    verdict = judged(HARD, teacher_bank=tmp_path, baselines="random")
    about = verdict.table["teacher"]
    params, stats = network.init(jax.random.key(0))
    expert = jaxdd.Learner(bank.snapshot(0, 2, params), stats)
    test = PROBLEM.on_device(PROBLEM.splits.test)
    accuracy = float(jaxdd.accuracy(network, expert, test))
    assert about["accuracy"] == pytest.approx(accuracy)
    assert verdict.accuracy("mlp", "distilled", "teacher") is not None
    assert verdict.accuracy("mlp", "random", "teacher") is not None
    file = tmp_path / "manifest.json"
    trained = file.read_text()
    for field, words in (("fingerprint", "other data"), ("digest", "preprocessing")):
        file.write_text(trained.replace(f'"{field}": "', f'"{field}": "x'))
        with refused(words, "teacher=True"):
            judged(HARD, teacher_bank=tmp_path)


def test_all_training_data_are_a_row():
    verdict = judged(HARD, baselines="full", real_epochs=8, num_eval=2)
    training = schedule(HARD.training, 8)
    assert (training.epochs, training.decay_epochs) == (8, (6,))
    real, test = (
        PROBLEM.on_device(x) for x in (PROBLEM.splits.train, PROBLEM.splits.test)
    )
    network = Whole(PROBLEM, PROTOCOL, 8).network
    fit = jax.jit(jaxdd.make_fit(network, training, fetch=take))
    accuracies = []
    for key in Judge(PROBLEM, PROTOCOL, PROBLEM.splits.test).keys(2):
        key_init, key_fit = jax.random.split(key)
        learner, _ = fit(key_fit, jaxdd.Learner(*network.init(key_init)), real)
        accuracies.append(float(jaxdd.accuracy(network, learner, test)))
    full = verdict.accuracy("mlp", "full")
    assert full.n == 2
    assert full.mean == pytest.approx(np.mean(accuracies), abs=1e-3)
    assert list(verdict.gains("mlp", "distilled")) == ["full"]
    assert "fewer than 5 networks" in str(verdict)


# --- Learning rates -------------------------------------------------------------------


def test_a_rate_is_chosen_on_validation_data_alone():
    """Test labels that are all wrong change the accuracies and not the choice."""
    test = DATA.test_images, (DATA.test_labels + 1) % 3
    wrong = jaxdd.from_arrays(DATA.images, DATA.labels, *test, DATA.class_names)
    flags = {"select_lr": "1e-9,0.2", "baselines": "random"}
    verdict = judged(HARD, **flags)
    entry = verdict.table["networks"]["mlp"]
    assert entry["learning_rate"] == 0.2
    assert entry["chosen"]["samples"] == 15
    tried = dict(map(tuple, entry["chosen"]["accuracies"]))
    assert tried.keys() == {1e-9, 0.2}
    assert tried[0.2] > tried[1e-9]
    assert "learning rate 0.2 (chosen on 15 validation samples: 1e-09 " in str(verdict)
    other = judged(HARD, test_dataset=wrong, **flags)
    assert other.table["networks"]["mlp"]["chosen"] == entry["chosen"]
    assert other.accuracy("mlp", "distilled") != verdict.accuracy("mlp", "distilled")


def test_validation_data_are_split_off_where_none_are_held_out():
    seen = dataclasses.replace(HARD, dataset={**HARD.dataset, "validation": 0})
    opened = opened_of({"mine": seen}, select_lr="auto")
    assert opened.rates == (0.2, 0.1, 0.03, 0.01, 0.003, 0.001)
    train, validation, test = opened.problem.splits
    assert len(validation.labels) == 6
    assert not {*train.ids} & {*validation.ids}
    assert len(train.ids) + len(validation.ids) == len(DATA.labels)
    assert len(test.labels) == len(DATA.test_labels)
    (note,) = opened.notes
    assert "mine: distilled with the samples on which learning rates" in note
    assert not opened_of({"mine": HARD}, select_lr="auto").notes


# --- A teacher's labels of views ------------------------------------------------------


def test_a_teacher_labels_every_view_anew():
    """After its augmentation; what is padding stays so, and targets are centred."""
    of_brightness = lambda x: jax.nn.softmax(x.mean(axis=(1, 2))[:, [0, 0, 0]] * SLOPES)
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    batch = Batch(images, jnp.eye(3)[jnp.array([0, 1, 2, 0])].at[3].set(0))
    protocol = dataclasses.replace(PROTOCOL, augmentation="color_crop")
    seen = views(protocol, of_brightness)(jax.random.key(1), batch)
    augmented = augment.training("color_crop")(jax.random.key(1), batch)
    np.testing.assert_array_equal(seen.images, augmented.images)
    expected = of_brightness(seen.images).at[3].set(0)
    np.testing.assert_allclose(seen.labels, expected, rtol=1e-6)
    same = views(protocol, None)(jax.random.key(1), batch)
    np.testing.assert_array_equal(same.labels, batch.labels)


def test_an_augmentation_that_samples_cannot_have_is_refused_at_once():
    stored = {"mlp": PROTOCOL}
    flags = types.SimpleNamespace(**dict.fromkeys(FLAGS))
    flags.eval_augmentation = "color_flip"
    with refused("augmentation"):
        protocols_of(flags, stored, (4,))
    assert protocols_of(flags, stored, (8, 8, 1))["mlp"].augmentation == "color_flip"
