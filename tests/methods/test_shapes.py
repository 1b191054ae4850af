"""Methods and modifiers on vectors and sequences: a step keeps their shapes.

Programs are traced, not compiled, but for one whole run of each shape.
"""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.data.problem import prepare
from jaxdd.data.readers.small import waves, wine
from jaxdd.distillation.opening import open_run
from jaxdd.fields import override
from jaxdd.methods.build import build
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.regression import OnFeatures
from jaxdd.types import Span, Synthetic
from tests.helpers import new_learner, refused, tiny_network, toy_inputs, toy_start
from tests.toy_methods import CONTEXT, toy_recipe

SHAPES = {"vectors": ("mlp", (6,)), "sequences": ("convnet1d", (8, 2))}
# A method of every objective and learner source, and every modifier on some of them.
CELLS = {
    "dc": {},
    "dsa": {"sdc_weight": 0.5},
    "dcc": {"mask": "depth", "mask_ratio": 0.25},
    "idc": {"segments": 2, "forgetting": "replay"},
    "dm": {"mask": "depth", "mask_ratio": 0.25},
    "m3d": {"sdc_weight": 0.5},
    "datadam": {},
    "ncfm": {"sdc_weight": 0.5},
    "mtt": {"sdc_weight": 0.5, "segments": 2, "forgetting": "replay"},
    "tesla": {"mask": "loss", "mask_ratio": 0.25},
    "datm": {"sdc_weight": 0.5, "sdc_at": "path"},
    "frepo": {"sdc_weight": 0.5},
    "rat_bptt": {"sdc_weight": 0.5},
}


def step_shapes(base, flags, shape_name):
    """Shapes of a state before and after a step, and of the set."""
    net, shape = SHAPES[shape_name]
    sizes = {"width": 4} if net == "mlp" else {"depth": 2 if base == "datadam" else 1}
    network = tiny_network(net, shape, **sizes)
    recipe = toy_recipe(base)
    augmentation = "none" if shape_name == "vectors" else "sequence:jitter_shift"
    flat = {"augmentation": augmentation, "factor": 1, "space": "input"}
    if base == "idc":
        flat["pool_augmentation"] = augmentation
        flat["tensors"] = "all"  # an MLP has no kernels of a convolution
    if isinstance(recipe.objective, FeatureMatching | OnFeatures):
        flat["features"] = "all"
    recipe = override(recipe, {**flat, **flags})
    inputs = toy_inputs(shape=shape)
    params = new_learner(network).params
    inputs = inputs._replace(span=Span(params, params, params))
    start = toy_start(inputs)
    labels = recipe.labels.begin(start.labels)
    start = start._replace(labels=labels, step_size=jnp.float32(recipe.step_size))
    if recipe.count > 1:
        inputs = inputs._replace(earlier=toy_start(inputs, seed=9))
    method = build(network, recipe, CONTEXT)
    before = jax.eval_shape(method.init, jax.random.key(0), start)
    after, _ = jax.eval_shape(method.step, jax.random.key(1), before, inputs)
    made: Synthetic = jax.eval_shape(method.result, after)
    return before, after, made, shape


# Of the usual tests, those whose axes differ most; `make test-slow` has the others.
USUAL = {"vectors": ("dm", "mtt"), "sequences": ()}
ALL_CELLS = [
    pytest.param(
        base,
        shape_name,
        marks=() if base in USUAL[shape_name] else pytest.mark.slow,
    )
    for base in CELLS
    for shape_name in SHAPES
]


@pytest.mark.parametrize(("base", "shape_name"), ALL_CELLS)
def test_a_step_of_every_method_keeps_the_shapes(base, shape_name):
    if (base, shape_name) == ("datadam", "vectors"):
        with refused(None, "maps"):  # an MLP has none
            step_shapes(base, CELLS[base], shape_name)
        return
    before, after, made, shape = step_shapes(base, CELLS[base], shape_name)
    typed = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
    assert typed(before) == typed(after)
    assert made.images.shape == (3, 2, *shape)


@pytest.fixture(scope="module")
def problems():
    return {"vectors": prepare(wine(), 0.1, 0),
            "sequences": prepare(waves(per_class=10), 0.1, 0)}  # fmt: skip


@pytest.mark.parametrize(
    ("shape_name", "method", "net", "augmentation"),
    [
        ("vectors", "dsa", "mlp", "none"),
        ("vectors", "idc", "mlp", "none"),
        ("sequences", "dsa", "convnet1d", "sequence:jitter_scale_shift"),
    ],
)
def test_defaults_follow_the_shape(problems, shape_name, method, net, augmentation):
    resolved = open_run(method, {"ipc": 1}, problems[shape_name]).resolved
    assert resolved.network.net == net
    recipe, evaluation = resolved.recipe, resolved.evaluation
    assert recipe.objective.augmentation == augmentation
    assert (recipe.images.factor, recipe.images.space) == (1, "input")
    assert evaluation.augmentation == augmentation
    given = {"ipc": 1, "net": "mlp", "augmentation": "none", "eval_epochs": 7}
    resolved = open_run(method, given, problems[shape_name]).resolved
    assert resolved.network.net == "mlp"
    assert resolved.recipe.objective.augmentation == "none"
    assert resolved.evaluation.epochs == 7


@pytest.mark.parametrize(
    ("shape_name", "flags", "words"),
    [
        ("vectors", {"augmentation": "color"}, "'color' is not for vectors [F]"),
        ("vectors", {"net": "convnet"}, "use mlp"),
        ("vectors", {"factor": 2}, "--factor=2 is about images"),
        ("vectors", {"constants": "cifar10"}, "--constants=cifar10 is about images"),
        ("sequences", {"net": "resnet18"}, "use convnet1d, mlp"),
        ("sequences", {"eval_augmentation": "flip"}, "sequence:jitter_scale_shift"),
        ("sequences", {"space": "pixels"}, "--space=pixels is about images"),
        ("sequences", {"depth": 7}, "sequences of at least 128 steps"),
    ],
)
def test_what_does_not_fit_is_refused(problems, shape_name, flags, words):
    with refused(None, words):
        open_run("dsa", {"ipc": 1, **flags}, problems[shape_name])


SHORT = {"ipc": 1, "steps": 2, "width": 4, "num_eval": 1, "num_random": 5,
         "eval_epochs": 1, "probes": 1, "probe_steps": 1, "log_every": 1}  # fmt: skip


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_a_table_from_a_file_to_a_set_that_can_be_read(tmp_path):
    data = wine()
    rows = [[*x, "abc"[k], "dry" if k else "sweet"]
            for x, k in zip(data.images[:, :4], data.labels, strict=True)]  # fmt: skip
    table = tmp_path / "wine.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c", "d", "kind", "taste"], *rows])
    folder = tmp_path / "run"
    result = jaxdd.distill(
        f"table:{table}", "dm", workdir=folder, label="kind", **SHORT
    )
    assert result.images.shape == (3, 1, 6)
    written = read_csv(folder / "samples.csv")
    assert written[0] == ["class", "a", "b", "c", "d", "taste"]
    assert [row[0] for row in written[1:]] == ["a", "b", "c"]
    assert {row[5] for row in written[1:]} <= {"dry", "sweet"}
    # In the table's units: alcohol by volume.
    assert all(8 < float(row[1]) < 18 for row in written[1:])
    page = (folder / "report.html").read_text()
    assert "taste" in page
    assert "Easiest and hardest real samples" in page
    assert "1 row per class" in page
    again = jaxdd.load(folder / "distilled.npz")
    assert again.columns[-1].levels == ("dry", "sweet")
    assert again.dataset["label"] == "kind"
    evaluated = jaxdd.evaluate(folder / "distilled.npz", num_eval=1)
    assert evaluated["mlp"].accuracy.mean == result.accuracy.mean
    out = jaxdd.write_as(again, "csv", tmp_path / "set.csv")
    assert out.read_text() == (folder / "samples.csv").read_text()
    for target in ("png", "parquet"):
        with refused(None, "vectors"):
            jaxdd.write_as(again, target, tmp_path / target)


@pytest.mark.slow
def test_sequences_from_arrays_to_a_report(tmp_path):
    data = waves(per_class=10)
    arrays = (data.images, data.labels, data.test_images, data.test_labels)
    folder = tmp_path / "run"
    result = jaxdd.distill(
        arrays, "dm", workdir=folder, modality="sequences", depth=1, **SHORT
    )
    assert result.images.shape == (4, 1, 32, 2)
    assert result.artifact.network["name"] == "convnet1d"
    assert (folder / "images.png").read_bytes()[:4] == b"\x89PNG"
    written = read_csv(folder / "samples.csv")
    assert written[0] == ["class", "sample", "step", "channel 0", "channel 1"]
    assert len(written) == 1 + 4 * 32
    values = np.array([row[3:] for row in written[1:]], float).reshape(4, 32, 2)
    np.testing.assert_allclose(values, result.displayable()[:, 0], atol=1e-3)
    page = (folder / "report.html").read_text()
    assert "channel 1" in page
    evaluated = jaxdd.evaluate(result, dataset=arrays, num_eval=1)
    assert evaluated["convnet1d"].accuracy.mean == result.accuracy.mean
