"""Memory against the size of a dataset, and steps that read from the disk.

    python -m benchmarks.streaming --out=runs/streaming --sizes=10000,50000,200000

Generated images of 64x64x3 are stored as decoded datasets are; every size is distilled
from and scored in a fresh process, once from the disk and, up to --held of them, in
memory. The resident set counts above what the process had before it opened the data.
Then steps of a method are timed in turn on one size (--timed): in memory, from the
disk, and from the disk when the system has none of it in its cache, each without and
with reading ahead. Writes streaming.json, streaming.md and memory.png. Time anything
only on a machine that does nothing else.
"""

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxdd
from benchmarks.parts import output, timing
from experiments.comparing.lists import numbers
from experiments.console.flags import main, option
from jaxdd import report
from jaxdd.data import Dataset
from jaxdd.data.problem import prepare
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.rows import RowFile, Rows, pick
from jaxdd.data.streaming.store import stored
from jaxdd.fields import override
from jaxdd.methods.build import build
from jaxdd.methods.recipes import METHODS
from jaxdd.nets import make_network
from jaxdd.progress import say
from jaxdd.report.pictures import draw
from jaxdd.running.ahead import ReadAhead
from jaxdd.running.loop import Program
from jaxdd.storage.files import make_folder, to_json, write_atomically
from jaxdd.synthetic.initial import initial_set
from jaxdd.types import Inputs

CLASSES, SHAPE, TESTED = 10, (64, 64, 3), 1000


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.streaming`."""

    out: str = option(..., "folder for the results and the images", kind="path")
    sizes: str = option("10000,50000,100000,200000", "numbers of images, by commas")
    held: int = option(50_000, "images up to which a size is held in memory as well")
    method: str = option("dm", "what distils")
    batch_real: int = option(256, "real images per class and step")
    width: int = option(32, "channels of the ConvNet")
    steps: int = option(10, "updates of the set")
    timed: int = option(50_000, "images of the size whose steps are timed")
    read_ahead: int = option(2, "steps that are read ahead")
    rounds: int = option(5, "timed chunks of --steps, in turn; their median counts")
    one: str | None = option(None, "measure one SIZE:PLACE and print it as JSON")


def generated(folder: Path, count: int) -> Dataset:
    """Random images with an offset for each class, in a store on the disk."""

    def samples(first: int) -> Iterator[tuple[np.ndarray, int]]:
        for i in range(first, count):
            rng = np.random.default_rng(i)
            low = 8 * (i % CLASSES)
            yield rng.integers(low, low + 160, SHAPE, np.uint8), i % CLASSES

    part = Part("train", count, samples)
    there = stored(folder / f"{count}.rows", f"{count} images", [part], SHAPE)["train"]
    tested = np.arange(min(count, TESTED))
    return jaxdd.from_arrays(
        there.rows, there.labels, pick(there.rows, tested), there.labels[tested],
        name=f"generated{count}",
    )  # fmt: skip


def held(dataset: Dataset) -> Dataset:
    """The same dataset in memory."""
    images, tested = np.asarray(dataset.images), np.asarray(dataset.test_images)
    return replace(dataset, images=images, test_images=tested)


def measure(config: Config, task: str) -> dict[str, Any]:
    """One size from one place, in this process."""
    size, place = task.split(":")
    folder = Path(config.out)
    generated(folder, int(size))  # built before anything is measured
    spent: dict[str, float] = {}

    def work() -> None:
        dataset = generated(folder, int(size))
        if place == "memory":
            dataset = held(dataset)
        began = time.perf_counter()
        jaxdd.distill(
            dataset, method=config.method, steps=config.steps, width=config.width,
            batch_real=config.batch_real, init="noise", probes=1, probe_steps=10,
            eval_epochs=10, num_eval=1, num_random=5,
        )  # fmt: skip
        spent["distilled"] = time.perf_counter() - began
        began = time.perf_counter()
        scored = jaxdd.difficulty(
            dataset, "el2n", networks=1, train_steps=10, width=config.width
        )
        assert scored.scores.shape == (int(size),)
        spent["scored"] = time.perf_counter() - began

    peak = timing.peak_mb(work)
    return {"images": int(size), "place": place, "peak_mb": peak, **spent}


PLACES = (
    "memory",
    "disk",
    "disk, read ahead",
    "disk, cold",
    "disk, cold, read ahead",
)


def forget(file: RowFile) -> None:
    """Have the system drop a file from its cache."""
    handle = os.open(file.path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def speed(config: Config) -> dict[str, float]:
    """Seconds of a step by place, medians of chunks in turn."""
    on_disk = generated(Path(config.out), config.timed)
    assert isinstance(on_disk.images, Rows)
    network = make_network("convnet", SHAPE, CLASSES, width=config.width, depth=4)
    recipe = override(METHODS[config.method], {"batch_real": config.batch_real})
    program = Program(build(network, recipe))
    root, steps, sides = jax.random.key(0), jnp.int32(config.steps), {}
    for dataset in (held(on_disk), on_disk):
        problem = prepare(dataset, 0.0, 0)
        real = problem.on_device(problem.splits.train)
        first = initial_set(jax.random.key(1), "noise", real, 1)
        state = program.method.init(root, first)
        sides[dataset is on_disk] = Inputs(real, real), state
    cpu = jax.devices("cpu")[0]
    inputs, state = sides[True]
    ahead = ReadAhead(program.method, state, inputs, root, config.read_ahead, cpu)
    ahead.rehearsal.result()
    seconds: dict[str, list[float]] = {place: [] for place in PLACES}
    for turn in range(config.rounds + 1):  # the first one compiles
        for place in PLACES:
            inputs, state = sides["disk" in place]
            state = jax.tree.map(jnp.array, state)  # it is donated
            advance = program.compiled(state, inputs, root, steps)
            if "cold" in place:
                forget(on_disk.images.file)
            began = time.perf_counter()
            if "ahead" in place:
                ahead.follow(state, config.steps)
            jax.block_until_ready(advance(state, inputs, root, steps))
            if turn:
                spent = (time.perf_counter() - began) / config.steps
                seconds[place].append(spent)
    ahead.close()
    return {place: statistics.median(x) for place, x in seconds.items()}


def run(config: Config) -> dict[str, Any]:
    """All sizes, each in a fresh process; the content of `streaming.json`.

    Raises:
        UserError: bad input, named.
    """
    if config.one is not None:
        return {"records": [measure(config, config.one)]}
    sizes = numbers(config.sizes, "sizes", int) if config.sizes else []
    folder = make_folder(config.out)
    os.environ["JAXDD_CACHE"] = str(folder / "cache")
    records = []
    for size in sizes:
        for place in ("disk", "memory"):
            if place == "disk" or size <= config.held:
                say(f"{size} images, {place}")
                flags = {**vars(config), "one": f"{size}:{place}"}
                child = timing.in_fresh_process("benchmarks.streaming", flags)
                records += child["records"]
    result = {
        "records": records,
        "step_seconds": speed(config),
        **output.about(config),
    }
    write_atomically(folder / "streaming.json", to_json(result))
    write_atomically(folder / "streaming.md", markdown(result))
    curves = {
        place: ([x["images"] for x in of], [x["peak_mb"] for x in of])
        for place in ("disk", "memory")
        if (of := [x for x in records if x["place"] == place])
    }
    if curves:
        draw(report.curves, curves, folder / "memory.png", "images", "resident MB")
    return result


def markdown(result: dict[str, Any]) -> str:
    """The table of the records, and that of the steps."""
    seconds = result["step_seconds"]
    steps = [
        {"place": place, "seconds": x, "ratio": x / seconds["memory"]}
        for place, x in seconds.items()
    ]
    return "\n".join(
        output.table(rows, labels)
        for rows, labels in (
            (result["records"], ("images", "place")),
            (steps, ("place",)),
        )
        if rows
    )


def show(result: dict[str, Any]) -> None:
    print(output.printed(result, markdown))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
