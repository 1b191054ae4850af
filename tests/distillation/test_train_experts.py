"""`jaxdd.train_experts`: a bank for many distillations."""

import numpy as np

import jaxdd
from tests.helpers import refused


def test_experts_are_trained_once_and_followed(tmp_path):
    labels = np.arange(60) % 3
    data = np.random.default_rng(0).normal(size=(60, 4)) + labels[:, None], labels
    few = {"net": "mlp", "width": 4, "num_experts": 1}
    workdir = tmp_path / "new" / "bank"
    bank = jaxdd.train_experts(data, "mtt", workdir=workdir, epochs=6, **few)
    assert repr(bank).startswith("Bank(1 experts of mlp with ")
    again = jaxdd.train_experts(data, "mtt", workdir=str(workdir), epochs=6, **few)
    assert again.manifest == bank.manifest
    with refused("no experts: choose one of"):
        jaxdd.train_experts(data, "dsa", workdir=workdir)
    with refused("^epochs must be positive"):
        jaxdd.train_experts(data, "mtt", workdir=workdir, epochs=0)
    run = {
        "net": "mlp", "width": 4, "max_start": 2, "expert_epochs": 2, "steps": 1,
        "student_steps": 2, "step_size_lr": 0.0, "num_eval": 1, "num_random": 5,
        "eval_epochs": 1, "probes": 1, "probe_steps": 1,
    }  # fmt: skip
    result = jaxdd.distill(data, "mtt", experts=bank, **run)
    assert result.images.shape == (3, 1, 4)
