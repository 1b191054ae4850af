"""What is damaged: every kind of file that a program reads."""

import contextlib
import dataclasses
import io
import json
import os
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import jax
import numpy as np
from PIL import Image

from experiments import demo, matrix
from experiments import experts as experts_program
from experiments.comparing import cells, d4a_results, pairs
from experiments.comparing.sdc_results import read_measured
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact
from jaxdd.data import fit_zca, load, normalisation
from jaxdd.data.problem import DataFlags, Problem, open_problem
from jaxdd.distillation import banks, evidence, experts, reporting, segmented
from jaxdd.distillation.finished import AGAIN, SUMMARY
from jaxdd.distillation.sorting import read_scores
from jaxdd.errors import UserError
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.protocol import Judge, Protocol
from jaxdd.experts import Bank, Manifest
from jaxdd.report.run_page import run_page
from jaxdd.report.run_values import Difficulty, Run
from jaxdd.storage.files import to_json
from jaxdd.storage.metrics import Metrics
from jaxdd.storage.records import read_json
from jaxdd.storage.workdir import Record
from jaxdd.training.fit import Training
from tests.experts.helpers import toy_manifest
from tests.faults import data_subjects
from tests.faults.damage import (
    damage_archive,
    damage_bytes,
    damage_header,
    damage_json,
    damage_lines,
)
from tests.faults.fuzz import Subject
from tests.helpers import linear_network

Damage = Callable[[Random, bytes], tuple[bytes, str]]


def _file(name: str, damage: Damage) -> Callable[[Random, Path], str]:
    """Damage of one file of a folder."""

    def change(rng: Random, folder: Path) -> str:
        path = folder / name
        content, how = damage(rng, path.read_bytes())
        path.write_bytes(content)
        return f"{name}: {how}"

    return change


def _one_of(*ways: Callable[[Random, Path], str]) -> Callable[[Random, Path], str]:
    return lambda rng, folder: rng.choice(ways)(rng, folder)


@cache
def digits() -> Problem:
    return open_problem(DataFlags(), 0.1, 0)


# --- Artifacts ----------------------------------------------------------------------


def _artifact(zca: bool, soft: bool, pruned: bool = False, **changes) -> Artifact:
    """A set of digits, two images of each class, as some method could have made it."""
    dataset = digits().dataset
    if pruned:
        dataset = dataset.subset(np.arange(0, len(dataset.labels), 3))
    pixels = dataset.images[:20].reshape(10, 2, *dataset.image_shape)
    preprocess = (
        fit_zca(dataset.images) if zca else normalisation("digits", dataset.images)
    )
    labels = np.repeat(np.eye(10, dtype=np.float32)[:, None], 2, axis=1)
    if soft:
        labels = 0.9 * labels + np.float32(0.01)
    made = Artifact(
        images=preprocess.apply(pixels),
        labels=labels,
        step_size=None,
        preprocess=preprocess,
        class_names=dataset.class_names,
        dataset={
            "name": "digits",
            "fingerprint": dataset.fingerprint,
            "validation": 0.1,
            "split_seed": 0,
            **dataset.described,
        },
        network={"name": "convnet", "width": 8, "depth": 2},
        augmentation="flip_scale",
        training=Training(4, momentum=0.9, decay_epochs=(2, 3), reset_momentum=True),
        measured={
            name: {"mean": 50.0, "std": 1.5, "n": 5} for name in ("distilled", "random")
        },
        provenance={"config": {"ipc": 2}, "seed": 3, "steps": 7, "device": "cpu x1"},
    )
    if changes.get("space") == "pixels":
        changes["images"] = pixels
    return dataclasses.replace(made, **changes)


ARTIFACTS: dict[str, dict] = {
    "hard": {"zca": False, "soft": False},
    "soft": {"zca": False, "soft": True, "step_size": 0.02},
    "pruned": {"zca": False, "soft": False, "pruned": True},
    "whitened": {"zca": True, "soft": True, "network": {"name": "mlp", "width": 16}},
    "tiles": {
        "zca": False,
        "soft": False,
        "factor": 2,
        "formation": "multi",
        "space": "pixels",
        "augmentation": "idc:color_crop+cutmix=0.5",
    },
}


def _use_artifact(folder: Path) -> None:
    artifact = artifacts.load(folder / "distilled.npz")
    shown = artifact.displayable()
    assert shown.dtype == np.float32
    assert shown.min() >= 0 and shown.max() <= 1  # noqa: PT018
    decoded = artifact.synthetic()
    assert np.isfinite(np.asarray(decoded.images)).all()
    assert np.isfinite(np.asarray(decoded.labels)).all()
    assert decoded.images.shape[2:] == artifact.images.shape[2:]
    again = artifacts.load(artifacts.save(artifact, folder / "again.npz"))
    for field in dataclasses.fields(Artifact):
        _assert_same(getattr(artifact, field.name), getattr(again, field.name))
    # As `evaluate` goes on from there, with data that fits.
    problem = digits()
    protocol = Protocol(
        artifact.network,
        artifact.training,
        artifact.augmentation,
        num_eval=5,
        num_random=artifact.measured.get("random", {}).get("n", 5),
        seed=artifact.provenance["seed"],
        precision="float32",
    )
    if artifact.images.shape[2:] == problem.dataset.image_shape:
        there = dataclasses.replace(problem, preprocess=artifact.preprocess)
        Judge(there, protocol, there.splits.test)
    path = folder / "distilled.npz"
    if zlib.crc32(path.read_bytes()) % 10 == 0:  # not always: it reads the data
        evaluate.open_run(evaluate.Config(artifact=str(path)))


def _assert_same(ours, theirs) -> None:
    if dataclasses.is_dataclass(ours) and not isinstance(ours, Training):
        for field in dataclasses.fields(ours):
            _assert_same(getattr(ours, field.name), getattr(theirs, field.name))
    elif isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


def _artifact_subject(name: str) -> Subject:
    def build(folder: Path) -> None:
        artifacts.save(_artifact(**ARTIFACTS[name]), folder / "distilled.npz")

    damage = lambda rng, content: damage_archive(rng, content, damage_header)
    return Subject(build, _file("distilled.npz", damage), _use_artifact)


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
        build, _file(name, damage_archive), lambda folder: use(folder / name)
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


def _use_evidence(path: Path) -> None:
    found = evidence.read(path.parent, 10)
    kept = Difficulty(*found[:6])
    assert len(run_page(dataclasses.replace(_reported(), difficulty=kept)))


@cache
def _reported() -> Run:
    """A run without the difficulty of its samples."""
    made = _artifact(zca=False, soft=False)
    return reporting.content_of(made, _SUMMARY, [], "w")


def _build_reported(folder: Path) -> None:
    artifacts.save(_artifact(zca=False, soft=False), folder / "distilled.npz")
    (folder / "summary.json").write_text(to_json(_REPORTED))


def _use_reported(folder: Path) -> None:
    assert run_page(reporting.read(folder)).count("<h2>") > 3


def _use_hits(path: Path) -> None:
    assert d4a_results.by_tenth(path.parent, np.arange(20.0)).shape == (10,)


# --- JSON of programs ---------------------------------------------------------------


def _json(name: str, value, use: Callable[[Path], None]) -> Subject:
    def build(folder: Path) -> None:
        (folder / name).write_text(to_json(value))

    return Subject(build, _file(name, damage_json), lambda folder: use(folder / name))


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


# --- Folders of images --------------------------------------------------------------


def _build_images(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


def _damage_images(rng: Random, folder: Path) -> str:
    """Files and folders as they lie about on disks."""
    path = rng.choice(sorted(folder.rglob("*.png")))
    if rng.random() < 0.4:
        return _file(str(path.relative_to(folder)), damage_bytes)(rng, folder)
    odd = path.parent / rng.choice(["z.png", "a.jpg", ".hidden.png", "é.png", "x.txt"])
    mode = rng.choice(["1", "L", "LA", "P", "RGBA", "CMYK", "I", "I;16", "F"])
    size = rng.choice([(6, 6), (1, 1), (6, 7), (0, 0), (3000, 1)])
    ways: dict[str, Callable[[], None]] = {
        "a pipe": lambda: os.mkfifo(odd),
        "a folder": lambda: odd.mkdir(),
        "a loop": lambda: odd.symlink_to(odd),
        "a broken link": lambda: odd.symlink_to("nowhere"),
        "a link upwards": lambda: odd.symlink_to(folder, target_is_directory=True),
        "a device": lambda: odd.symlink_to("/dev/zero"),
        "no UTF-8": lambda: (path.parent / os.fsdecode(b"\xff.png")).mkdir(),
        "a class without UTF-8": lambda: path.parent.rename(
            path.parent.with_name(os.fsdecode(b"\xff\xfe"))
        ),
        "an empty class": lambda: (path.parent.parent / "empty").mkdir(),
        "PostScript": lambda: odd.write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\nshowpage\n"
        ),
        "a bomb": lambda: path.write_bytes(
            path.read_bytes()[:16] + b"\x7f\xff\xff\xff" * 2 + path.read_bytes()[24:]
        ),
        f"{mode} {size}": lambda: Image.new(mode, size).save(odd, rng.choice(
            ["PNG", "TIFF", "BMP", "GIF"])),
        "nothing": lambda: odd.touch(),
        "a file for a class": lambda: (path.parent.parent / "bird").touch(),
        "no images": lambda: [x.unlink() for x in path.parent.iterdir()] and None,
    }  # fmt: skip
    for way in rng.sample(sorted(ways), len(ways)):
        with contextlib.suppress(OSError, ValueError, SystemError, KeyError):
            ways[way]()
            return f"{odd.relative_to(folder)}: {way}"
    return "nothing"


def _use_images(folder: Path) -> None:
    dataset = load(f"folder:{folder}")
    assert len(dataset.images) == len(dataset.labels)
    assert len(dataset.test_images) == len(dataset.test_labels)
    assert len(dataset.fingerprint) == 64


# --- All of them --------------------------------------------------------------------

FILES = {
    "bank": Subject(
        _build_bank,
        _one_of(
            _file("manifest.json", damage_json),
            _file("manifest.json", damage_json),
            _file("snapshots.bin", damage_bytes),
            _file("checksums.bin", damage_bytes),
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
    "evidence": _arrays(
        "difficulty.npz",
        _use_evidence,
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
        _build_reported, _file("summary.json", damage_json), _use_reported
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
        _file("metrics.jsonl", damage_lines),
        lambda folder: _assert_measured(read_measured(folder / "metrics.jsonl")),
    ),
    "summary": _json("summary.json", _SUMMARY, _use_summary),
    "run": Subject(_build_run, _file("run.json", damage_json), _use_run),
    "metrics": Subject(
        _build_lines, _file("metrics.jsonl", damage_lines), _use_metrics
    ),
    **data_subjects.SUBJECTS,
}


def _assert_measured(lines) -> None:
    assert all(
        x["difficulty_percentile"] is None or np.isfinite(x["difficulty_percentile"])
        for x in lines
    )


KINDS: dict[str, dict[str, Subject]] = {
    "artifacts": {name: _artifact_subject(name) for name in ARTIFACTS},
    "files": FILES,
    "folders": {"images": Subject(_build_images, _damage_images, _use_images)},
}
