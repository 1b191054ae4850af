"""What is damaged: every kind of file that a program reads."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import jax
import numpy as np

from experiments import demo, matrix
from experiments import experts as experts_program
from experiments.comparing import cells, d4a_results, pairs
from experiments.comparing.sdc_results import read_measured
from jaxdd.artifact import file as artifacts
from jaxdd.distillation import banks, experts, reporting, sample_difficulty, segmented
from jaxdd.distillation.finished import AGAIN, SUMMARY
from jaxdd.errors import UserError
from jaxdd.experts import Bank, Manifest
from jaxdd.report.run_page import run_page
from jaxdd.report.run_values import DifficultyPart, Run
from jaxdd.scoring.files import read_scores
from jaxdd.storage.files import to_json
from jaxdd.storage.metrics import Metrics
from jaxdd.storage.records import read_json
from jaxdd.storage.workdir import Record
from jaxdd.training.fit import Training
from tests.experts.helpers import toy_manifest
from tests.faults import artifact_subjects, data_subjects, image_subjects
from tests.faults.artifact_subjects import artifact_of
from tests.faults.damage import (
    damage_archive,
    damage_bytes,
    damage_json,
    damage_lines,
    of_file,
)
from tests.faults.fuzz import Subject
from tests.helpers import linear_network


def _one_of(*ways: Callable[[Random, Path], str]) -> Callable[[Random, Path], str]:
    return lambda rng, folder: rng.choice(ways)(rng, folder)


# --- Banks --------------------------------------------------------------------------

_NETWORK = linear_network(4)


def _manifest() -> Manifest:
    curriculum = banks.described(banks.Curriculum(0.5, 2, ((4, 0.1),)))
    curriculum = {**curriculum, "score": "el2n"}
    return toy_manifest(_NETWORK, curriculum=curriculum, experts=2, last_epoch=2)


def _params(expert: int, epoch: int):
    params = _NETWORK.init(jax.random.key(0))[0]
    return jax.tree.map(
        lambda x: np.full(x.shape, 10 * expert + epoch, np.float32), params
    )


def _build_bank(folder: Path) -> None:
    bank = Bank.create(folder, _manifest())
    for expert in range(2):
        for epoch in range(3):
            bank.write(expert, epoch, _params(expert, epoch))
    bank.finish()


def _use_bank(folder: Path) -> None:
    wanted, like = _manifest(), _params(0, 0)
    for name in ("x", "y"):  # also what a distillation asks before it opens one
        if not Bank.is_finished(folder):
            raise UserError(f"{name}: not finished")
    bank = Bank.open(folder)
    assert len(bank.manifest.digest) == 16
    banks._curriculum(bank.manifest)
    Training(epochs=1, **bank.manifest.training)
    for sentence in bank.check(wanted, (0, 1)):
        assert len(sentence) < 1000
    intact = bank.manifest == dataclasses.replace(wanted, complete=True)
    for expert in range(min(bank.manifest.experts, 2)):
        for epoch in (0, 1):
            found = bank.snapshot(expert, epoch, like)
            if intact and bank.version > 1:
                jax.tree.map(
                    np.testing.assert_array_equal, found, _params(expert, epoch)
                )


# --- Arrays of runs -----------------------------------------------------------------


def _arrays(name: str, use: Callable[[Path], None], **arrays) -> Subject:
    def build(folder: Path) -> None:
        np.savez(folder / name, **arrays)

    return Subject(
        build, of_file(name, damage_archive), lambda folder: use(folder / name)
    )


_IDS = np.arange(40)[::2]


def _use_scores(path: Path) -> None:
    scores = read_scores(path, _IDS[3:9])
    assert scores.shape == (6,)
    assert np.isfinite(scores).all()
    assert len(banks._file_digest(str(path))) == 21


_SET = np.linspace(0, 1, 3 * 2 * 4 * 4, dtype=np.float32).reshape(3, 2, 4, 4, 1)
_LABELS = np.repeat(np.eye(3, dtype=np.float32)[:, None], 2, axis=1)


def _use_segment(path: Path) -> None:
    found = segmented.read_segment(path, _SET.shape, 12)
    assert np.isfinite(found["images"]).all()
    assert int(found["steps"]) == found["steps"]
    assert all(np.isfinite(float(found[f"timings/{k}"])) for k in segmented.TIMINGS)


def _use_losses(path: Path) -> None:
    assert np.isfinite(d4a_results.read_losses(path, 20)).all()


def _use_sample_difficulty(path: Path) -> None:
    found = sample_difficulty.read(path.parent, 10)
    kept = DifficultyPart(*found[:6])
    assert len(run_page(dataclasses.replace(_reported(), difficulty=kept)))


@cache
def _reported() -> Run:
    """A run without the difficulty of its samples."""
    made = artifact_of(zca=False, soft=False)
    return reporting.content_of(made, _SUMMARY, [], "w")


def _build_reported(folder: Path) -> None:
    artifacts.save(artifact_of(zca=False, soft=False), folder / "distilled.npz")
    (folder / "summary.json").write_text(to_json(_REPORTED))


def _use_reported(folder: Path) -> None:
    assert run_page(reporting.read(folder)).count("<h2>") > 3


def _use_hits(path: Path) -> None:
    assert d4a_results.by_tenth(path.parent, np.arange(20.0)).shape == (10,)


# --- JSON of programs ---------------------------------------------------------------


def _json(name: str, value, use: Callable[[Path], None]) -> Subject:
    def build(folder: Path) -> None:
        (folder / name).write_text(to_json(value))

    return Subject(build, of_file(name, damage_json), lambda folder: use(folder / name))


def _silently(show: Callable, value) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        show(value)


_ACCURACY = {"mean": 71.5, "std": 0.5, "n": 3}
_RECORDS = [
    {
        "method": method,
        "modifier": "plain",
        "command": "python -m experiments.distill",
        "works": works,
        "why": "" if works else "not finite",
        "loss_before": 1.5 if works else None,
        "loss_after": 1.0 if works else None,
        "seconds_per_step": 0.1,
        "peak_mb": 12.5,
        "sha256": "0" * 64,
    }
    for method, works in (("dm", True), ("dc", False))
]
_TABLE = {
    "rows": [
        {"name": f"row {i}", **_ACCURACY, **({"grad_norm": 2.5} if 0 < i < 3 else {})}
        for i in range(4)
    ],
    "sdc_weight": 3.0,
    "validation": {"0": 70.0, "3": 71.0},
    "gain": [0.5, -0.2],
    "config": {"weights": [3.0], "seeds": [0, 1], "steps": 20},
}
_BANK_SUMMARY = {
    "bank": dataclasses.asdict(_manifest()),
    "bytes": 360,
    "accuracy": {"split": "validation", **_ACCURACY},
    "resumed_at": [1],
}
_HARDNESS = {"grad_norm": 2.5, "percentile": 60.0}
_SUMMARY = {
    "distilled": _ACCURACY,
    "random": _ACCURACY,
    "resumed_at": [],
    "seconds": 1.0,
    "seconds_per_step": 0.01,
    "compile_seconds": 0.5,
    "difficulty": {"start": _HARDNESS, "end": _HARDNESS},
    "segments": [{"size": 1, "kept": [4, 5], "right": 0.5, "forgotten": 0.0}],
    "config": {"steps": 20, "workdir": "w"},
    "seed": 0,
}
_OF_CLASSES = {"balanced": _ACCURACY, "mean": [50.0] * 10, "std": [1.5] * 10}
_REPORTED = {
    **_SUMMARY,
    "classes": {
        "names": [str(k) for k in range(10)],
        "samples": [36] * 10,
        "distilled": _OF_CLASSES,
        "random": _OF_CLASSES,
    },
    "command": "python -m experiments.distill --method=dm",
    "device": "cpu x1",
    "versions": {"jax": "0.10"},
    "warnings": ["the experts differ"],
}
_CONFIG = {"method": "dm", "ipc": 1, "steps": 20, "network": {"name": "mlp"}}


def _use_summary(path: Path) -> None:
    content = read_json(path, SUMMARY, AGAIN)
    rows = pairs.compare({"plain": [content], "other": [content, content]})
    assert len(pairs.markdown("title", rows, [])) < 2000
    d4a_results.mean_segments([content])


def _build_run(folder: Path) -> None:
    Record(folder, _CONFIG).save()


def _use_run(folder: Path) -> None:
    record = Record(folder, _CONFIG)
    record.resumed_at.append(3)
    record.save()
    assert json.loads((folder / "run.json").read_text())["resumed_at"][-1] == 3


def _build_lines(folder: Path) -> None:
    lines = [
        {"step": step, "seconds": step / 10, "match": 1.5,
         "difficulty_grad_norm": 2.5, "difficulty_percentile": 50.0}
        for step in range(4)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))


def _use_metrics(folder: Path) -> None:
    metrics = Metrics(folder, 2)
    assert metrics.seconds >= 0
    metrics.write({"step": 3, "seconds": 0.5})
    text = (folder / "metrics.jsonl").read_text()
    assert [json.loads(x)["step"] for x in text.splitlines()][-1] == 3


# --- All of them --------------------------------------------------------------------

FILES = {
    "bank": Subject(
        _build_bank,
        _one_of(
            of_file("manifest.json", damage_json),
            of_file("manifest.json", damage_json),
            of_file("snapshots.bin", damage_bytes),
            of_file("checksums.bin", damage_bytes),
        ),
        _use_bank,
    ),
    "scores": _arrays(
        "scores.npz",
        _use_scores,
        scores=np.linspace(0, 1, 20, dtype=np.float32),
        ids=_IDS,
    ),
    "segment": _arrays(
        "segment.npz",
        _use_segment,
        images=_SET,
        labels=_LABELS,
        begun_images=_SET,
        begun_labels=_LABELS,
        step_size=np.float32(0),
        margins=np.linspace(-1, 1, 12, dtype=np.float32),
        steps=np.int64(4),
        **{f"timings/{k}": np.float64(0.5) for k in segmented.TIMINGS},
    ),
    "losses": _arrays(
        "test_losses.npz", _use_losses, losses=np.linspace(0, 3, 20, dtype=np.float32)
    ),
    "hits": _arrays(
        "evaluation.npz", _use_hits, right=np.eye(5, 20) > 0, ids=np.arange(20)
    ),
    "sample_difficulty": _arrays(
        "difficulty.npz",
        _use_sample_difficulty,
        kinds=np.array(["real_early", "random"]),
        of_set=np.ones((2, 10), np.float32),
        of_real=np.linspace(0, 3, 40, dtype=np.float32).reshape(2, 20),
        extremes=np.zeros((4, 8, 8, 1), np.uint8),
        classes=np.array([0, 0, 1, 1], np.int32),
        hard=np.array([False, True, False, True]),
        test_ids=np.arange(20),
        of_test=np.linspace(0, 3, 20, dtype=np.float32),
    ),
    "report": Subject(
        _build_reported, of_file("summary.json", damage_json), _use_reported
    ),
    "matrix": _json(
        "matrix.json",
        _RECORDS,
        lambda path: _silently(matrix.show, {"cells": cells.read_records(path)}),
    ),
    "table": _json(
        "table.json", _TABLE, lambda path: _silently(demo.show, demo.read_table(path))
    ),
    "bank summary": _json(
        "summary.json",
        _BANK_SUMMARY,
        lambda path: _silently(experts_program.show, experts.read_summary(path)),
    ),
    "measured": Subject(
        _build_lines,
        of_file("metrics.jsonl", damage_lines),
        lambda folder: _assert_measured(read_measured(folder / "metrics.jsonl")),
    ),
    "summary": _json("summary.json", _SUMMARY, _use_summary),
    "run": Subject(_build_run, of_file("run.json", damage_json), _use_run),
    "metrics": Subject(
        _build_lines, of_file("metrics.jsonl", damage_lines), _use_metrics
    ),
    **data_subjects.SUBJECTS,
}


def _assert_measured(lines) -> None:
    assert all(
        x["difficulty_percentile"] is None or np.isfinite(x["difficulty_percentile"])
        for x in lines
    )


KINDS: dict[str, dict[str, Subject]] = {
    "artifacts": artifact_subjects.SUBJECTS,
    "files": FILES,
    "folders": image_subjects.SUBJECTS,
}
