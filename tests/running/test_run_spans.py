"""Every step of a run gets the span of experts that its index names."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.running import resume as runs
from jaxdd.running import spans
from jaxdd.running.schedule import RunSchedule
from jaxdd.types import Method, Span
from tests.helpers import Killed
from tests.toy_runs import go, kill_at, lines, outcome, toy_method, uninterrupted


def span_index(root, step):
    """Which expert and epoch a step wants, from the seed and the step alone."""
    key = jax.random.fold_in(jax.random.fold_in(root, 99), step)
    return jax.random.randint(key, (2,), 0, 1000).astype(jnp.int32)


def spans_method() -> Method:
    """The usual walk, pushed by the span; the infos say which one the step saw."""
    usual = toy_method()

    def step(key, state, inputs):
        new, info = usual.step(key, state, inputs)
        start, target = inputs.span.start["x"], inputs.span.target["y"]
        pushed = new.codes._replace(images=new.codes.images + 1e-3 * jnp.sum(target))
        seen = {"expert": start[0], "epoch": start[1], "target": target[1, 0]}
        return new._replace(codes=pushed), {**info, **seen}

    return usual._replace(step=step)


def recorded_read():
    """A bank that is none, and the indices it was asked for."""
    asked = []

    def read(indices):
        expert, epoch = (float(x) for x in indices)
        asked.append((int(expert), int(epoch)))
        start = {"x": np.array([expert, epoch], np.float32)}
        target = {"y": np.full((2, 3), expert + 1000 * epoch, np.float32)}
        return Span(start, target)

    return read, asked


def spans_from(read) -> spans.Spans:
    return spans.Spans(span_index, read)


EVERY = RunSchedule(steps=10, log_every=1, measure_every=4, save_every=7)
SPAN = 4 * (2 + 6)  # bytes of one


@pytest.fixture(scope="module")
def with_spans(tmp_path_factory):
    """The outcome of EVERY without interruption."""
    read, _ = recorded_read()
    folder = tmp_path_factory.mktemp("spans") / "run"
    return uninterrupted(
        folder, method=spans_method(), schedule=EVERY, spans=spans_from(read)
    )


@pytest.mark.parametrize(
    ("seconds", "held"), [(0.0, 2), (1e9, 1), (1e9, 2), (1e9, 3), (1e9, 1000)]
)
def test_every_step_gets_the_span_that_its_index_names(
    tmp_path, monkeypatch, with_spans, seconds, held
):
    """However many fit on the device, and wherever chunks end."""
    monkeypatch.setattr(runs, "CHUNK_SECONDS", seconds)
    monkeypatch.setattr(spans, "SPAN_BYTES", held * SPAN + SPAN // 2)
    read, _ = recorded_read()
    chunks = []
    result = go(
        tmp_path,
        method=spans_method(),
        schedule=EVERY,
        spans=spans_from(read),
        progress=lambda step, loss, seconds: chunks.append(step),
    )
    longest = max(b - a for a, b in itertools.pairwise([0, *chunks]))
    assert longest == (1 if seconds == 0 else min(held, 3))
    root = jax.random.key(0)
    for line in lines(tmp_path)[1:]:
        expert, epoch = span_index(root, line["step"] - 1).tolist()
        assert (line["expert"], line["epoch"]) == (expert, epoch)
        assert line["target"] == expert + 1000 * epoch
    assert outcome(tmp_path, result.state) == with_spans


def test_only_the_spans_of_steps_that_are_done_are_read(tmp_path, monkeypatch):
    """Beside two at the start, for the shapes and to compile."""
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 1e9)
    read, asked = recorded_read()
    go(tmp_path, method=spans_method(), schedule=EVERY, spans=spans_from(read))
    root = jax.random.key(0)
    wanted = [tuple(span_index(root, t).tolist()) for t in range(10)]
    assert asked[-10:] == wanted
    assert asked[:-10] == [wanted[0]] * 2


def test_a_run_with_spans_stopped_and_continued(tmp_path, single_steps, with_spans):
    read, _ = recorded_read()
    arguments = {"method": spans_method(), "schedule": EVERY, "spans": spans_from(read)}
    for step in (3, 8):
        with pytest.raises(Killed):
            go(tmp_path, progress=kill_at(step), **arguments)
    resumed = []
    state = go(tmp_path, resumed=resumed, **arguments).state
    assert resumed == [7]
    assert outcome(tmp_path, state) == with_spans
