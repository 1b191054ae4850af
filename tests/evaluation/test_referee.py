"""The referee: one table of sets, real samples and labels, by one protocol."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from experiments import evaluate as program
from jaxdd.artifact import file as artifacts
from jaxdd.data.real import take
from jaxdd.evaluation import referee, rows, work
from jaxdd.evaluation import run as evaluation
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.opening import open_referee
from jaxdd.evaluation.options import Config, is_asked
from jaxdd.evaluation.protocol import Judge, Protocol
from jaxdd.evaluation.statistics import Statistics
from jaxdd.evaluation.teacher import protocol_of_teacher, train_teacher
from jaxdd.evaluation.verdict import Gain
from jaxdd.evaluation.whole import Whole, schedule
from jaxdd.training.fit import Training
from tests.evaluation.tables import (
    DATA,
    HARD,
    OTHER_INPUTS,
    PROBLEM,
    SOFT,
    artifact,
    judged,
)
from tests.helpers import Killed, refused

PROTOCOL = Protocol(HARD.network, HARD.training, "none", 5, 5, 0, "float32")


def opened_of(sets, **flags):
    """The table of sets in memory before anything is computed."""
    return open_referee(Config(artifact="in memory", **flags), sets, DATA)


def all_right(judge, group, first, hits, *rest):
    """In the place of a measurement, which compiles."""
    places = np.arange(first, first + len(group[0]))
    hits.add(places, np.ones((len(places), hits.right.shape[1]), bool))


# --- Rows and columns -----------------------------------------------------------------


@pytest.fixture(scope="module")
def both():
    """The table of a set with hard labels and of the same with soft ones."""
    return judged({"dm": HARD, "tesla": SOFT})


def test_the_numbers_are_those_of_a_plain_evaluation(both):
    """To the bit: of every set with its own labels, and of random subsets."""
    for name, made, column in (("dm", HARD, "hard"), ("tesla", SOFT, "own")):
        alone = jaxdd.evaluate(made, dataset=DATA)["mlp"]
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
    found = theirs.labels["teacher"].values[0]
    assert np.allclose(found, jax.nn.softmax(logits), atol=1e-5)


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
        HARD.network, {"epochs": 2}, {}, "none", 0, 1, 0, 2, "float32",
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
        with refused(words, "--teacher"):
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


# --- Flags ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"baselines": "el2n"}, "unknown 'el2n' in --baselines.*el2n.* followed by"),
        ({"baselines": "random,random"}, "names a row twice"),
        ({"teacher": True, "teacher_bank": "x"}, "leave one out"),
        ({"real_epochs": 3}, "add --teacher or --baselines=full"),
        ({"select_lr": "0.1,x"}, "--select_lr must be numbers"),
        ({"select_lr": "0.1,0.1"}, "different positive numbers"),
        ({"select_lr": "nan"}, "different positive numbers"),
        ({"export": "x"}, "--export is about a set that is evaluated alone"),
        ({"eval_epochs": 0}, "--eval_epochs must be positive"),
        ({"eval_augmentation": "spin"}, "'spin'"),
        ({"teacher_bank": "none"}, "no bank of experts"),
        ({"baseline": "random"}, "no keyword 'baseline', perhaps baselines"),
    ],
    ids=str,
)
def test_bad_flags_are_refused(flags, words):
    with refused(words):
        judged(HARD, **flags)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_names": ("dog", "cat", "eel")}, "of other classes"),
        ({"dataset": {**HARD.dataset, "fingerprint": "x"}}, "from other data"),
        ({"images": HARD.images[:, :, :4]}, "of other shapes"),
    ],
    ids=lambda x: "" if isinstance(x, dict) else x,
)
def test_sets_of_different_data_are_refused(changes, words):
    with refused(words, "'b' and 'a'"):
        judged({"a": HARD, "b": dataclasses.replace(HARD, **changes)})


def test_the_protocol_is_given_by_flags():
    flags = {"eval_epochs": 2, "eval_lr": 0.3, "eval_schedule": "constant"}
    opened = opened_of({"a": HARD, "b": SOFT}, nets="mlp,convnet", **flags)
    for protocol in opened.protocols.values():
        training = protocol.training
        assert (training.epochs, training.learning_rate) == (2, 0.3)
        assert training.decay_epochs == ()
    (note,) = opened.notes
    assert note == "a, b: measured by a protocol that is not the set's own"
    assert opened.identity != opened_of({"a": HARD, "b": SOFT}).identity


# --- The program ----------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """--artifact of two sets, whose data are found."""
    monkeypatch.setattr("jaxdd.evaluation.reopening.open_dataset", lambda flags: DATA)
    names = {"dm": HARD, "tesla": SOFT}
    for name, made in names.items():
        (tmp_path / name).mkdir()
        artifacts.save(made, tmp_path / name / "distilled.npz")
    return ",".join(str(tmp_path / name / "distilled.npz") for name in names)


def config(paths, tmp_path, **flags):
    return Config(artifact=paths, workdir=str(tmp_path / "out"), **flags)


def test_the_program_stores_what_it_prints(paths, tmp_path, capsys, monkeypatch):
    verdict = program.run(config(paths, tmp_path))
    assert list(verdict.rows) == ["dm", "tesla", "random"]
    program.show(verdict)
    assert f"{verdict.accuracy('mlp', 'dm')}" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "referee.json").read_text())
    assert stored["tables"] == [verdict.table]
    page = (tmp_path / "out" / "referee.html").read_text()
    assert f"{verdict.accuracy('mlp', 'tesla', 'own')}" in page
    assert "<script" not in page
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == [
        ".evaluation.lock", "referee.html", "referee.json",
    ]  # fmt: skip
    # What is measured is not measured again, and another table leaves it where it is.
    with monkeypatch.context() as patch:
        patch.setattr(Judge, "measure", lambda *_: pytest.fail("measured again"))
        assert program.run(config(paths, tmp_path)).table == verdict.table
    monkeypatch.setattr(Judge, "measure", all_right)
    again = program.run(config(paths, tmp_path, seed=1, num_random=6))
    stored = json.loads((tmp_path / "out" / "referee.json").read_text())
    assert stored["tables"] == [again.table, verdict.table]


def test_a_table_that_was_killed_goes_on(both, paths, tmp_path, monkeypatch):
    measured, usual, add = [], Judge.measure, Hits.add

    def dying(hits, networks, right):
        add(hits, networks, right)
        hits.save()
        if hits.done.sum() == 7:
            raise Killed

    def counting(judge, group, first, hits, *rest):
        measured.append(int((~hits.done[first : first + len(group[0])]).sum()))
        usual(judge, group, first, hits, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Hits, "add", dying)
        with pytest.raises(Killed):
            program.run(config(paths, tmp_path))
    monkeypatch.setattr(Judge, "measure", counting)
    verdict = program.run(config(paths, tmp_path))
    assert measured == [3, 5, 5]  # of twenty, seven are there
    assert verdict.table["networks"] == both.table["networks"]


@pytest.mark.parametrize("content", ["{", "[]", '{"tables": [{}]}', '{"tables": 3}'])
def test_a_damaged_file_is_refused_and_kept(paths, tmp_path, content):
    file = tmp_path / "out" / referee.FILE
    file.parent.mkdir()
    file.write_text(content)
    with refused("move it away"):
        program.run(config(paths, tmp_path))
    assert file.read_text() == content


def test_a_plain_evaluation_stays_one(paths, tmp_path, monkeypatch):
    first = paths.split(",")[0]
    assert not is_asked(config(first, tmp_path, nets="mlp", num_eval=2))
    for flags in ({"baselines": "random"}, {"teacher": True}, {"eval_lr": 0.1}):
        assert is_asked(config(first, tmp_path, **flags))
    assert is_asked(config(paths, tmp_path))
    with refused("names a set twice"):
        program.run(config(f"{first},{first}", tmp_path))
    given = []
    monkeypatch.setattr(program.evaluation, "run", given.append)
    program.run(config(first, tmp_path, num_eval=2))
    folder = str(tmp_path / "out")
    assert given == [evaluation.Config(first, num_eval=2, workdir=folder)]
