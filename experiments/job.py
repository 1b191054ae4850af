"""A resolved distillation run: the pieces that the loop and the report need."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from experiments.probes import Probes
from experiments.problem import Problem, named_key, network_for
from experiments.progress import Bar
from experiments.protocol import Judge, Protocol
from jaxdd import methods, policy, presets, runs
from jaxdd.augment import training as check_augmentation
from jaxdd.initial import initial_set
from jaxdd.nets import has_batch_statistics
from jaxdd.types import Inputs, Synthetic

# Networks per measurement when the best set is selected on validation data.
SELECTION_NETWORKS = 3


class Job:
    """The method, its data and its protocol, from the resolved values of a run."""

    def __init__(self, problem: Problem, values: dict[str, Any]):
        self.problem, self.values = problem, values
        dataset = problem.dataset
        self.network = network_for(dataset, values["network"])
        settings = {
            f.name: values[f.name] for f in dataclasses.fields(methods.Settings)
        }
        self.settings = methods.Settings(**settings)
        micro = policy.microbatch_for(
            dataset.image_shape, values["network"].get("width") or 128
        )
        self.micro = None if has_batch_statistics(self.network) else micro
        self.method = methods.build(self.network, self.settings, self.micro)
        check_augmentation(values["eval_augmentation"])
        self.real = problem.on_device(problem.splits.train)
        self.inputs = Inputs(self.real, self.real)

    def start(self):
        """The state at step 0."""
        seed, values = self.values["seed"], self.values
        first = initial_set(
            named_key(seed, "initial"), values["init"], self.real, values["ipc"]
        )
        return self.method.init(named_key(seed, "method"), first)

    def protocol(self, num_eval: int) -> Protocol:
        values = self.values
        training = presets.evaluation_training(values["eval_epochs"], values["eval_lr"])
        return Protocol(
            values["network"],
            training,
            values["eval_augmentation"],
            num_eval,
            values["num_random"],
            values["seed"],
        )

    def hooks(self, probes: Probes, bar: Bar) -> runs.Hooks:
        seed = self.values["seed"]
        share = jax.jit(methods.term_share(self.network, self.settings, self.micro))

        def measure(state) -> dict[str, float]:
            found = probes.measure(self.method.result(state))
            values = {f"difficulty_{k}": v for k, v in found.items()}
            if self.settings.sdc_weight != 0 and self.values["sdc_share"]:
                key = jax.random.fold_in(named_key(seed, "share"), state.step)
                values["sdc_share"] = float(share(key, state, self.inputs))
            return values

        if self.values["select"] == "last":
            return runs.Hooks(measure, None, bar)
        held_out = self.problem.splits.validation
        assert held_out is not None, "check() refuses selection without validation"
        judge = Judge(self.problem, self.protocol(SELECTION_NETWORKS), held_out)

        def track(best: runs.Best, synthetic: Synthetic, step: int) -> runs.Best:
            accuracy = judge.distilled(synthetic)["mean"]
            if accuracy <= float(best.accuracy):
                return best
            return runs.Best(jnp.float32(accuracy), jnp.int32(step), synthetic)

        return runs.Hooks(measure, track, bar)
