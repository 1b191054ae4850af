"""What a step works on: arrays in NamedTuples, which are pytrees."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax

from jaxdd.errors import UserError

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array  # a typed key: jax.random.key(seed)
Params: TypeAlias = Any  # pytree of parameters of a network
Stats: TypeAlias = Any  # pytree of running statistics; empty without batch norm
Codes: TypeAlias = Any  # pytree that the image optimiser updates
Scalar: TypeAlias = jax.Array  # []
# Scalars to log, with the same keys at every step. Four readers depend on them: a
# gated optimiser compares "match", the loss without its terms, with its threshold; a
# run stops before a step with a value that is not finite, and says of "residual" that a
# linear system was not solved; the plot of the loss shows "match".
Info: TypeAlias = Mapping[str, Scalar]


class Batch(NamedTuple):
    """Images with soft labels. A row of zeros in `labels` is padding."""

    images: Array  # [B, H, W, C] float, preprocessed
    labels: Array  # [B, K] probabilities, or another space of `synthetic.labels`


class Synthetic(NamedTuple):
    """A distilled set, class by class."""

    images: Array  # [K, n, H, W, C] float, preprocessed
    labels: Array  # [K, n, K] probabilities, or another space of `synthetic.labels`
    step_size: Array  # [] the student's learning rate, where the method learns one


class Images(Protocol):
    """Images [M, ...] that are indexed: an array, or images that stay on the host."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all images."""

    @property
    def dtype(self) -> Any:
        """Of their values."""

    def __getitem__(self, indices: Any, /) -> Array:
        """The images at an array of integers, on the device."""


class RealData(NamedTuple):
    """Real samples on the device, with the range of each class that is in play.

    `table` lists the samples of each class (sorted easy -> hard where scores are
    known), padded on the right; the first `counts[k]` entries of row k are in play.
    A preprocessed image is `images[i] * scale + shift`, so that raw uint8 images can
    stay as they are on the device. Images that memory does not hold are on the host,
    and every batch is read there: see `data.streaming`.
    """

    images: Images  # [M, H, W, C] uint8 or float32
    labels: Array  # [M] int32
    table: Array  # [K, m] int32 indices into images
    counts: Array  # [K] int32
    scale: Array  # [C] float32
    shift: Array  # [C] float32


class Span(NamedTuple):
    """A piece of an expert's training, which a student has to bridge."""

    start: Params  # parameters at epoch s
    target: Params  # parameters at epoch s + M
    # In later segments of D4A: the parameters of the expert trained on all samples at
    # the same epoch; `target` comes from the samples of the segment alone.
    whole: Params | None = None


class StepWindow(NamedTuple):
    """Which steps of a student's training carry a gradient."""

    start: Array  # [] int32, steps before them
    length: Array | None = None  # [] int32; None for as many as the objective takes


class Learner(NamedTuple):
    """The network state at which something is matched or measured."""

    params: Params
    stats: Stats
    # Where a source chooses it; None for the first steps of a student.
    window: StepWindow | None = None


class Inputs(NamedTuple):
    """The data of one step."""

    real: RealData  # the samples that this step may match
    full: RealData  # all training data
    span: Span | None = None  # only where the method matches trajectories
    # The images of earlier segments (D4A), with rows of zero labels up to a fixed
    # number; None where a set is distilled in one piece.
    earlier: Synthetic | None = None
    # [] uint32, one for a whole run: the seed of the passes over the real samples of a
    # class; None where every step draws at random. A method with passes sets it itself.
    order: Array | None = None
    # [n]: by how much the updates of every slot are scaled; None where all slots have
    # the learning rate of the run.
    rates: Array | None = None
    # The trained network that every step of a run sees, with its running statistics;
    # only where the method has one.
    teacher: Learner | None = None
    # [K, ...]: of the teacher, the moments (`Outputs.moments`) of all samples of each
    # class; only where images are compared with those of their class.
    class_moments: Stats | None = None

    def expert_span(self) -> Span:
        """The span, where a step needs one.

        Raises:
            UserError: there is none.
        """
        if self.span is None:
            raise UserError(
                "matching trajectories needs a span of an expert: set inputs.span"
            )
        return self.span

    def trained_teacher(self) -> Learner:
        """The teacher, where a step needs one.

        Raises:
            UserError: there is none.
        """
        if self.teacher is None:
            raise UserError(
                "a constant teacher has to be given to the steps: set inputs.teacher"
            )
        return self.teacher

    def moments_of_classes(self) -> Stats:
        """The moments of classes, where a step needs them.

        Raises:
            UserError: there are none.
        """
        if self.class_moments is None:
            raise UserError(
                "comparing images with their class needs the moments of classes: set "
                "inputs.class_moments"
            )
        return self.class_moments

    def earlier_set(self) -> Synthetic:
        """The images of earlier segments, where a step needs them.

        Raises:
            UserError: there are none.
        """
        if self.earlier is None:
            raise UserError(
                "a term against forgetting needs the images of earlier segments: set "
                "inputs.earlier"
            )
        return self.earlier


class Outputs(NamedTuple):
    """The outputs of a network."""

    logits: Array  # [B, K]
    features: tuple[Array, ...]  # one [B, F_i] per block; the last is penultimate
    # [B, H_i, W_i, C_i] activations of each block before pooling; () where a network
    # has none. A compiled program does without them where they are not used.
    maps: tuple[Array, ...] = ()
    # The mean and the biased variance, over batch and space, of the input of every
    # batch norm, in the structure of the running statistics; () in training and where
    # a network has none. They are computed only where they are used, as the maps are.
    moments: Stats = ()


class Known(NamedTuple):
    """What a teacher knows, for a batch of images at one step."""

    step: Array  # [] int32, at which images may be seen otherwise than before
    moments: Stats  # of real samples, which those of the images are compared with


class MethodState(NamedTuple):
    """The state that is carried from one step to the next."""

    step: Array  # [] int32: updates of the images done so far
    codes: Codes
    optimizer: Any  # optax state of the codes
    source: Any  # state of the learner source
    average: Codes  # moving average of the codes; () where the method keeps none
