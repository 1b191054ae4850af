"""Windows of a student's training: which of its steps carry a gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.fields import Choice, Misfit, option
from jaxdd.learners.context import Context
from jaxdd.learners.fresh import fresh
from jaxdd.primitives.truncation import Student, train_window
from jaxdd.synthetic.sets import union
from jaxdd.types import (
    Array,
    Batch,
    Inputs,
    Key,
    Learner,
    LearnerSource,
    Network,
    StepWindow,
    Synthetic,
)

# AT-BPTT++'s official code: how fast the reference distribution follows, and the
# temperatures of the distribution and of the length.
FOLLOWING = 0.05
TEMPERATURE = 1.0
SMALL = 1e-8


def drawn_windows(network: Network, lowest: int, highest: int) -> LearnerSource:
    """A new random network for every step, with a window that starts at random.

    Feng et al., "Embarrassingly Simple Dataset Distillation" (RaT-BPTT), ICLR 2024,
    section 4: the start is uniform. It is drawn for every step as in the paper; the
    official code draws one per epoch of the real data.

    Args:
        network: of the students.
        lowest, highest: of the start, both included; the same for a fixed window.
    """
    source = fresh(network)

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        key_network, key_start = jax.random.split(key)
        learner = source.draw(key_network, state, inputs)
        start = jax.random.randint(key_start, (), lowest, highest + 1)
        return learner._replace(window=StepWindow(start.astype(jnp.int32)))

    return source._replace(draw=draw)


class Preference(NamedTuple):
    """What the choice of adaptive windows carries from step to step."""

    reference: Array  # [T] probabilities of the windows' last steps
    lowest: Array  # [] mean gradient norms of the probes so far
    highest: Array  # []


def first_preference(horizon: int, dtype=jnp.float32) -> Preference:
    """The preference before any probe: uniform."""
    return Preference(
        jnp.full(horizon, 1 / horizon, dtype),
        jnp.asarray(jnp.inf, dtype),
        jnp.asarray(-jnp.inf, dtype),
    )


def prefer(
    key: Key, norms: Array, preference: Preference, steps: int, radius: int
) -> tuple[StepWindow, Preference]:
    """The window that the gradient norms of a probe ask for.

    The selector of AT-BPTT++ (its official code, there "WTPO"): while gradients are
    large, beside those of the run so far, steps with large ones are preferred, later
    those with small ones; where the norm changes much the window is long.

    Args:
        key: consumed.
        norms: [T] gradient norms of the steps of a training, from its start.
        preference: what has been carried here.
        steps: W, the middle of the range of lengths.
        radius: r, how much shorter or longer a window may be.

    Returns:
        The window, with a length of 1 ... min(T, W + r) and an end within T steps, and
        the next preference.

    Example:
        >>> norms = jnp.array([4.0, 3.0, 2.0, 1.0])
        >>> window, after = prefer(jax.random.key(0), norms, first_preference(4), 2, 1)
        >>> bool(window.start + window.length <= 4), round(float(after.reference.sum()))
        (True, 1)
    """
    horizon = norms.shape[0]
    change = jnp.abs(jnp.diff(norms, prepend=norms[:1]))
    mean = jnp.mean(norms)
    lowest = jnp.minimum(preference.lowest, mean)
    highest = jnp.maximum(preference.highest, mean)
    spread = highest - lowest
    # One at the first probe, which is its own extreme, as in the official code.
    place = 2 * (mean - lowest) / jnp.where(spread > 0, spread, 1) - 1
    direction = jnp.where(spread > 0, place, 1)
    scores = jnp.log(preference.reference) + direction * _standard(norms) / TEMPERATURE
    reference = preference.reference
    reference = (1 - FOLLOWING) * reference + FOLLOWING * jax.nn.softmax(scores)
    last = jax.random.categorical(key, scores)  # of the window, counted from 0
    share = jax.nn.sigmoid(_standard(change)[last] / TEMPERATURE)
    length = jnp.round(steps - radius + 2 * radius * share).astype(jnp.int32)
    length = jnp.clip(length, max(1, steps - radius), min(horizon, steps + radius))
    length = jnp.minimum(length, last.astype(jnp.int32) + 1)
    start = last.astype(jnp.int32) + 1 - length
    return StepWindow(start, length), Preference(reference, lowest, highest)


def _standard(x: Array) -> Array:
    return (x - jnp.mean(x)) / (jnp.std(x) + SMALL)


class AdaptiveState(NamedTuple):
    """The next student of an adaptive source, with its window."""

    learner: Learner
    preference: Preference


def adaptive_windows(
    network: Network, student: Student, horizon: int, min_warmup: int, radius: int
) -> LearnerSource:
    """A new random network for every step, with the window that a probe of it prefers.

    The network of the next step is trained on the set for the whole horizon, without a
    derivative, with minibatches and augmentations of its own; the norms of its
    gradients choose the window, see `prefer`. The step then starts at the same random
    network. The first window, which comes before any set is known here, is drawn as a
    random one of W steps (ours). In later segments of D4A the probe trains on the
    images of all segments so far.

    Args:
        network: of the students.
        student: how they are trained.
        horizon: T, steps of a probe.
        min_warmup: the least start of the first window.
        radius: how much shorter or longer than `student.steps` a window may be.
    """
    source = fresh(network)
    steps = student.steps

    def init(key: Key) -> AdaptiveState:
        key_network, key_start = jax.random.split(key)
        start = jax.random.randint(key_start, (), min_warmup, horizon - steps + 1)
        window = StepWindow(start.astype(jnp.int32), jnp.int32(steps))
        learner = Learner(*network.init(key_network), window)
        kinds = [x.dtype for x in jax.tree.leaves(learner.params)]
        return AdaptiveState(learner, first_preference(horizon, kinds[0]))

    def draw(key: Key, state: AdaptiveState, inputs: Inputs) -> Learner:
        return state.learner

    def advance(
        key: Key, state: AdaptiveState, learner, synthetic: Synthetic, inputs: Inputs
    ) -> AdaptiveState:
        key_network, key_probe, key_window = jax.random.split(key, 3)
        new = source.draw(key_network, (), inputs)
        together = union(inputs.earlier, synthetic)
        begun = student.optimizer.begin(new.params)
        data = Batch(together.images, together.labels)
        _, norms = train_window(
            student.step, begun, data, new.stats, key_probe, jnp.int32(0), horizon
        )
        window, preference = prefer(key_window, norms, state.preference, steps, radius)
        return AdaptiveState(new._replace(window=window), preference)

    return LearnerSource(init, draw, advance)


@dataclass(frozen=True)
class Windows(Choice):
    """Students in training, of which a window of steps carries a gradient (RaT-BPTT).

    Attributes:
        policy: where the window lies: at the end of the training ("fixed"), anywhere
            ("random", RaT-BPTT), or where the gradients of a probe ask for it
            ("adaptive", AT-BPTT++).
        horizon: T, steps of a whole training.
        min_warmup: the fewest steps before a random window.
        radius: how many steps more or fewer than `student_steps` an adaptive window
            has at the most.
    """

    name: ClassVar[str] = "windows"
    subject: ClassVar[str] = "windows of a student's training"
    matches: ClassVar[int] = 1

    policy: str = option(
        "random",
        "where the window of the steps that carry a gradient lies in the training of a "
        "student: at its end (fixed), anywhere (random), or where the gradient norms "
        "of a probe ask for it (adaptive)",
        choices=("fixed", "random", "adaptive"),
    )
    horizon: int = option(
        200,
        "steps of a student's whole training on the synthetic set, in which the window "
        "of --student_steps lies",
        above=0,
    )
    min_warmup: int = option(
        0,
        "fewest steps that a student takes before a random window begins",
        at_least=0,
        beside={"policy": ("random", "adaptive")},
    )
    radius: int = option(
        0,
        "number of steps by which an adaptive window may be shorter or longer than "
        "--student_steps",
        at_least=0,
        beside={"policy": ("adaptive",)},
    )

    def longest(self, steps: int) -> int:
        """The most steps of a window, where it usually has `steps`."""
        radius = self.radius if self.policy == "adaptive" else 0
        return min(self.horizon, steps + radius)

    def check(self, steps: int) -> None:
        """Refuse a window that does not fit into the training.

        Raises:
            UserError: it does not fit, or it cannot begin late enough.
        """
        if steps > self.horizon:
            raise Misfit(
                self,
                f"a window of {steps} student steps does not fit into a training with "
                "{horizon=}: take fewer, or raise {horizon}",
            )
        if self.min_warmup > self.horizon - steps:
            raise Misfit(
                self,
                f"{{min_warmup=}} leaves no room for a window of {steps} steps with "
                f"{{horizon=}}: lower it to at most {self.horizon - steps}",
            )

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source.

        Raises:
            UserError: the objective trains no student, or the window does not fit.
        """
        del augmentation
        if context.student is None:
            raise UserError(
                "windows of a student's training need an objective that trains one: "
                "UnrolledLoss"
            )
        self.check(context.student.steps)
        return POLICIES[self.policy](self, network, context.student)


def _fixed(choice: Windows, network: Network, student: Student) -> LearnerSource:
    start = choice.horizon - student.steps
    return drawn_windows(network, start, start)


def _random(choice: Windows, network: Network, student: Student) -> LearnerSource:
    last = choice.horizon - student.steps
    return drawn_windows(network, choice.min_warmup, last)


def _adaptive(choice: Windows, network: Network, student: Student) -> LearnerSource:
    return adaptive_windows(
        network, student, choice.horizon, choice.min_warmup, choice.radius
    )


POLICIES: Mapping[str, Callable[[Windows, Network, Student], LearnerSource]] = {
    "fixed": _fixed,
    "random": _random,
    "adaptive": _adaptive,
}
