"""A resolved distillation run: the pieces that the loop and the report need."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import resolution
from experiments.probes import Probes
from experiments.problem import Problem, named_key
from experiments.progress import Bar, say
from experiments.protocol import Judge, Protocol
from jaxdd import masks, methods, presets, runs
from jaxdd.difficulty import right
from jaxdd.evaluate import flatten
from jaxdd.experts import Bank
from jaxdd.initial import correct_set, initial_set, label_logits
from jaxdd.types import (
    Array,
    Inputs,
    Learner,
    MethodState,
    Network,
    Params,
    RealData,
    Span,
    Synthetic,
)
from jaxdd.windows import Curriculum, class_table

# Networks per measurement when the best set is selected on validation data.
SELECTION_NETWORKS = 3
# Images at a time when an expert is asked about all of train.
CHUNK = 100


def describe_mask(
    network: Network, settings: methods.Settings, image_shape: tuple[int, ...]
) -> str | None:
    """What the mask drops of the parameters or features, as a sentence.

    Raises:
        UserError: it is asked for and drops nothing.
    """
    mask = methods.mask_of(settings)
    if mask is None:
        return None
    shapes = jax.eval_shape(network.init, jax.random.key(0))[0]
    if settings.objective == "distribution":
        image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        outputs, _ = jax.eval_shape(
            lambda k, x: network.apply(*network.init(k), x, False),
            jax.random.key(0), image,
        )  # fmt: skip
        shapes = {
            f"block{i}": jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
            for i, x in enumerate(outputs.features)
        }
    example = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    found = masks.describe(mask, example)
    dropped, total = (sum(x[i] for x in found.values()) for i in (0, 1))
    if settings.mask == "loss":
        return f"mask: the {dropped} of {total} entries with the smallest error"
    parts = [f"{name} {d}/{n}" for name, (d, n) in found.items() if d]
    return f"mask: {dropped} of {total} entries are left out ({', '.join(parts)})"


class Job:
    """The method, its data and its protocol, from the resolved values of a run.

    Args:
        problem: the data.
        values: see `resolution.resolve`.
        network: what is matched and evaluated.
        real: the training split, sorted where a window needs it.
        bank: of experts, where the method has them.
    """

    def __init__(
        self,
        problem: Problem,
        values: dict[str, Any],
        network: Network,
        real: RealData,
        bank: Bank | None = None,
    ):
        self.problem, self.values, self.network = problem, values, network
        self.settings = resolution.settings_of(values)
        self.micro = problem.microbatch(values["network"])
        self.bank = bank
        self.experts = None if bank is None else bank.manifest.experts
        self.method = methods.build(network, self.settings, self.micro, self.experts)
        curriculum = Curriculum(**values["curriculum"])
        # Experts have seen their curriculum already; other methods match through it.
        window = real if bank is not None else curriculum.window(real, 0)
        # Initial images and random subsets are those of a run without a window.
        table, _ = class_table(np.asarray(real.labels), real.table.shape[0])
        self.inputs = Inputs(window, real._replace(table=jnp.asarray(table)))
        self._params = jax.eval_shape(network.init, jax.random.key(0))[0]

    def start(self) -> MethodState:
        """The state at step 0."""
        # A copy, since the state's buffers are donated.
        first = jax.tree.map(jnp.array, self.first)
        return self.method.init(named_key(self.values["seed"], "method"), first)

    @cached_property
    def first(self) -> Synthetic:
        """The set at the start, with logits where labels are learned."""
        kind, ipc = self.values["init"], self.values["ipc"]
        key, real = named_key(self.values["seed"], "initial"), self.inputs.full
        if kind == "correct":
            first, wrong = correct_set(key, real, self._right(), ipc)
            if wrong:
                say(f"{wrong} initial images are right for none of the experts")
        else:
            first = initial_set(key, kind, real, ipc)
        if self.settings.labels == "soft":
            images = flatten(first).images
            logits = self._logits(images) if kind == "correct" else [
                next(self._logits(images))
            ]  # fmt: skip
            first = first._replace(labels=label_logits(first, logits))
        return first._replace(step_size=jnp.float32(self.settings.step_size))

    def _ends(self) -> Iterator[Params]:
        """Every expert's parameters after its last epoch."""
        assert self.bank is not None
        last = self.bank.manifest.last_epoch
        for expert in range(self.bank.manifest.experts):
            yield self.bank.snapshot(expert, last, self._params)

    def _right(self) -> Iterator[Array]:
        """For one expert after another, which training images it gets right."""
        stats = self.network.init(jax.random.key(0))[1]

        @jax.jit
        def hits(params: Params, real: RealData) -> Array:
            return right(self.network, Learner(params, stats), real, CHUNK) > 0

        return (hits(params, self.inputs.full) for params in self._ends())

    def _logits(self, images: Array) -> Iterator[Array]:
        """For one expert after another, its logits of some images."""
        stats = self.network.init(jax.random.key(0))[1]
        apply = jax.jit(
            lambda params, x: self.network.apply(params, stats, x, False)[0].logits
        )
        return (apply(params, images) for params in self._ends())

    def read(self, indices: np.ndarray) -> Span:
        """The span that a method's plan asks for."""
        assert self.bank is not None
        expert, start = (int(i) for i in indices)
        return self.bank.span(expert, start, self.settings.expert_epochs, self._params)

    def protocol(self, num_eval: int, step_size: float | None = None) -> Protocol:
        """How sets are judged; a learned step size is the learning rate."""
        values = self.values
        rate = values["eval_lr"] or step_size or 0.01
        training = presets.evaluation_training(
            values["eval_epochs"], rate, values["eval_batch"]
        )
        return Protocol(
            values["network"],
            training,
            values["eval_augmentation"],
            num_eval,
            values["num_random"],
            values["seed"],
        )

    def inputs_at(self, step: int) -> Inputs:
        """What a step sees, its span included."""
        if self.method.plan is None:
            return self.inputs
        root = jax.random.key(self.values["seed"])
        indices = np.asarray(self.method.plan(root, jnp.int32(step)))
        span = jax.tree.map(jnp.asarray, self.read(indices))
        return self.inputs._replace(span=span)

    def hooks(self, probes: Probes, bar: Bar) -> runs.Hooks:
        seed = self.values["seed"]
        share = jax.jit(
            methods.term_share(self.network, self.settings, self.micro, self.experts)
        )

        def measure(state: MethodState) -> dict[str, float]:
            synthetic = self.method.result(state)
            found = probes.measure(synthetic)
            values = {f"difficulty_{k}": v for k, v in found.items()}
            if self.bank is not None:
                values["step_size"] = float(synthetic.step_size)
            if self.settings.sdc_weight != 0 and self.values["sdc_share"]:
                key = jax.random.fold_in(named_key(seed, "share"), state.step)
                inputs = self.inputs_at(int(state.step))
                values["sdc_share"] = float(share(key, state, inputs))
            return values

        read = None if self.bank is None else self.read
        if self.values["select"] == "last":
            return runs.Hooks(measure, None, bar, read)
        held_out = self.problem.splits.validation
        assert held_out is not None, "check() refuses selection without validation"
        judge = Judge(self.problem, self.protocol(SELECTION_NETWORKS), held_out)
        learned = self.values["eval_lr"] is None

        def track(best: runs.Best, synthetic: Synthetic, step: int) -> runs.Best:
            rate = synthetic.step_size if learned else None
            accuracy = judge.distilled(synthetic, rate)["mean"]
            if accuracy <= float(best.accuracy):
                return best
            return runs.Best(jnp.float32(accuracy), jnp.int32(step), synthetic)

        return runs.Hooks(measure, track, bar, read)
