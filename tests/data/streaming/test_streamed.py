"""What is streamed is what is in memory, to the bit."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from experiments.console import refusals
from jaxdd.artifact.artifact import _example
from jaxdd.data import load
from jaxdd.data.problem import DataFlags, Scaling, open_problem, prepare
from jaxdd.data.real import (
    real_data,
    sample_any,
    sample_class,
    sample_classes,
    take,
)
from jaxdd.data.streaming import choice
from jaxdd.data.streaming.host import HostImages
from jaxdd.data.streaming.moving import moved
from jaxdd.data.streaming.rows import Rows
from jaxdd.devices import mesh, policy
from jaxdd.distillation.result import Result
from jaxdd.evaluation import reopening
from jaxdd.evaluation.reopening import reopen
from jaxdd.storage.files import make_folder
from tests.data.conftest import png, samples, write_tfds
from tests.helpers import refused

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
IMAGES = RNG.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
COLOURS = jaxdd.from_arrays(IMAGES, LABELS, IMAGES[:12], LABELS[:12], name="colours")
CATS = jaxdd.from_arrays(
    IMAGES[:20, :4, :4, :1], LABELS[:20] % 2, IMAGES[:9, :4, :4, :1], LABELS[:9] % 2,
    ("cat", "dog"),
)  # fmt: skip


@pytest.fixture
def key():
    return jax.random.key(7)


def check_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture
def pair():
    """The same data in memory and on disk, prepared."""

    def prepared(zca=False):
        of = (prepare(x, 0.2, 0, Scaling(zca=zca)) for x in (COLOURS, moved(COLOURS)))
        here, there = (problem.on_device(problem.splits.train) for problem in of)
        assert isinstance(there.images, HostImages)
        return here, there

    return prepared


def test_a_dataset_on_disk_is_the_same_dataset(pair):
    there = moved(COLOURS)
    assert isinstance(there.images, Rows)
    assert there.fingerprint == COLOURS.fingerprint
    assert moved(there) is there
    assert jaxdd.data.validate(there) is there


@pytest.mark.parametrize("zca", [False, True])
def test_batches_have_the_same_bits(pair, key, zca):
    here, there = pair(zca)

    def batches(real):
        ids = jnp.array([[3, 1], [0, 40]])
        mapped = jax.lax.map(lambda i: take(real, i), ids)
        return sample_classes(key, real, 5), sample_any(key, real, 7), mapped

    check_equal(jax.jit(batches)(here), jax.jit(batches)(there))
    check_equal(batches(here), batches(there))  # without a program, too


def test_a_gradient_and_a_loop_have_the_same_bits(pair, key):
    here, there = pair()

    @jax.jit
    def descended(real):
        def loss(x, step):
            batch = sample_any(jax.random.fold_in(key, step), real, 8)
            return jnp.sum((batch.images.mean(0) - x) ** 2)

        step = lambda i, x: x - 0.1 * jax.grad(loss)(x, i)
        return jax.lax.fori_loop(0, 5, step, jnp.zeros((8, 8, 3)))

    check_equal(descended(here), descended(there))


def test_programs_of_equal_rows_are_shared(key):
    count = 0

    @jax.jit
    def one(real):
        nonlocal count
        count += 1
        return sample_any(key, real, 2).images

    for _ in range(2):
        problem = prepare(moved(COLOURS), 0.2, 0)
        one(problem.on_device(problem.splits.train))
    assert count == 1


RUNS = {
    "dm": {"method": "dm", "net": "mlp", "depth": None},
    "d4a and sdc": {
        "method": "dsa", "matches": 2, "segments": 2, "judges": 1, "judge_epochs": 1,
        "min_keep": 2, "sdc_weight": 1.0, "ipc": 2,
    },
    "idc": {"method": "idc", "matches": 2},
    "frepo": {"method": "frepo", "pool_networks": 2, "ridge": 0.1},
    "mtt": {
        "method": "mtt", "num_experts": 1, "bank_epochs": 2, "max_start": 1,
        "expert_epochs": 1, "student_steps": 2, "zca": True, "step_size_lr": 1e-9,
    },
}  # fmt: skip


def runs(name: str) -> list[Result]:
    """The same run of `RUNS` in memory and on disk."""
    flags = {
        "ipc": 1, "steps": 2, "net": "convnet", "width": 4, "depth": 1, "num_eval": 2,
        "eval_epochs": 1, "num_random": 5, "probes": 1, "probe_steps": 2, **RUNS[name],
    }  # fmt: skip
    return [
        jaxdd.distill(COLOURS, stream=stream, **flags) for stream in ("never", "always")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_whole_run_has_the_same_bits(name, tmp_path):
    code = (
        "import numpy as np\nfrom tests.data.streaming.test_streamed import runs\n"
        f"here, there = runs({name!r})\n"
        "np.testing.assert_array_equal(here.images, there.images)\n"
        "assert here.accuracy == there.accuracy and here.random == there.random\n"
        "assert here.difficulty == there.difficulty\n"
    )
    usual = {"JAXDD_CACHE": str(tmp_path), "XLA_FLAGS": ""}
    environment = {**os.environ, **usual}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("score", ["el2n", "forgetting"])
def test_scores_have_the_same_bits(score):
    some = {"net": "mlp", "width": 4, "networks": 1, "train_steps": 2}
    of = [
        jaxdd.difficulty(COLOURS, score, forgetting_epochs=2, stream=stream, **some)
        for stream in ("never", "always")
    ]
    check_equal(of[0].scores, of[1].scores)
    assert isinstance(of[1].train.images, Rows)


def test_the_keyword_moves_what_is_in_memory():
    some = {"net": "mlp", "width": 4, "networks": 1, "train_steps": 1}
    flags = {"keep": 0.5, "balanced": True, "stream": "always"}
    pruned = jaxdd.prune(COLOURS, "el2n", **flags, **some)
    assert isinstance(pruned.dataset.images, Rows)
    with refused("^stream must be one of"):
        jaxdd.difficulty(COLOURS, "el2n", stream="sometimes", **some)
    origin = {**_example().dataset, "fingerprint": CATS.fingerprint}
    artifact = dataclasses.replace(_example(), dataset=origin)
    opened = reopen(artifact, None, None, CATS, "always")
    assert isinstance(opened.splits.test.images, Rows)
    both = [
        jaxdd.evaluate(artifact, num_eval=2, dataset=CATS, stream=stream)
        for stream in ("never", "always")
    ]
    assert both[0]["mlp"].accuracy == both[1]["mlp"].accuracy


def test_all_of_other_data_is_tested_on_without_joining_it_in_memory():
    origin = {**_example().dataset, "fingerprint": CATS.fingerprint}
    artifact = dataclasses.replace(_example(), dataset=origin)
    both = []
    for stream in ("never", "always"):
        problem = reopen(artifact, None, None, CATS, stream)
        tested = reopening.tested_on(artifact, problem, CATS, "all", None, stream)
        both.append((problem.on_device(tested.split), tested))
    (here, in_memory), (there, on_disk) = both
    assert isinstance(on_disk.split.images, Rows)
    assert on_disk.split.images.file.bytes_read == 0
    assert on_disk.fingerprint == in_memory.fingerprint
    chosen = jnp.array([0, 19, 20, 28])  # the ends of both parts
    check_equal(jax.jit(take)(here, chosen), jax.jit(take)(there, chosen))
    np.testing.assert_array_equal(on_disk.split.images[:], in_memory.split.images)
    np.testing.assert_array_equal(on_disk.split.labels, in_memory.split.labels)


def test_prepared_datasets_are_decoded_to_the_disk(tmp_path):
    splits = {"train": [samples(10), samples(7, seed=2)], "test": [samples(5, seed=1)]}
    write_tfds(tmp_path / "toy" / "1.0.0", splits)
    here, there = (load("toy", tmp_path, stream=x) for x in ("never", "always"))
    assert isinstance(there.images, Rows)
    assert there.fingerprint == here.fingerprint
    assert there.class_names == here.class_names


def test_a_shard_that_vanishes_meanwhile_costs_no_decoded_image(tmp_path):
    splits = {"train": [samples(10), samples(7, seed=2)], "test": [samples(5, seed=1)]}
    folder = write_tfds(tmp_path / "toy" / "1.0.0", splits)
    shard = next(folder.glob("*train*00001-of-00002"))
    aside = shard.rename(tmp_path / "aside")
    before = aside.stat()
    with refused(None, shard.name):
        load("toy", tmp_path, stream="always")
    aside.rename(shard)
    assert shard.stat().st_mtime_ns == before.st_mtime_ns
    assert load("toy", tmp_path, stream="always").fingerprint == (
        load("toy", tmp_path, stream="never").fingerprint
    )


@pytest.mark.parametrize("split", [("",), ("train", "test")])
def test_folders_are_decoded_to_the_disk(tmp_path, split):
    for part in split:
        for k in range(2):
            folder = make_folder(tmp_path / "photos" / part / f"class{k}")
            for i, (image, _) in enumerate(samples(6, seed=k)):
                (folder / f"{i}.png").write_bytes(png(image))
    name = f"folder:{tmp_path / 'photos'}"
    here, there = (load(name, stream=x) for x in ("never", "always"))
    assert isinstance(there.images, Rows)
    assert there.fingerprint == here.fingerprint
    assert there.remarks == here.remarks
    # Another size is another store.
    small = load(name, image_size=(4, 4), stream="always")
    assert small.image_shape == (4, 4, 3)
    assert load(name, stream="always").fingerprint == here.fingerprint


def test_memory_decides(monkeypatch, tmp_path):
    write_tfds(
        tmp_path / "toy" / "1.0.0", {"train": [samples(10)], "test": [samples(5)]}
    )
    assert isinstance(load("toy", tmp_path, stream="auto").images, np.ndarray)
    monkeypatch.setattr(choice, "host_memory", lambda: 1000)
    assert isinstance(load("toy", tmp_path, stream="auto").images, Rows)
    assert isinstance(load("toy", tmp_path, stream="never").images, np.ndarray)


@pytest.mark.parametrize("devices", [1, 4])
def test_every_device_reads_what_it_asks_for(pair, key, devices):
    here, there = pair()

    def batches(real):
        def of_class(k, real):
            return sample_class(jax.random.fold_in(key, k), real, k, 4).images.sum()

        spread = policy.spread_axis(of_class, jnp.arange(3), real)
        return spread, sample_any(key, real, 6)

    expected = jax.jit(batches)(here)
    with mesh.use(devices):
        check_equal(expected, jax.jit(batches)(there))
        chosen = jnp.array([2, 5])
        picked = there.images[chosen]  # without a program
        check_equal(jax.jit(lambda x: x + 1)(picked), here.images[chosen] + 1)
        check_equal(there.images[3:9:2], here.images[3:9:2])


def test_a_store_that_is_cut_short_meanwhile_is_one_sentence(pair, key, caplog):
    _, there = pair()
    total = jax.jit(lambda real: sample_any(key, real, 8).images.sum())
    assert np.isfinite(total(there))
    os.truncate(there.images.rows.file.path, 100)
    refusals.quieten()
    with pytest.raises(Exception, match="cut short") as error:
        total(there).block_until_ready()
    told = refusals.sentence(error.value)
    assert told is not None
    assert "\n" not in told
    assert "train.rows was cut short" in told
    assert not caplog.records


def test_tables_can_be_on_disk_too():
    here, there = (
        open_problem(DataFlags(dataset="wine", stream=x), 0.1, 0)
        for x in ("never", "always")
    )
    assert here.dataset.fingerprint == there.dataset.fingerprint
    assert here.preprocess.digest == there.preprocess.digest


def test_real_data_of_rows_has_no_image_on_the_device():
    rows = moved(COLOURS).images
    real = real_data(rows, LABELS, 3)
    size = sum(x.nbytes for x in jax.tree.leaves(real))
    assert size < rows.nbytes / 10
