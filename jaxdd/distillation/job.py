"""A resolved distillation: its data, its method and its protocol."""

from collections.abc import Callable, Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.data.problem import Problem
from jaxdd.data.real import class_table
from jaxdd.distillation.resolution import Resolved
from jaxdd.evaluation.protocol import Protocol
from jaxdd.experts import Snapshots
from jaxdd.experts.teaching import Teaching, first_teacher, known_of_classes
from jaxdd.learners.context import Context
from jaxdd.methods import build as methods
from jaxdd.modifiers import segments
from jaxdd.primitives.keys import named_key
from jaxdd.primitives.losses import present
from jaxdd.running.loop import Program
from jaxdd.synthetic import decoder as decoders
from jaxdd.synthetic.labels import probabilities_of
from jaxdd.types import Array, Inputs, Learner, Network, RealData, Synthetic


class Job:
    """The method, its data and its protocol, from the resolved values of a run.

    Args:
        problem: the data.
        resolved: every value of the run.
        network: what is evaluated, and matched where nothing else is.
        real: the training split, sorted where a window needs it.
        bank: of experts, where the method has them.
        start: the set to begin at, where there is one.
        workdir: the run's folder, where there is one.

    Attributes:
        matched: the networks that are matched.
        method: one for all segments, as is its compiled `program`.
        span_index: which span of the experts a step gets, where the method has them.
        parts: images per class that each segment adds; `slots` the most of a set that
            is distilled at once.
        inputs: of the first segment.
    """

    def __init__(
        self,
        problem: Problem,
        resolved: Resolved,
        network: Network,
        real: RealData,
        bank: Snapshots | None = None,
        start: Artifact | None = None,
        workdir: str | None = None,
    ):
        self.problem, self.resolved, self.network = problem, resolved, network
        self.matched = resolved.matched(problem.dataset, network)
        self.start, self.workdir = start, workdir
        self.recipe = resolved.recipe
        self.bank = bank
        pixels = problem.preprocess.space()
        self.space = self.recipe.images.stored_in(pixels)
        self.context = Context(
            problem.microbatch(resolved.network.matched.options()),
            None if bank is None else bank.manifest.experts,
            pixels,
        )
        self.method = methods.build(self.matched, self.recipe, self.context)
        self.program = Program(self.method)
        source = methods.source_of(self.matched, self.recipe, self.context)
        self.span_index = source.span_index
        self.parts = segments.sizes(resolved.task.ipc, self.recipe.count)
        self.boosts = self.recipe.segments is not None and self.recipe.segments.boosts
        self.slots = sum(self.parts) if self.boosts else max(self.parts)
        curriculum = resolved.curriculum
        # Experts have seen their curriculum already; other methods match through it, as
        # it is at the end where they have experts too.
        last = 0 if bank is None else bank.manifest.last_epoch
        window = real if self.recipe.follows else curriculum.window(real, last)
        # Initial images and random subsets are those of a run without a window.
        table, _ = class_table(np.asarray(real.labels), real.table.shape[0])
        self.inputs = Inputs(window, real._replace(table=jnp.asarray(table)))
        if self.recipe.taught:
            self.inputs = self.taught_by(window, self.inputs)
        self.params = jax.eval_shape(network.init, jax.random.key(0))[0]

    def teacher_of(self, real: RealData) -> Learner:
        """The first expert with running statistics of some samples alone."""
        assert self.bank is not None, "opening has seen to a bank"
        return first_teacher(self.bank, self.network, real)

    def shown(self, real: RealData, earlier: Synthetic | None) -> Inputs:
        """What a segment may look at.

        Args:
            real: the samples that it may match; a teacher's statistics are theirs.
            earlier: the images of the segments before it.
        """
        inputs = self.inputs._replace(real=real, earlier=earlier)
        if self.recipe.taught and real is not self.inputs.real:
            inputs = self.taught_by(real, inputs)
        return inputs

    def taught_by(self, real: RealData, inputs: Inputs) -> Inputs:
        """Inputs with the teacher, and with what it knows of some samples alone."""
        teacher = self.teacher_of(real)
        inputs = inputs._replace(teacher=teacher)
        if self.recipe.knows_classes:
            assert self.bank is not None, "opening has seen to a bank"
            known = known_of_classes(self.bank, self.network, teacher, real)
            inputs = inputs._replace(class_moments=known)
        return inputs

    def labelled(self, stored: Synthetic) -> Synthetic:
        """A stored set with its last labels, where a teacher gives them at the end."""
        if not self.recipe.labelled_last:
            return stored
        labels = self.teacher.probabilities(self.space.decode(stored.images))
        there = present(stored.labels)[..., None]
        return stored._replace(labels=jnp.where(there, labels, 0))

    def size(self, index: int) -> int:
        """Images per class of the set that a segment distils."""
        return sum(self.parts[: index + 1]) if self.boosts else self.parts[index]

    def rates(self, index: int) -> Array | None:
        """The rates of a segment's slots, see `Inputs.rates`."""
        if not self.boosts:
            return None
        assert self.recipe.segments is not None
        earlier = jnp.arange(self.slots) < sum(self.parts[:index])
        return jnp.where(earlier, jnp.float32(self.recipe.segments.boost_rate), 1)

    def decode(
        self, stored: Synthetic, formation: decoders.Formation | None = None
    ) -> Synthetic:
        """What a network is trained on, of a stored set; by default, at the end."""
        if formation is None:
            formation = self.recipe.formation.evaluated()
        return decoders.decode_stored(stored, formation, self.space)

    @cached_property
    def teacher(self) -> Teaching:
        """The first expert, with the network that is evaluated."""
        return Teaching(self.network, self.teacher_of(self.inputs.full))

    @cached_property
    def share(self) -> Callable:
        """The terms' share of the image gradient, one program for all segments."""
        return jax.jit(methods.term_share(self.matched, self.recipe, self.context))

    def learned(self, synthetic: Synthetic) -> float | None:
        """The step size of a set that students follow experts with, None of others."""
        return float(synthetic.step_size) if self.recipe.follows else None

    @property
    def span_length(self) -> int:
        """Epochs between the two ends of a span: all of them where nothing follows."""
        assert self.bank is not None
        if self.recipe.follows:
            return self.recipe.span_epochs
        return self.bank.manifest.last_epoch

    @property
    def has_terms(self) -> bool:
        """Whether the difficulty correction is part of the loss."""
        return self.recipe.sdc is not None and self.recipe.sdc.weight != 0

    @property
    def sets(self) -> int:
        """How many sets the segments make: each one its own, or all of them one."""
        return 1 if self.boosts else len(self.parts)

    @property
    def formed(self) -> int:
        """Training images per class of a set that is full."""
        return self.recipe.formation.evaluated().count(self.slots)

    def earlier(self, made: Sequence[Synthetic]) -> Synthetic | None:
        """What was made so far, decoded, with empty slots for what may come.

        None where it is part of the set that is distilled next.
        """
        if self.boosts:
            return None
        formation = self.recipe.formation
        dataset = self.problem.dataset
        classes, shape = dataset.num_classes, dataset.image_shape
        empty = Synthetic(
            jnp.zeros((classes, self.slots, *shape)),
            jnp.zeros((classes, self.slots, classes)),
            jnp.float32(0),
        )
        filled = [segments.pad(x, self.slots) for x in made]
        missing = len(self.parts) - 1 - len(filled)
        parts = [*filled, *[empty] * missing]
        decoded = [decoders.decode_stored(x, formation, self.space) for x in parts]
        whole = segments.join(decoded[: len(self.parts) - 1])
        return whole._replace(step_size=jnp.float32(0))

    def protocol(
        self,
        num_eval: int,
        step_size: float | None = None,
        epochs: int | None = None,
    ) -> Protocol:
        """How sets are judged; a learned step size is the learning rate."""
        return self.resolved.protocol(num_eval, step_size, epochs)

    def measurable(self, synthetic: Synthetic) -> Synthetic:
        """The set with probabilities as labels, which scores of difficulty need."""
        labels = probabilities_of(synthetic.labels, self.recipe.labels.space)
        return synthetic._replace(labels=labels)

    def key(self, name: str) -> jax.Array:
        return named_key(self.resolved.task.seed, name)
