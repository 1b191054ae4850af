"""What a method is made of, but for what it minimises: every part and its signature.

Arguments are passed by position.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxdd.types.values import (
    Array,
    Codes,
    Info,
    Inputs,
    Key,
    Learner,
    MethodState,
    Outputs,
    Params,
    Stats,
    Synthetic,
)


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
