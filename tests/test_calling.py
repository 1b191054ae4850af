"""Functions speak of keywords where programs speak of flags."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdd
from experiments.console.flags import _sentence
from jaxdd import progress
from jaxdd.calling import called
from jaxdd.distillation import experts, options
from jaxdd.errors import UserError
from jaxdd.fields import FieldError, Misfit
from jaxdd.fields.keywords import in_keywords
from jaxdd.fields.names import OFFICIAL, meant
from tests.helpers import refused

FLAGS = {field.name for field in dataclasses.fields(options.Config)}
PAIR = (np.zeros((20, 4, 4, 1), np.float32), np.arange(20) % 2)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("--steps=3 is above --horizon=2", "steps=3 is above horizon=2"),
        ("use --labels=soft, or leave it out", "use labels='soft', or leave it out"),
        ("give --removals=40:0.1,60:0.2: two", "give removals=40:0.1,60:0.2: two"),
        ("add --zca, or --nozca", "add zca=True, or zca=False"),
        ("(--image_size=8x8)", "(image_size=8x8)"),
        ("--init='my --set.npz' is none", "init='my --set.npz' is none"),
        ("no --such=flag here", "no --such=flag here"),
        ("runs/--steps and a--steps", "runs/--steps and a--steps"),
        (
            "python -m experiments.convert --dataset=NAME (and --data_dir) --steps=1 is"
            " it: give --dataset",
            "python -m experiments.convert --dataset=NAME (and --data_dir) --steps=1 is"
            " it: give data",
        ),
    ],
)
def test_flags_of_a_sentence_become_keywords(sentence, expected):
    said = in_keywords(sentence, options.Config, {"dataset": "data"})
    assert said == expected
    assert in_keywords(said, options.Config) == said


def test_a_refusal_keeps_its_kind_and_its_cause():
    refusal = pytest.raises(FieldError, match=r"^steps must be positive$")
    with refusal, called(options.Config):
        raise FieldError("--steps", "must be positive")


def test_sentences_on_the_way_are_about_keywords_and_other_events_stay():
    events = []
    with called(options.Config, events.append):
        progress.say("warning: --min_keep=3 keeps all of them")
        with progress.Stage("--steps", total=1):
            pass
    assert str(events[0]) == "warning: min_keep=3 keeps all of them"
    assert events[1].stage == "--steps"
    with refused("progress must be a function of events"), called(options.Config, 3):
        pass


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: jaxdd.distill(PAIR, sdc_at="path"), "add e.g. sdc_weight=1"),
        (lambda: jaxdd.distill(PAIR, zca_blocks=2), "how zca=True whitens"),
        (lambda: jaxdd.distill("digitz"), "there is no dataset 'digitz'"),
        (lambda: jaxdd.difficulty(PAIR, networks=0), "^networks must be positive"),
        (lambda: jaxdd.prune(PAIR, keep=3.0), "^keep must"),
        (lambda: jaxdd.load_foreign("x", format="y"), "unknown format 'y'"),
        (lambda: jaxdd.prepare("mnst"), "unknown name to prepare"),
        (lambda: jaxdd.prepare("mnist", "no/such"), "archive"),
    ],
)
def test_functions_speak_of_keywords(call, words):
    with pytest.raises(UserError, match=words) as refusal:
        call()
    assert "--" not in str(refusal.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: jaxdd.Views(horizon=5),
        lambda: jaxdd.Images(horizon=5),
        lambda: jaxdd.AgedPool(least_steps=3, most_steps=2),
        lambda: jaxdd.CharacteristicFunction(amplitude=0.0, phase=0.0),
        lambda: jaxdd.SDC(1.0, at="path", norm="per_sample"),
    ],
)
def test_a_choice_speaks_of_its_fields_and_a_program_of_flags(wrong):
    with pytest.raises(Misfit) as refusal:
        wrong()
    said = str(refusal.value)
    assert "--" not in said
    assert "{" not in said
    assert said.startswith(f"{type(refusal.value.choice).__name__}: ")
    for word in refusal.value.in_flags().split():
        assert "{" not in word
        if word.startswith("--"):
            assert word.strip(":,").removeprefix("--").partition("=")[0] in FLAGS


def test_names_of_the_official_codes_lead_to_ours():
    named = FLAGS | {field.name for field in dataclasses.fields(experts.Config)}
    assert set(OFFICIAL.values()) <= named
    assert not set(OFFICIAL) & named
    assert all(meant(name, FLAGS) == OFFICIAL[name] for name in OFFICIAL)
    with refused("there is no keyword 'lr_img': image_lr is meant?"):
        jaxdd.distill(PAIR, lr_img=0.1)
    error = ValueError("Unknown command line flag 'Iteration'. Did you mean: ipc ?")
    assert _sentence(error, FLAGS) == "there is no flag --Iteration: --steps is meant?"
    error = ValueError("Unknown command line flag 'qqqq'")
    assert _sentence(error, FLAGS) == "there is no flag --qqqq; --help lists the flags"


# --- What can be said of a run --------------------------------------------------------


def test_keywords_are_listed_with_what_holds_without_them():
    table = jaxdd.keywords("dsa", dataset="cifar10", ipc=10)
    rows = {row.name: row for row in table}
    assert set(rows) == set(options.FLAGS) - {"dataset"}
    assert rows["ipc"].value == 10
    assert rows["image_lr"].value == 0.1
    assert not rows["mask_ratio"].acts
    assert "--" not in str(table)
    masked = jaxdd.keywords("dsa", mask="depth", mask_ratio=np.float64(0.25))
    assert "mask_ratio        0.25 " in str(masked.about("mask"))
    assert "<td>mask_ratio</td><td>0.25</td>" in masked._repr_html_()
    assert masked.about("no such text").about("x")._repr_html_()
    assert str(masked.about("no such text")) == ""
    mine = jaxdd.Recipe(jaxdd.FeatureMatching(), jaxdd.Fresh())
    assert next(r for r in jaxdd.keywords(mine) if r.name == "features").acts
    with refused("there is no keyword 'sdc_wieght': sdc_weight is meant?"):
        jaxdd.keywords("dsa", sdc_wieght=1.0)


@pytest.mark.parametrize(
    ("function", "among", "not_among"),
    [
        (jaxdd.distill, {"sdc_weight", "workdir", "zca"}, {"dataset", "flags"}),
        (jaxdd.train_experts, {"num_experts", "epochs"}, {"dataset", "flags"}),
        (jaxdd.referee, {"baselines", "dataset"}, {"artifact", "workdir", "flags"}),
        (jaxdd.probe, {"probe_kinds", "dataset"}, {"artifact", "workdir", "flags"}),
        (jaxdd.load_foreign, {"normalisation", "dataset"}, {"flags"}),
        (jaxdd.prune, {"end", "balanced"}, {"dataset", "out", "flags"}),
    ],
)
def test_a_function_tells_its_keywords(function, among, not_among):
    """To `help`, and to the completion of notebooks."""
    known = set(inspect.signature(function).parameters)
    assert among <= known
    assert not not_among & known


def test_sentences_without_a_listener_go_to_the_log(caplog):
    with caplog.at_level("INFO", logger="jaxdd"):
        progress.say("a default is taken")
        with progress.listening(lambda event: None):
            progress.say("somebody hears this")
    assert [record.getMessage() for record in caplog.records] == ["a default is taken"]


# --- From other JAX code --------------------------------------------------------------


def test_a_network_is_made_of_two_functions():
    init = lambda key: jax.random.normal(key, (12, 2))
    network = jaxdd.as_network(init, lambda w, x: x.reshape(len(x), -1) @ w)
    params, stats = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (5, 2, 2, 3))
    batch = jaxdd.Batch(images, jax.nn.one_hot(jnp.arange(5) % 2, 2))
    outputs, _ = network.apply(params, stats, images, True)
    assert outputs.features == ()
    norms = jaxdd.per_sample_gradient_norms(jaxdd.mean_loss(network))
    error = jax.nn.softmax(outputs.logits) - batch.labels
    flat = images.reshape(5, -1)
    expected = jnp.linalg.norm(error, axis=1) * jnp.linalg.norm(flat, axis=1)
    assert np.allclose(norms(params, batch, stats), expected, rtol=1e-5)
    with_features = jaxdd.as_network(init, lambda w, x: (x[:, 0, 0, :2], [x[:, 0, 0]]))
    outputs, _ = with_features.apply(params, stats, images, False)
    assert outputs.features[-1].shape == (5, 3)
    with refused(r"has to give logits \[B, K\].*gives \(5, 2, 2, 3\)"):
        jaxdd.as_network(init, lambda w, x: x).apply(params, stats, images, False)


def test_an_optimiser_of_optax_is_refused_where_training_is_differentiated():
    loss = lambda w, batch, stats: jnp.mean(batch.images @ w)
    with refused("needs an InnerOptimizer, such as inner_adam"):
        inspect.unwrap(jaxdd.training_step)(loss, optax.adam(1e-3))


def test_a_weight_may_be_traced():
    weights = jax.vmap(lambda w: jaxdd.weight_schedule("linear", w, 10)(jnp.int32(5)))
    assert np.allclose(weights(jnp.arange(3.0)), [0, 0.5, 1])
    with refused("must be a finite number"):
        jaxdd.weight_schedule("linear", float("nan"), 10)


def test_results_say_what_they_are_in_a_line():
    data = jaxdd.from_arrays(*PAIR, *PAIR)
    assert repr(data) == (
        "Dataset(arrays: 20 training and 20 test samples of 2 classes, 4x4x1 float32)"
    )


def test_experts_are_trained_once_and_followed(tmp_path):
    labels = np.arange(60) % 3
    data = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None], labels
    few = {"net": "mlp", "width": 4, "num_experts": 1}
    workdir = tmp_path / "new" / "bank"
    bank = jaxdd.train_experts(data, "mtt", workdir=workdir, epochs=6, **few)
    assert repr(bank).startswith("Bank(1 experts of mlp with ")
    again = jaxdd.train_experts(data, "mtt", workdir=str(workdir), epochs=6, **few)
    assert again.manifest == bank.manifest
    with refused("no experts: choose one of"):
        jaxdd.train_experts(data, "dsa", workdir=workdir)
    with refused("^epochs must be positive"):
        jaxdd.train_experts(data, "mtt", workdir=workdir, epochs=0)
    run = {
        "net": "mlp", "width": 4, "max_start": 2, "expert_epochs": 2, "steps": 1,
        "student_steps": 2, "step_size_lr": 0.0, "num_eval": 1, "num_random": 5,
        "eval_epochs": 1, "probes": 1, "probe_steps": 1,
    }  # fmt: skip
    result = jaxdd.distill(data, "mtt", experts=bank, **run)
    assert result.images.shape == (3, 1, 4)


def test_a_set_in_memory_is_taken_as_a_file_would_be(tmp_path):
    data = jaxdd.from_arrays(*PAIR, *PAIR)
    images, labels = np.full((4, 4, 4, 1), 128, np.uint8), np.array([0, 0, 1, 1])
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    there = jaxdd.load_foreign(tmp_path / "set.npz", data, net="mlp")
    here = jaxdd.load_foreign((jnp.asarray(images), labels), data, net="mlp")
    assert here.digest == there.digest
    assert here.ipc == 2
    assert "<img" in here._repr_html_()
    for wrong, words in (
        ((images,), "1 things were given"),
        ((images, labels[:3]), "4 images and 3 labels"),
        ((list("abcd"), labels), "the arrays"),
    ):
        with refused(None, words):
            jaxdd.load_foreign(wrong, data)
    with refused("of arrays jaxdd.load_foreign"):
        jaxdd.evaluate((images, labels))
