"""Several processes, one run."""

import fcntl
import socket

import numpy as np
import pytest

from experiments.console import machines
from jaxdd.artifact import file as artifact
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from tests.experiments.helpers import QUICK, SMALL, metrics, read_json, start


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_and_then_one_make_the_run_of_one(tmp_path):
    """Classes and networks are spread over both; what they saved, one restores."""
    finished, short = tmp_path / "whole", {**SMALL, **QUICK, "steps": 20}
    distill.run(options.Config(**short, workdir=str(finished)))
    tmp_path = tmp_path / "run"
    flags = {**short, "workdir": tmp_path}
    joined = {"coordinator": f"127.0.0.1:{free_port()}", "num_processes": 2}
    # Each of them reads the images of its own classes from the disk.
    half = {**flags, "steps": 10, "stream": "always"}
    both = [start("distill", 1, **half, **joined, process_id=i) for i in (0, 1)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        # One of them speaks.
        assert ("results:" in out) == (process is both[0])
    assert read_json(tmp_path / "summary.json")["device"] == "cpu x2"
    one = start("distill", **flags)
    _, err = one.communicate(timeout=300)
    assert one.returncode == 0, err
    assert f"continuing at step {half['steps']}" in err
    ours, whole = (artifact.load(x / "distilled.npz") for x in (tmp_path, finished))
    # Compiled as users do they agree in every bit; with few optimisations the sums of
    # the two programs are put together otherwise.
    np.testing.assert_allclose(ours.images, whole.images, rtol=1e-4, atol=2e-5)
    assert ours.measured == whole.measured
    for found, expected in zip(metrics(tmp_path), metrics(finished), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=2e-5)


def test_a_refusal_of_one_ends_the_other(tmp_path):
    """The one that may not write does not leave the other waiting."""
    flags = {
        **SMALL,
        **QUICK,
        "workdir": tmp_path,
        "coordinator": f"127.0.0.1:{free_port()}",
    }
    with open(tmp_path / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        both = [
            start("distill", 1, **flags, num_processes=2, process_id=i) for i in (0, 1)
        ]
        _, err = both[0].communicate(timeout=60)
        both[1].communicate(timeout=60)
    assert both[0].returncode == 2
    assert "another live run owns" in err
    assert both[1].returncode != 0
    assert [x.name for x in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ((None, 2, None), "need --coordinator"),
        ((None, None, 0), "need --coordinator"),
        (("host:1", None, 0), "needs --num_processes and --process_id"),
        (("host:1", 2, 2), "--process_id=2 must lie in 0 ... 1"),
        (("host:1", 2, -1), "--process_id=-1 must lie in 0 ... 1"),
    ],
)
def test_flags_that_do_not_fit_together(given, part):
    with pytest.raises(UserError, match=part):
        machines.join(*given)
