"""`experiments.evaluate`: the stored number again, from the file alone."""

import dataclasses
import functools
import json

import numpy as np
import pytest
from PIL import Image

import jaxdd
from jaxdd.artifact import file as artifacts
from jaxdd.artifact import given
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.evaluation import protocol as protocols
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.protocol import Judge, Measured
from jaxdd.progress import Started
from jaxdd.statistics import Statistics
from tests.experiments.helpers import (
    QUICK,
    NoProbes,
    following,
    read_json,
    small,
    start,
)
from tests.helpers import refused


def test_a_fresh_process_gets_exactly_the_stored_number(path, tmp_path):
    flags = {"artifact": path, "nets": "convnet,mlp", "num_eval": 2}
    with start("evaluate", **flags, workdir=tmp_path) as process:
        out, error = process.communicate()
    assert process.returncode == 0, error
    found = read_json(tmp_path / "evaluation.json")
    summary = read_json(path.parent / "summary.json")
    assert list(found) == ["convnet", "mlp"]
    for net in found:
        assert set(found[net]) == {
            "distilled", "random", "stored", "classes", "protocol", "earlier",
        }  # fmt: skip
        assert found[net]["distilled"]["n"] == 2
        assert found[net]["random"]["n"] == 10
    # To the last bit, and so is the bar beside it.
    assert found["mlp"]["distilled"] == found["mlp"]["stored"] == summary["distilled"]
    assert found["mlp"]["random"] == summary["random"]
    assert found["convnet"]["stored"] is None
    assert f"{summary['distilled']['mean']:.2f}" in out
    assert found["mlp"]["classes"] == summary["classes"]
    assert found["mlp"]["protocol"]["test"]["samples"] == 360
    assert "Traceback" not in error
    assert "mlp: training 2 networks, then 10 on random sets\n" in error
    # How, and whose settings those of another network are.
    told = [line for line in error.splitlines() if " epochs of sgd at " in line]
    assert [line.partition(":")[0] for line in told] == ["convnet", "mlp"]
    assert error.count("convnet: as mlp is trained; --select_lr=auto") == 1
    # The function gives what the command wrote, and writes nothing.
    before = {x: x.stat().st_mtime_ns for x in path.parent.rglob("*")}
    evaluation = jaxdd.evaluate(path, ["convnet", "mlp"], num_eval=2)
    entries = {net: {**x.entry(), "earlier": []} for net, x in evaluation.items()}
    assert json.loads(json.dumps(entries)) == found
    assert {x: x.stat().st_mtime_ns for x in path.parent.rglob("*")} == before
    assert str(evaluation) in out
    assert evaluation.by_class() in out


@pytest.mark.parametrize("method", ["dm", pytest.param("mtt", marks=pytest.mark.slow)])
def test_the_stored_protocol_is_the_one_that_was_used(tmp_path, monkeypatch, method):
    """It is recorded where networks are trained, and not where the file is written.

    MTT learns its step size, which is the learning rate of the evaluation.
    """
    used, make_hits, beside_random = [], protocols.make_hits, Judge.beside_random

    def recording_hits(network, training, *rest):
        used.append(training)
        return make_hits(network, training, *rest)

    def recording_judge(judge, *arguments):
        used.append(judge.protocol)
        return beside_random(judge, *arguments)

    config = following if method == "mtt" else functools.partial(small, **QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(distill, "Probes", NoProbes)
        patch.setattr(protocols, "make_hits", recording_hits)
        patch.setattr(Judge, "beside_random", recording_judge)
        changes = {"num_experts": 2} if method == "mtt" else {"steps": 2}
        distill.run(config(tmp_path, eval_schedule="idc", **changes))
    training, protocol = used[-2:]
    stored = jaxdd.load(tmp_path / "distilled.npz")
    assert stored.training == protocol.training == training
    assert stored.augmentation == protocol.augmentation
    assert stored.network == protocol.network
    settings = stored.provenance["config"]
    for name in ("num_eval", "num_random"):
        assert settings[name] == getattr(protocol, name)
    if method == "mtt":
        assert training.learning_rate == stored.step_size != 0.05
    # From the file alone the same networks are trained again.
    config = evaluate.Config(str(tmp_path / "distilled.npz"), num_eval=2)
    again = evaluate.run(config)["mlp"]
    expected = Statistics.of(stored.measured["distilled"])
    assert again.accuracy == again.stored == expected


def test_other_seeds_give_other_networks(path, tmp_path):
    config = evaluate.Config(str(path), num_eval=2, seed=7, workdir=str(tmp_path))
    random = evaluate.run(config)["mlp"].random._asdict()
    assert random != read_json(path.parent / "summary.json")["random"]


def test_a_whitened_and_relabelled_artifact(tmp_path, monkeypatch):
    """What the preprocessing and the labels are travels in the file."""
    monkeypatch.setattr(distill, "Probes", NoProbes)
    distill.run(small(tmp_path, **QUICK, zca=True, ipc=5, steps=2))
    made = jaxdd.load(tmp_path / "distilled.npz")
    assert made.preprocess.kind == "zca"
    # Two small steps away from real images: shown, it is close to them again.
    real = jaxdd.data.digits().images
    shown = made.displayable()
    gaps = [np.abs(real - x).max((1, 2, 3)).min() for x in shown.reshape(-1, 8, 8, 1)]
    assert np.median(gaps) < 0.2
    assert np.abs(made.images - shown).max() > 0.5

    soft = 0.9 * made.labels + 0.1 / 10
    artifacts.save(dataclasses.replace(made, labels=soft), tmp_path / "soft.npz")
    folder = tmp_path / "pngs"  # of both, one after the other
    found = {}
    for name in ("distilled", "soft"):
        config = evaluate.Config(
            str(tmp_path / f"{name}.npz"), num_eval=2, export=str(folder)
        )
        found[name] = evaluate.run(config)["mlp"]
    stored = Statistics.of(read_json(tmp_path / "summary.json")["distilled"])
    assert found["distilled"].accuracy == found["distilled"].stored == stored
    assert found["soft"].accuracy != stored
    assert jaxdd.load(tmp_path / "soft.npz").label_kind == "soft"

    # The exported pictures are a dataset again.
    again = jaxdd.data.load(f"folder:{folder}")
    assert again.class_names == made.class_names
    assert len(again.labels) + len(again.test_labels) == 50
    with Image.open(folder / "3" / "0000.png") as image:
        pixels = np.round(255 * shown[3, 0, ..., 0]).astype(np.uint8)
        np.testing.assert_array_equal(np.asarray(image), pixels)


# --- The file of results ------------------------------------------------------------


@pytest.fixture
def quick_judge(monkeypatch):
    """Numbers without a training, to see what becomes of them."""

    def beside_random(self, synthetic, real, ipc, *resuming):
        hits = np.ones((self.protocol.num_eval, len(self.labels)), bool)
        by_class = self.by_class(hits)
        classes = {"samples": [36] * 10, "distilled": by_class, "random": by_class}
        share = {"mean": 50.0 + self.protocol.seed, "std": 0.0, "n": 1}
        return Measured(share, share, hits, self.ids, classes)

    monkeypatch.setattr(Judge, "beside_random", beside_random)


def test_networks_are_added_and_protocols_kept_apart(
    path, tmp_path, quick_judge, capsys
):
    def ask(**flags):
        return evaluate.run(evaluate.Config(str(path), workdir=str(tmp_path), **flags))

    file = tmp_path / "evaluation.json"
    ask()
    first = read_json(file)
    assert list(first) == ["mlp"]
    assert ask(nets="resnet18,convnet").keys() == {"resnet18", "convnet"}
    second = read_json(file)
    assert second.keys() == {"mlp", "resnet18", "convnet"}
    assert second["mlp"] == first["mlp"]
    # The same once more is the same; another protocol does not replace the first.
    ask()
    assert read_json(file) == second
    assert "earlier" not in capsys.readouterr().err
    ask(seed=7)
    third = read_json(file)["mlp"]
    assert third["distilled"]["mean"] == 57.0
    assert third["protocol"]["seed"] == 7
    without = {k: v for k, v in first["mlp"].items() if k != "earlier"}
    assert third["earlier"] == [without]
    assert (
        "mlp: 1 earlier results of other sets or protocols" in capsys.readouterr().err
    )
    ask(num_eval=3)
    assert [x["protocol"]["seed"] for x in read_json(file)["mlp"]["earlier"]] == [7, 0]
    # Back to the first: nothing is there twice, nothing is lost.
    ask()
    entry = read_json(file)["mlp"]
    assert {k: v for k, v in entry.items() if k != "earlier"} == without
    assert [x["protocol"]["num_eval"] for x in entry["earlier"]] == [3, 5]


def test_results_of_older_versions_stay(path, tmp_path, quick_judge):
    old = {"distilled": {"mean": 1.0}, "random": {"mean": 1.0}, "stored": None}
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps({"mlp": old, "resnet18": old}))
    evaluate.run(evaluate.Config(str(path), workdir=str(tmp_path)))
    found = read_json(file)
    assert found["mlp"]["earlier"] == [old]
    assert found["resnet18"] == old


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"mlp": 3}', '{"mlp": {"earlier": {}}}', "NaN"]
)
def test_a_damaged_file_of_results_is_not_overwritten(
    path, tmp_path, quick_judge, content
):
    file = tmp_path / "evaluation.json"
    file.write_text(content)
    with refused("move it away"):
        evaluate.run(evaluate.Config(str(path), workdir=str(tmp_path)))
    assert file.read_text() == content


# --- Refusals before the work -------------------------------------------------------


@pytest.mark.parametrize(
    ("export", "workdir", "words"),
    [
        ("results", "results", "an export has a folder of its own"),
        ("fresh", "fresh/results", "an export has a folder of its own"),
        ("foreign", "results", "which no export wrote"),
        ("foreign/notes.txt", "results", "which is not a folder"),
    ],
)
def test_a_folder_that_cannot_be_exported_to_is_told_first(
    path, tmp_path, export, workdir, words
):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").touch()
    places = {"export": str(tmp_path / export), "workdir": str(tmp_path / workdir)}
    with pytest.raises(UserError, match=words):
        evaluate.run(evaluate.Config(str(path), **places))
    assert [p.name for p in tmp_path.iterdir()] == ["foreign"]


# --- The function -------------------------------------------------------------------


class Holder:
    """A result, as far as `evaluate` looks at it."""

    def __init__(self, artifact):
        self.artifact = artifact


def test_what_is_given_and_what_is_told(path, quick_judge, capfd):
    artifact = jaxdd.load(path)
    seen = {
        jaxdd.evaluate(given, progress=None)["mlp"].protocol["artifact"]
        for given in (path, str(path), artifact, Holder(artifact))
    }
    assert seen == {artifact.digest}
    capfd.readouterr()
    events = []
    jaxdd.evaluate(path, progress=events.append)
    assert str(events[0]).startswith("mlp: training 5 networks")
    assert any(isinstance(x, Started) and x.writes == "" for x in events)
    assert capfd.readouterr() == ("", "")


def test_test_data_in_memory(path, quick_judge):
    data = jaxdd.data.digits()
    rest = data.images, data.labels, data.test_images[:36], data.test_labels[:36]
    other = jaxdd.from_arrays(*rest, class_names=data.class_names, name="few")
    test = jaxdd.evaluate(path, test_dataset=other)["mlp"].protocol["test"]
    assert (test["dataset"], test["samples"]) == ("few", 36)
    test = jaxdd.evaluate(path, test_dataset=rest, test_part="all")["mlp"]
    assert test.protocol["test"]["samples"] == len(data.labels) + 36


OTHER_DATA = np.zeros((20, 8, 8)), np.arange(20) % 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"artifact": "absent.npz"}, "does not exist: give the path"),
        ({"nets": "transformer"}, "transformer"),
        ({"dataset": (1, 2, 3)}, "data cannot be a tuple of 3: give"),
        ({"dataset": OTHER_DATA}, "fingerprint"),
        # Before the data are read and whitened, which can take a minute.
        ({"dataset": OTHER_DATA, "num_random": 4}, "num_random must be at least 5"),
        ({"dataset": OTHER_DATA, "num_eval": 0}, "num_eval must be positive"),
        ({"dataset": OTHER_DATA, "precision": "tf32"}, "tf32.? is of NVIDIA GPUs"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_arguments_that_cannot_be_used(path, arguments, words):
    with refused(words):
        jaxdd.evaluate(**{"artifact": path, **arguments})


def test_its_table_in_a_notebook_and_what_is_no_set(path, quick_judge):
    evaluation = jaxdd.evaluate(path, "mlp,convnet")
    page = evaluation._repr_html_()
    assert page.count("<tr>") == 3
    assert "<td>50.00 ± 0.00</td>" in page
    assert repr(evaluation) == "Evaluation(mlp 50.00 ± 0.00 %, convnet 50.00 ± 0.00 %)"
    with pytest.raises(UserError, match="a int is no distilled set: give the path"):
        given.artifact_of(3)
