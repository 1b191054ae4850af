"""Sets of other codes become artifacts, with what belongs to them; or are refused."""

import dataclasses

import numpy as np
import pytest

import jaxdd
from jaxdd.exchange.safetensors import write_safetensors
from tests.exchange.containers import saved
from tests.exchange.sets import (
    DATA,
    HARD,
    INPUTS,
    LOGITS,
    NAMES,
    PIXELS,
    QUICK,
    SHAPE,
    by_class,
    png_folders,
    read,
    written,
)
from tests.helpers import refused

SHUFFLED = np.array([4, 1, 0, 5, 3, 2])


@pytest.mark.parametrize("method", ["dc", "dsa", "dm"])
def test_files_of_dc_dsa_and_dm(tmp_path, method):
    """The method is in the name; images are sorted by their labels."""
    path = tmp_path / f"res_{method.upper()}_toy_ConvNet_2ipc.pt"
    content = {"data": [[INPUTS[SHUFFLED], HARD[SHUFFLED]]], "accs_all_exps": {}}
    artifact, said = read(saved(content, path))
    assert f"one of {method}" in said
    assert artifact.space == "input"
    assert artifact.label_kind == "hard"
    order = np.argsort(HARD[SHUFFLED], kind="stable")
    np.testing.assert_array_equal(artifact.images, by_class(INPUTS[SHUFFLED][order]))
    np.testing.assert_array_equal(artifact.labels.argmax(-1), [[0, 0], [1, 1], [2, 2]])
    mean = DATA.images.mean((0, 1, 2)) / 255
    np.testing.assert_allclose(artifact.preprocess.mean, mean, atol=1e-6)
    epochs = jaxdd.preset(method, "toy", 2).evaluation.epochs
    assert artifact.training.epochs == epochs + 1
    assert artifact.provenance["config"]["method"] == method


def test_one_of_several_experiments(tmp_path):
    pairs = [[INPUTS, HARD], [INPUTS + 1, HARD]]
    path = saved({"data": pairs}, tmp_path / "res_DM_toy_ConvNet_2ipc.pt")
    artifact, said = read(path, experiment=1)
    assert "2 sets" in said
    np.testing.assert_array_equal(artifact.images, by_class(INPUTS + 1))
    with refused(None, "holds 2 sets"):
        read(path, experiment=2)


def test_files_of_idc_and_ncfm(tmp_path):
    path = saved([PIXELS, HARD], tmp_path / "data.pt")
    artifact, said = read(path)
    assert "factor" in said
    assert (artifact.factor, artifact.space) == (2, "pixels")
    assert artifact.synthetic().images.shape == (3, 8, *SHAPE)
    np.testing.assert_array_equal(artifact.displayable(), by_class(PIXELS))
    other, said = read(path, method="ncfm", factor=1)
    assert "one of ncfm" in said
    assert other.factor == 1
    assert other.training != artifact.training


def test_trajectories_with_labels_and_a_rate_beside(tmp_path):
    path = saved(INPUTS, tmp_path / "images_best.pt")
    with refused(None, "no labels beside"):
        read(path)
    saved(HARD, tmp_path / "labels_best.pt")
    artifact, said = read(path)
    assert "one of mtt" in said
    assert "no learned rate" in said
    assert artifact.step_size is None
    saved(np.array([0.025], np.float32), tmp_path / "lr_best.pt")
    artifact, said = read(path)
    assert artifact.step_size == pytest.approx(0.025)
    assert artifact.training.learning_rate == pytest.approx(0.025)
    assert read(path, step_size=0.5)[0].step_size == 0.5
    saved(-0.1, tmp_path / "lr_best.pt")
    with refused(None, "-0.1"):
        read(path)
    saved([0.1, 0.2], tmp_path / "lr_best.pt")
    with refused(None, "one number"):
        read(path)


def test_learned_labels_are_logits_and_images_whitened(tmp_path):
    path = saved(INPUTS, tmp_path / "images_zca.pt")
    saved(LOGITS, tmp_path / "labels_zca.pt")
    artifact, said = read(path, method="pad", zca=True)
    exponents = np.exp(LOGITS)
    expected = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(artifact.labels.reshape(6, 3), expected, rtol=1e-5)
    assert artifact.preprocess.kind == "zca"
    assert "ZCA whitening" in said
    fitted = jaxdd.data.fit_zca(DATA.images)
    np.testing.assert_array_equal(artifact.preprocess.matrix, fitted.matrix)
    targets, _ = read(path, labels="targets", method="mtt")
    assert targets.label_space == "targets"
    assert targets.training.loss == "mse"
    np.testing.assert_array_equal(targets.labels.reshape(6, 3), LOGITS)
    with refused(None, "labels='logits'"):
        read(path, labels="probabilities")


@pytest.mark.parametrize("method", ["mtt", "datm", "dsa"])
def test_cifar_is_whitened_where_the_recipe_says_so(tmp_path, method):
    """Nobody has to give --zca for a published cell."""
    arrays = DATA.images, DATA.labels, DATA.test_images, DATA.test_labels
    cifar = jaxdd.from_arrays(*arrays, NAMES, name="cifar10")
    path = saved(INPUTS[::2], tmp_path / "images_best.pt")
    saved(HARD[::2], tmp_path / "labels_best.pt")
    artifact = jaxdd.load_foreign(path, cifar, method=method, **QUICK)
    if method == "dsa":
        assert artifact.preprocess.kind == "affine"
        np.testing.assert_allclose(artifact.preprocess.std, [0.2023, 0.1994, 0.2010])
    else:
        assert artifact.preprocess.kind == "zca"
    plain = jaxdd.load_foreign(path, cifar, method=method, zca=False, **QUICK)
    assert plain.preprocess.kind == "affine"


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pt"])
def test_named_arrays(tmp_path, ending):
    path = written(tmp_path, ending, images=PIXELS, labels=HARD)
    with refused(None, "on which scale"):
        read(path)
    artifact, _ = read(path, normalisation="pixels")
    np.testing.assert_array_equal(artifact.displayable(), by_class(PIXELS))
    last = np.moveaxis(INPUTS, 1, -1)
    path = written(tmp_path, ending, x_proto=last, y_proto=LOGITS)
    artifact, said = read(path, method="frepo")
    assert "(N, H, W, C)" in said
    assert artifact.label_space == "targets"
    np.testing.assert_array_equal(artifact.images, by_class(INPUTS))


def test_class_names_in_the_metadata(tmp_path):
    texts = {"class_names": '["dog", "cat", "eel"]'}
    path = tmp_path / "x.safetensors"
    write_safetensors({"images": PIXELS, "labels": HARD}, path, texts)
    with refused(None, "another order"):
        read(path, normalisation="pixels")


def test_one_array_with_labels_elsewhere(tmp_path):
    levels = (PIXELS * 255).astype(np.uint8)
    np.save(tmp_path / "x.npy", levels)
    with refused(None, "no labels"):
        read(tmp_path / "x.npy")
    labels_file = saved(HARD, tmp_path / "y.pt")
    artifact, said = read(tmp_path / "x.npy", labels_file=str(labels_file))
    assert "no method is named" in said
    np.testing.assert_array_equal(
        np.round(artifact.displayable() * 255), by_class(levels)
    )


LEVELS = (by_class(PIXELS) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "names", [NAMES, ("new000", "new001", "new002"), ("00000", "00001", "00002")]
)
def test_folders_of_pictures(tmp_path, names):
    root = png_folders(tmp_path / "syn", names, LEVELS)
    artifact, _ = read(root)
    np.testing.assert_array_equal(np.round(artifact.displayable() * 255), LEVELS)
    assert artifact.class_names == NAMES


def test_pictures_of_ours_are_read_again(tmp_path):
    path = saved([PIXELS, HARD], tmp_path / "data.pt")
    artifact, _ = read(path, factor=1)
    jaxdd.write_as(artifact, "png", tmp_path / "pngs")
    again, said = read(tmp_path / "pngs")
    assert "arrays.npz" in said
    np.testing.assert_allclose(
        again.displayable(), artifact.displayable(), atol=0.501 / 255
    )


def test_folders_in_another_order_are_refused(tmp_path):
    """Names decide where they are classes; an index that denies a name is refused."""
    turned = png_folders(tmp_path / "a", ("eel", "cat", "dog"), LEVELS)
    pixels = np.round(255 * read(turned)[0].displayable())
    np.testing.assert_array_equal(pixels, LEVELS[[1, 2, 0]])
    wrong = png_folders(tmp_path / "b", ("00000_dog", "00001_cat", "00002_eel"), LEVELS)
    with refused(None, "another order", "dog"):
        read(wrong)
    strange = png_folders(tmp_path / "c", ("cat", "dog", "emu"), LEVELS)
    with refused(None, "cat", "neither a class"):
        read(strange)
    fewer = png_folders(tmp_path / "d", ("cat", "dog"), LEVELS[:2])
    with refused(None, "2 folders"):
        read(fewer)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["dog", "cat", "eel"], "another order"),
        (["cat", "dog", "emu"], "not those of the dataset"),
        (["cat", "dog"], "not those of the dataset"),
        ([1, 2, 3], "no list of texts"),
    ],
)
def test_class_names_that_disagree_are_refused(tmp_path, names, word):
    content = {"images": PIXELS, "labels": HARD, "class_names": names}
    with refused(None, word):
        read(saved(content, tmp_path / "x.pt"), normalisation="pixels")


def test_inputs_that_do_not_look_like_images_are_reported(tmp_path):
    path = saved({"data": [[20 * INPUTS, HARD]]}, tmp_path / "res_DC_x_y_1ipc.pt")
    assert "warning" in read(path)[1]


def test_a_foreign_set_is_evaluated(tmp_path):
    path = saved([PIXELS, HARD], tmp_path / "data.pt")
    artifact, _ = read(path, method="dm", format="idc", factor=1, eval_epochs=1)
    artifact = dataclasses.replace(artifact, augmentation="none")  # compiles quickly
    evaluation = jaxdd.evaluate(artifact, num_eval=1, num_random=5, dataset=DATA)
    assert evaluation[QUICK["net"]].accuracy.n == 1
