"""Whose mean and deviation a run's images are normalised with."""

import dataclasses

import numpy as np
import pytest

from experiments import matrix
from experiments.comparing import shared_banks
from experiments.comparing.cells import Key
from jaxdd.data import from_arrays, problem
from jaxdd.distillation import experts, options, resolution
from jaxdd.distillation.options import Config
from jaxdd.errors import UserError
from jaxdd.methods.presets import preset
from jaxdd.methods.recipes import METHODS
from tests.experiments.helpers import open_config

# As the official code of each method has them.
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100 = ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
OF_DC = ("dc", "dsa", "dm", "datadam")


def dataset_of(name):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(60) % 3
    return from_arrays(images, labels, images[:6], labels[:6], name=name)


@pytest.fixture
def datasets(monkeypatch):
    """Three classes of noise under the name that is asked for."""
    monkeypatch.setattr(problem, "load", lambda name, *_, **form: dataset_of(name))


def config_of(method, dataset="cifar100", **flags):
    # Two blocks are the least that DataDAM can match.
    given = {"ipc": 10, "zca": False, "depth": 2, **flags}
    return Config(workdir="unused", dataset=dataset, method=method, **given)


def open_data(config):
    return resolution.open_data(options.run_of(config.method, options.given(config)))


def normalised(images, constants):
    """Pixel by pixel, in float64."""
    out = np.empty(images.shape)
    for index in np.ndindex(images.shape):
        mean, deviation = (row[index[-1]] for row in constants)
        out[index] = (int(images[index]) / 255 - mean) / deviation
    return out


@pytest.mark.parametrize("method", METHODS)
def test_cifar100_is_seen_as_in_the_methods_own_code(datasets, method):
    """Also where a comparison hands over the data of another method."""
    config = config_of(method)
    expected = CIFAR100 if method in OF_DC else CIFAR10
    opened = open_data(config)
    images = opened.splits.train.images[:2]
    of_others = (open_data(config_of(other)) for other in ("dc", "mtt"))
    given = [open_config(config, other).problem for other in of_others]
    for found in (opened, *given):
        seen = found.preprocess.apply(images)
        np.testing.assert_allclose(seen, normalised(images, expected), atol=1e-5)
        stored, scale, shift = found.preprocess.device_images(images)
        on_device = stored * scale + shift
        np.testing.assert_allclose(on_device, normalised(images, expected), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_other_datasets_keep_their_own_constants(method):
    for name in ("mnist", "svhn_cropped", "cifar10", "tiny_imagenet", "digits"):
        assert preset(method, name, 10).scaling.constants is None
    assert preset(method, "cifar100:3.0.2", 10) == preset(method, "cifar100", 10)


def test_runs_of_different_constants_are_different_runs(datasets):
    """A run from before knows none, which is what "their own" is called."""
    values = lambda config: open_config(config).resolved.values(None)
    own, borrowed = (values(config_of(m, ipc=1)) for m in ("dsa", "dsac"))
    assert (own["constants"], borrowed["constants"]) == (None, "cifar10")
    # The flag says it for one run: DSAC's with the constants of earlier revisions.
    as_before = values(config_of("dsac", ipc=1, constants="cifar100"))
    assert as_before["constants"] is None
    whitened = values(config_of("mtt", ipc=1, zca=True))
    assert (whitened["zca"], whitened["constants"]) == (True, None)


def test_data_are_read_once_and_fitted_as_often_as_they_are_seen(datasets, monkeypatch):
    read = []
    loading = problem.load

    def load(*args, **form):
        read.append(args)
        return loading(*args, **form)

    monkeypatch.setattr(problem, "load", load)
    names = ("dc", "dsa", "dcc", "mtt", "datm")
    zca = {"mtt": None, "datm": None}  # published with whitening, or without
    found = resolution.open_each(
        {name: config_of(name, ipc=1, zca=zca.get(name, False)) for name in names}
    )
    assert len(read) == 1
    kinds = {
        name: (p.preprocess.kind, p.scaling.constants) for name, p in found.items()
    }
    assert kinds == {
        "dc": ("affine", None),
        "dsa": ("affine", None),
        "dcc": ("affine", "cifar10"),
        "mtt": ("zca", None),
        "datm": ("zca", None),
    }
    assert found["mtt"] is found["datm"]
    assert found["dc"].splits is found["mtt"].splits


def test_experts_see_what_the_distillation_sees(datasets, tmp_path):
    for method in ("mtt", "tesla"):
        asked = shared_banks.training_of(config_of(method), tmp_path, 1, 4)
        for given in (None, open_data(config_of("dc"))):
            opened = experts.open_run(asked, given)
            mean = opened.problem.preprocess.mean
            np.testing.assert_allclose(mean, CIFAR10[0], rtol=1e-6)
    own = dataclasses.replace(asked, constants="cifar100")
    other = experts.open_run(own)
    assert other.manifest.preprocess != opened.manifest.preprocess


def test_in_the_table_of_cells_methods_share_experts_that_see_alike():
    """MTT whitens CIFAR-10 at ten images per class, TESLA has no such setting."""
    config = matrix.Config(workdir="w", dataset="cifar10", ipc=10)
    bank = lambda method: matrix.cell_of(config, Key(method, "plain")).config.experts
    assert bank("mtt") == bank("ftd") == bank("datm") == "w/experts-zca"
    assert bank("tesla") == "w/experts"
    digits = matrix.cell_of(matrix.Config(workdir="w"), Key("mtt", "fiex"))
    assert digits.config.experts == "w/experts-fiex"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"constants": "cifar"}, "no constants for 'cifar': name one of mnist,"),
        ({"constants": "mnist"}, "'mnist' are for 1 channels and the images have 3"),
        ({"constants": "cifar10", "zca": True}, "--constants .* are whitened"),
    ],
)
def test_constants_that_cannot_be_are_refused(datasets, flags, message):
    with pytest.raises(UserError, match=message):
        open_config(config_of("dsa", **{"ipc": 1, **flags}))
