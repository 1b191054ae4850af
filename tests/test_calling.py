"""Functions speak of keywords where programs speak of flags."""

import dataclasses
import inspect

import numpy as np
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


def test_values_in_a_sentence_are_those_of_python():
    """Of a choice with several parts, too, which a recipe refuses."""
    with pytest.raises(Misfit, match=r"amplitude=0 and phase=0 leave nothing"):
        jaxdd.CharacteristicFunction(amplitude=0.0, phase=0.0)
    with pytest.raises(
        Misfit, match=r"^Recipe: SDC.at='path' needs a method"
    ) as refusal:
        jaxdd.Recipe(sdc=jaxdd.SDC(1.0, at="path"))
    assert refusal.value.in_flags().startswith("--sdc_at=path needs a method")
    with pytest.raises(Misfit, match=r"labels=TeacherLabels\(\) needs") as refusal:
        jaxdd.Recipe(labels=jaxdd.TeacherLabels())
    assert "--labels=teacher needs" in refusal.value.in_flags()
    distilled = {"sdc_weight": 1.0, "sdc_at": "path"}
    with refused("^sdc_at='path' needs a method that trains a student"):
        jaxdd.distill(PAIR, "dsa", **distilled)
