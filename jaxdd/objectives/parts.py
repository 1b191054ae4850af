"""What an objective is made of beside its own choices."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from jaxdd.fields import Choice, option
from jaxdd.modifiers.forgetting import Forgetting
from jaxdd.modifiers.masks import Masking
from jaxdd.modifiers.terms import WeightedTerm
from jaxdd.objectives.sampling import Sampling
from jaxdd.primitives.truncation import Student
from jaxdd.synthetic.labels import LOSS_OF
from jaxdd.types import Network

AUGMENTATION = (
    "augmentation of the match, operations joined by _ such as color_flip, or none"
)


class Parts(NamedTuple):
    """What the modifiers of a recipe hand to its objective.

    Attributes:
        terms: additive penalties by name.
        mask: which entries are matched, None for all.
        remember: the term against forgetting, None without one.
        microbatch: chunk length of gradients over a batch; None for the whole batch.
        matches: steps per network of the learner.
        along_path: whether a term needs gradient norms along a student.
        longest: the most steps of a student's window that the learner source draws;
            None where it draws none.
        label_space: what the labels of the set are, see `synthetic.labels`.
    """

    terms: Mapping[str, WeightedTerm] = {}
    mask: Masking | None = None
    remember: Forgetting | None = None
    microbatch: int | None = None
    matches: int = 1
    along_path: bool = False
    longest: int | None = None
    label_space: str = "probabilities"

    @property
    def as_targets(self) -> bool:
        """Whether labels are targets of a regression, not probabilities."""
        return self.label_space == "targets"

    @property
    def loss(self) -> str:
        """The loss of a network on the set, a name in `primitives.losses.LOSSES`."""
        return LOSS_OF[self.label_space]


class Offered(Parts):
    """Parts that remember which modifiers an objective has looked at.

    By whatever way: an attribute, an index or all of them at once, of these parts or of
    a copy with other values.
    """

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names in `MODIFIERS` of what is there and was not looked at."""
        there = dict(zip(self._fields, tuple.__iter__(self), strict=True))
        return tuple(x for x in MODIFIERS if there[x] and x not in self._seen)

    @property
    def _seen(self) -> set[str]:
        return self.__dict__.setdefault("seen", set())

    def __getattribute__(self, name: str) -> Any:
        if name in MODIFIERS:
            self._seen.add(name)
        return super().__getattribute__(name)

    def __getitem__(self, index: Any) -> Any:
        names = self._fields[index]
        self._seen.update([names] if isinstance(names, str) else names)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        self._seen.update(self._fields)
        return super().__iter__()

    def _replace(self, **changes: Any) -> "Offered":
        values = dict(zip(self._fields, tuple.__iter__(self), strict=True))
        copy = Offered(**(values | changes))
        copy.__dict__["seen"] = self._seen
        return copy


# The parts that modifiers make, and the flags that ask for them.
MODIFIERS = {
    "terms": "--sdc_weight",
    "mask": "--mask_ratio",
    "remember": "--forgetting",
}


@runtime_checkable
class LearnsStepSize(Protocol):
    """An objective that learns the step size of a set, or another scalar in its place.

    Attributes:
        log_step_size: whether its logarithm is what is updated.
    """

    log_step_size: ClassVar[bool]

    @property
    def step_size(self) -> float:
        """Its value at the start of a run."""
        ...

    def step_size_updates(self) -> optax.GradientTransformation | None:
        """Its optimiser; None keeps it as it is."""
        ...


@runtime_checkable
class TrainsStudent(Protocol):
    """An objective that trains a student on the set: learner sources may probe it.

    Attributes:
        student_steps: steps of the window that carries a gradient.
    """

    @property
    def student_steps(self) -> int: ...

    def student(self, network: Network, parts: Parts) -> Student:
        """How a network is trained on the set."""
        ...


@runtime_checkable
class DrawsSamples(Protocol):
    """An objective that says how the real samples of its matches are drawn.

    Attributes:
        sampling: "independent", or in "passes", whose order is then in `Inputs.order`.
    """

    @property
    def sampling(self) -> str: ...


def parameters_of(network: Network) -> Any:
    """The shapes of a network's parameters, as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(network.init, jax.random.key(0))[0]


def features_of(network: Network, image_shape: tuple[int, ...]) -> Any:
    """The shapes of the features of an image by block, as `jax.ShapeDtypeStruct`s."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    outputs, _ = jax.eval_shape(
        lambda key, x: network.apply(*network.init(key), x, False),
        jax.random.key(0), image,
    )  # fmt: skip
    return {
        f"block{i}": jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
        for i, x in enumerate(outputs.features)
    }


@dataclass(frozen=True)
class MixedMatching(Choice):
    """Base of the objectives whose real batch mixes all classes.

    Attributes:
        augmentation: of real and synthetic samples, see `augment.pipeline`.
        batch_mixed: real samples of a step, of all classes together.
    """

    augmentation: str = option("none", AUGMENTATION)
    batch_mixed: int = option(
        1024, "real samples of all classes together in a step", above=0
    )

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what a mask chooses from: all parameters."""
        del image_shape
        return parameters_of(network)


@dataclass(frozen=True)
class SampleMatching(Choice):
    """Base of the objectives that match batches of real samples.

    Attributes:
        augmentation: of the match, Siamese between real and synthetic samples; see
            `augment.pipeline`.
        batch_real: real samples per class and step.
        batch_syn: synthetic images per class and match; None for all.
        sampling: how real samples are drawn: "independent", anew in every step, or in
            "passes" over a class, each in a new random order (IDC).
    """

    augmentation: str = option("none", AUGMENTATION)
    batch_real: int = option(
        256,
        "real samples of each class in a match",
        above=0,
        about="matching real samples",
    )
    batch_syn: int | None = option(
        None,
        "synthetic images in a step of a student, or of a class in a match; "
        "default: all",
        above=0,
    )
    sampling: str = option(
        "independent",
        "how the real samples of a match are drawn: anew in every step "
        "(independent), or in passes over each class (passes)",
        choices=("independent", "passes"),
        about="matching real samples",
    )

    def samples(self) -> Sampling:
        """How many samples of a class a match is shown."""
        return Sampling(self.batch_real, self.batch_syn)

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared: gradients of all parameters."""
        del image_shape
        return parameters_of(network)
