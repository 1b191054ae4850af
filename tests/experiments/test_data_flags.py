"""The flags that name data mean the same in every program."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from experiments import d4a, matrix, pad, sdc
from experiments.comparing.cells import Key
from experiments.comparing.flags import base_of
from jaxdd.artifact.artifact import _example
from jaxdd.data.problem import DataFlags, open_problem, size_of
from jaxdd.distillation import experts, options
from jaxdd.errors import UserError
from jaxdd.evaluation import run as evaluate
from jaxdd.scoring import api as scoring

GIVEN = {"dataset": "folder:zoo", "data_dir": "d", "channels": 3, "image_size": "20x30",
         "modality": "images", "label": "kind", "id_column": "id",
         "missing": "mean", "subset": "index.json", "stream": "never"}  # fmt: skip


def data_flags(config) -> dict:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(DataFlags)}


@pytest.mark.parametrize("program", [options, experts, scoring, d4a, pad, sdc, matrix])
def test_every_program_takes_them_and_hands_them_on(program):
    config = program.Config(workdir="w", **GIVEN)
    assert data_flags(config) == GIVEN
    if program is experts:
        run = options.run_of(config.method, experts._given(config))
        assert data_flags(run.data) == GIVEN
    if program in (d4a, pad, sdc):
        assert data_flags(base_of(config, "dm")) == GIVEN
    if program is matrix:
        assert data_flags(matrix.cell_of(config, Key("dm", "plain")).config) == GIVEN


def test_a_size_is_a_number_or_two():
    assert size_of(None) is None
    assert (size_of("8"), size_of("8x12")) == ((8, 8), (8, 12))
    for wrong in ("", "x", "8x", "8x9x10", "-8", "8.5", "8 x 9", "9" * 99, 8.5):
        with pytest.raises(UserError, match="--image_size"):
            size_of(wrong)


@pytest.fixture
def zoo(tmp_path):
    """Two classes of files of all sizes and modes, and a file that is no image."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(5):
            shape = (*rng.integers(8, 20, 2), 3)[: 2 + i % 2]
            pixels = rng.integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "notes.txt").write_text("x")
    return f"folder:{tmp_path}"


def test_what_is_left_out_is_said_and_data_are_found_again(zoo, capsys):
    problem = open_problem(DataFlags(dataset=zoo, channels=3, image_size="6x4"), 0.0, 0)
    said = capsys.readouterr().err
    assert "left out 1 file of" in said
    assert "has no test split" in said
    assert problem.dataset.image_shape == (6, 4, 3)
    # An artifact knows what its images were turned into.
    made_from = {
        "name": zoo, "fingerprint": problem.dataset.fingerprint, "validation": 0.0,
        "split_seed": 0, "channels": 3, "image_size": "6x4",
    }  # fmt: skip
    artifact = dataclasses.replace(
        _example(),
        dataset=made_from,
        preprocess=problem.preprocess,
        class_names=problem.dataset.class_names,
        images=np.zeros((2, 1, 6, 4, 3), np.float32),
    )
    again = evaluate.reopen(artifact, None, None)
    assert again.dataset.fingerprint == problem.dataset.fingerprint
    made_from["channels"] = 1
    with pytest.raises(UserError, match="fingerprint"):
        evaluate.reopen(artifact, None, None)
