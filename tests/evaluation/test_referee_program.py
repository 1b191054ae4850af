"""The flags of a referee, its program and what it stores."""

import dataclasses
import json

import pytest

from experiments import evaluate as program
from experiments.planning import refereeing
from experiments.planning.networks import Networks
from experiments.planning.programs import Fitted, Memory
from experiments.planning.scores import Sorting
from jaxdd.evaluation import referee
from jaxdd.evaluation import run as evaluation
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.options import is_asked
from jaxdd.evaluation.protocol import Judge
from jaxdd.evaluation.rates import NETWORKS
from tests.evaluation.tables import HARD, SOFT, all_right, config, judged, opened_of
from tests.helpers import Killed, refused

# --- Flags ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"baselines": "el2n"}, "unknown 'el2n' in baselines.*el2n.* followed by"),
        ({"baselines": "random,random"}, "names a row twice"),
        ({"teacher": True, "teacher_bank": "x"}, "leave one out"),
        ({"real_epochs": 3}, "add teacher=True or baselines='full'"),
        ({"teacher_views": True}, "about a teacher.s labels: add teacher=True"),
        ({"select_lr": "0.1,x"}, "^select_lr must be numbers"),
        ({"select_lr": "0.1,0.1"}, "different positive numbers"),
        ({"select_lr": "nan"}, "different positive numbers"),
        ({"export": "x"}, "^export is about a set that is evaluated alone"),
        ({"eval_epochs": 0}, "^eval_epochs must be positive"),
        ({"eval_augmentation": "spin"}, "'spin'"),
        ({"teacher_bank": "none"}, "no bank of experts"),
        ({"workdir": "x"}, "only python -m experiments.evaluate writes"),
        ({"baseline": "random"}, "no keyword 'baseline': baselines is meant"),
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


def test_a_plan_counts_all_networks(paths, tmp_path, monkeypatch):
    fitted = Fitted(1, 1.0, 0.0, 0.0, Memory(1, 1, 1), None)
    cost = Networks(0.0, 5.0, 5.0, fitted)  # a second for each network
    monkeypatch.setattr(refereeing, "evaluation_cost", lambda *_: cost)
    monkeypatch.setattr(refereeing, "sorting_cost", lambda *_: Sorting(0.0, 7.0))
    monkeypatch.setattr(refereeing, "fit_cost", lambda *_, **__: fitted)
    flags = {
        "baselines": "random,el2n_easy,el2n_hard,full",
        "teacher": True,
        "real_epochs": 2,
        "select_lr": "0.1,0.01",
    }
    plan = refereeing.evaluation(config(paths, tmp_path, **flags))
    seconds = dict(plan.seconds)
    for part in ("data", "compilation"):
        seconds.pop(part)
    each = 5 + 2 * NETWORKS
    assert seconds == {
        "sorting by el2n": 7.0,
        "the teacher": 2.0,
        "mlp: dm": 2 * each,  # hard labels and the teacher's
        "mlp: tesla": 3 * each,
        "mlp: random sets": 2 * each,
        "mlp: selected sets": 2 * 2 * each,
        "mlp: full": 5 * 2.0,
    }
    assert not (tmp_path / "out").exists()
