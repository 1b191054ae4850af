"""`experiments.evaluate`: the stored number again, from the file alone."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import jaxdd
from experiments import distill, evaluate
from jaxdd import artifact as artifacts
from jaxdd.errors import UserError
from tests.experiments.helpers import QUICK, read_json, small, start


@pytest.fixture
def path(finished):
    return finished / "distilled.npz"


def test_a_fresh_process_gets_exactly_the_stored_number(path, tmp_path):
    flags = {"artifact": path, "nets": "convnet,mlp", "num_eval": 2}
    with start("evaluate", **flags, workdir=tmp_path) as process:
        out, error = process.communicate()
    assert process.returncode == 0, error
    found = read_json(tmp_path / "evaluation.json")
    summary = read_json(path.parent / "summary.json")
    assert list(found) == ["convnet", "mlp"]
    for net in found:
        assert set(found[net]) == {"distilled", "random", "stored"}
        assert found[net]["distilled"]["n"] == 2
        assert found[net]["random"]["n"] == 10
    # To the last bit, and so is the bar beside it.
    assert found["mlp"]["distilled"] == found["mlp"]["stored"] == summary["distilled"]
    assert found["mlp"]["random"] == summary["random"]
    assert found["convnet"]["stored"] is None
    assert f"{summary['distilled']['mean']:.2f}" in out
    assert "Traceback" not in error


def test_other_seeds_give_other_networks(path, tmp_path):
    config = evaluate.Config(str(path), num_eval=2, seed=7, workdir=str(tmp_path))
    found = evaluate.run(config)["mlp"]
    assert found["random"] != read_json(path.parent / "summary.json")["random"]


def test_a_whitened_and_relabelled_artifact(tmp_path):
    """What the preprocessing and the labels are travels in the file."""
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
    folder = tmp_path / "pngs"
    found = {}
    for name in ("distilled", "soft"):
        config = evaluate.Config(
            str(tmp_path / f"{name}.npz"), num_eval=2, export=str(folder)
        )
        found[name] = evaluate.run(config)["mlp"]
    stored = read_json(tmp_path / "summary.json")["distilled"]
    assert found["distilled"]["distilled"] == found["distilled"]["stored"] == stored
    assert found["soft"]["distilled"] != stored
    assert jaxdd.load(tmp_path / "soft.npz").label_kind == "soft"

    # The exported pictures are a dataset again.
    again = jaxdd.data.load(f"folder:{folder}")
    assert again.class_names == made.class_names
    assert len(again.labels) + len(again.test_labels) == 50
    with Image.open(folder / "3" / "0000.png") as image:
        pixels = np.round(255 * shown[3, 0, ..., 0]).astype(np.uint8)
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_data_of_another_fingerprint_is_refused(path, tmp_path):
    made = jaxdd.load(path)
    other = {**made.dataset, "fingerprint": "0" * 64}
    changed = artifacts.save(
        dataclasses.replace(made, dataset=other), tmp_path / "changed.npz"
    )
    with pytest.raises(UserError, match="fingerprint differs") as error:
        evaluate.run(evaluate.Config(str(changed)))
    assert "'digits'" in str(error.value)
    assert not (tmp_path / "evaluation.json").exists()
