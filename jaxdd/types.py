"""The vocabulary of the library: read this file first.

A method is *objective x learner source x decoder x augmentation*. Values are
NamedTuples of arrays (pytrees); methods and their parts are NamedTuples of pure
functions. The signature of every such function is a Protocol below; arguments are
passed by position.

Samples are written as images, [.., H, W, C]; sequences [.., L, C] and vectors [.., F]
stand in their place everywhere but in what is about pixels: see `modality`.

A key that a function "consumes" must not be used again by its caller.

Letters used for shapes throughout:
    B real or mini-batch size    K classes       n synthetic images per class (ipc)
    H W C image size, channels   M real samples  N images in a set (N = K * n)
    F features of a block        P parameters    E networks in an ensemble
    T steps of a student
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

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


@runtime_checkable
class InitNetwork(Protocol):
    """Random parameters, and the initial running statistics."""

    def __call__(self, key: Key, /) -> tuple[Params, Stats]:
        """Draw them; the key is consumed."""


@runtime_checkable
class ApplyNetwork(Protocol):
    """The forward pass."""

    def __call__(
        self, params: Params, stats: Stats, images: Array, train: bool, /
    ) -> tuple[Outputs, Stats]:
        """Compute the outputs of a batch.

        Args:
            params: the parameters.
            stats: the running statistics.
            images: [B, H, W, C], preprocessed.
            train: whether batch norm uses the statistics of the batch; a static bool.

        Returns:
            The outputs, and the statistics after the batch (unchanged without `train`).
        """


class Network(NamedTuple):
    """A network as two pure functions."""

    init: InitNetwork
    apply: ApplyNetwork


@runtime_checkable
class MeanGradient(Protocol):
    """The gradient of the mean loss of a batch that was matched, at its learner."""

    def __call__(self, microbatch: int | None = None, /) -> Params:
        """Return it, or compute it if the match had no need of it.

        Args:
            microbatch: samples per chunk of that computation; None for all at once.
        """


class Evidence(NamedTuple):
    """Quantities of a match that a term may use, still differentiable."""

    batch: Batch  # the (augmented) synthetic batch that was matched
    # The gradient of its mean loss in the mode in which the match uses the network:
    # `primitives.evidence` has both forms.
    mean_gradient: MeanGradient
    info: Mapping[str, Scalar] = {}  # further scalars to log, without a gradient


class PathEvidence(NamedTuple):
    """The evidence of a match that trains a student on the set."""

    batch: Batch  # the batch of the student's first step
    mean_gradient: MeanGradient  # at the student's start, in training mode
    path_norms: Array  # [T] norms of the gradients of the student's steps
    end: Params  # the parameters of the student after its last step


class Space(NamedTuple):
    """The space of stored images, relative to the input space of the network."""

    encode: "MapImages"  # input -> stored
    decode: "MapImages"  # stored -> input
    grey: float  # the stored value that stands for no content


@runtime_checkable
class MapImages(Protocol):
    """A function of images, [..., H, W, C] -> [..., H, W, C]."""

    def __call__(self, images: Array, /) -> Array:
        """Map the images."""


@runtime_checkable
class InitCodes(Protocol):
    """The parameters of a set that is about to be distilled."""

    def __call__(self, key: Key, start: Synthetic, /) -> Codes:
        """Encode a set; the key is consumed."""


@runtime_checkable
class DecodeCodes(Protocol):
    """The set that codes stand for."""

    def __call__(self, codes: Codes, /) -> Synthetic:
        """Decode them."""


class Decoder(NamedTuple):
    """The parameterisation of synthetic images."""

    init: InitCodes
    decode: DecodeCodes  # the set that networks are trained on
    stored: DecodeCodes  # the set before its images are decoded; labels are decoded


@runtime_checkable
class InitSource(Protocol):
    """The first state of a learner source."""

    def __call__(self, key: Key, /) -> Any:
        """Make it; the key is consumed."""


@runtime_checkable
class DrawLearner(Protocol):
    """The network of a step."""

    def __call__(self, key: Key, state: Any, inputs: Inputs, /) -> Learner:
        """Draw it, or take it from the state; the key is consumed."""


@runtime_checkable
class AdvanceSource(Protocol):
    """The next state of a learner source."""

    def __call__(
        self,
        key: Key,
        state: Any,
        learner: Learner,
        synthetic: Synthetic,
        inputs: Inputs,
        /,
    ) -> Any:
        """Advance the state after a step, e.g. train its network.

        Args:
            key: consumed.
            state: the state before.
            learner: the network of the step.
            synthetic: the set after the step, decoded.
            inputs: the data of the step.
        """  # fmt: skip


@runtime_checkable
class SpanIndex(Protocol):
    """The choice of the span of experts that a step bridges."""

    def __call__(self, root: Key, step: Array, /) -> Array:
        """Choose the span of a step.

        Args:
            root: the key of a run, not consumed.
            step: [] int32.

        Returns:
            [2] int32, the expert and its start epoch, which the host has to read.
        """


@runtime_checkable
class PassOrder(Protocol):
    """The seed of passes over real samples, from the state of a learner source."""

    def __call__(self, state: Any, /) -> Array:
        """[] uint32, for `Inputs.order`."""


@runtime_checkable
class IsNew(Protocol):
    """Whether the network of the next step has not been matched yet."""

    def __call__(self, state: Any, /) -> Array:
        """[] bool, from the state of a learner source."""


class LearnerSource(NamedTuple):
    """The origin of the networks that are matched."""

    init: InitSource
    draw: DrawLearner
    advance: AdvanceSource
    span_index: SpanIndex | None = None  # None where a source needs no spans
    order: PassOrder | None = None  # None where real samples are drawn at random
    is_new: IsNew | None = None  # None where networks do not begin at random


@runtime_checkable
class ClassMatch(Protocol):
    """How far the images of one class are from its real samples."""

    def __call__(
        self, key: Key, synthetic: Batch, real: Batch, learner: Learner, /
    ) -> tuple[Scalar, Evidence]:
        """Compare both at a network.

        Args:
            key: consumed, by the augmentation that both sides share.
            synthetic: [n, ...] images of the class; padding has zero labels.
            real: [B, ...] samples of the class, which get no gradient.
            learner: the network.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class Samples(Protocol):
    """Real samples, class by class."""

    def __call__(self, key: Key, class_index: Array, /) -> Batch:
        """Draw [B, ...] samples of a class; the key is consumed."""


@runtime_checkable
class SetMatch(Protocol):
    """How far all images are from the real samples of all classes."""

    def __call__(
        self, key: Key, synthetic: Synthetic, real: Samples, learner: Learner, /
    ) -> tuple[Scalar, Evidence]:
        """Compare both at a network.

        Args:
            key: consumed, by the draws and augmentations of the classes.
            synthetic: the images of all classes.
            real: a function that draws the samples of a class; they get no gradient.
            learner: the network.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class BatchMatch(Protocol):
    """How far all images are from one batch of real samples of all classes."""

    def __call__(
        self, key: Key, synthetic: Synthetic, real: Batch, learner: Learner, /
    ) -> tuple[Scalar, Evidence | PathEvidence]:
        """Compare both at a network.

        Args:
            key: consumed.
            synthetic: the images of all classes; padding has zero labels.
            real: [B, ...] samples of any class, which get no gradient.
            learner: the network.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class SpanMatch(Protocol):
    """How far a student on the set stays behind an expert."""

    def __call__(
        self, key: Key, synthetic: Synthetic, target: Params, learner: Learner, /
    ) -> tuple[Scalar, PathEvidence]:
        """Train a student and compare.

        Args:
            key: consumed, by the student's minibatches and their augmentation.
            synthetic: the images of all classes, with the student's step size.
            target: the expert's parameters at the end of the span.
            learner: the network at its start.

        Returns:
            The loss and its evidence.
        """


class Known(NamedTuple):
    """What a teacher knows, for a batch of images at one step."""

    step: Array  # [] int32, at which images may be seen otherwise than before
    moments: Stats  # of real samples, which those of the images are compared with


@runtime_checkable
class TeacherMatch(Protocol):
    """How far a batch of images is from what a teacher knows of its data."""

    def __call__(
        self, key: Key, images: Batch, known: Known, learner: Learner, /
    ) -> tuple[Scalar, Evidence]:
        """Compare both.

        Args:
            key: consumed.
            images: [B, ...], of one class or one of each; padding has zero labels.
            known: the step, and the moments that real samples have at the teacher.
            learner: the teacher.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class Term(Protocol):
    """A penalty that is added to a match."""

    def __call__(
        self, key: Key, learner: Learner, evidence: Evidence | PathEvidence, /
    ) -> Scalar:
        """Compute the penalty, before its weight.

        Args:
            key: consumed.
            learner: the network that was matched.
            evidence: quantities of the match.
        """


@runtime_checkable
class Schedule(Protocol):
    """A weight over the steps of a run."""

    def __call__(self, step: Array, /) -> Scalar:
        """The weight at a step, [] int32."""


@runtime_checkable
class Objective(Protocol):
    """The loss of a set, whose gradient updates the images."""

    def __call__(
        self,
        key: Key,
        synthetic: Synthetic,
        learner: Learner,
        inputs: Inputs,
        step: Array,
        /,
    ) -> tuple[Scalar, Info]:
        """Compute the loss.

        Args:
            key: consumed.
            synthetic: the decoded set; the only argument that gets a gradient.
            learner: the network of the step.
            inputs: the data of the step.
            step: [] int32.

        Returns:
            The loss, and its parts by name: "match" and a value per term.
        """  # fmt: skip


class MethodState(NamedTuple):
    """The state that is carried from one step to the next."""

    step: Array  # [] int32: updates of the images done so far
    codes: Codes
    optimizer: Any  # optax state of the codes
    source: Any  # state of the learner source
    average: Codes  # moving average of the codes; () where the method keeps none


@runtime_checkable
class InitMethod(Protocol):
    """The state of a method at step 0."""

    def __call__(self, key: Key, start: Synthetic, /) -> MethodState:
        """Make it from the first images; the key is consumed."""


@runtime_checkable
class StepMethod(Protocol):
    """One update of the images."""

    def __call__(
        self, key: Key, state: MethodState, inputs: Inputs, /
    ) -> tuple[MethodState, Info]:
        """Take the step.

        Args:
            key: consumed; step t of a run uses fold_in(root key, t).
            state: the state before.
            inputs: the data of the step.

        Returns:
            The state after the step, and scalars to log.
        """


@runtime_checkable
class ReadMethod(Protocol):
    """The distilled set at a state."""

    def __call__(self, state: MethodState, /) -> Synthetic:
        """Read it."""


class Method(NamedTuple):
    """A distillation method. One step is one update of the images."""

    init: InitMethod
    step: StepMethod
    result: ReadMethod  # the set that networks are trained on
    stored: ReadMethod  # the same before its images are decoded
