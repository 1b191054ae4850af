"""The vocabulary of the library: read this file first.

Every method is *objective x learner source x decoder x augmentation*; the named
recipes in `methods.py` are settings of these axes. Everything here is a NamedTuple of
arrays (a pytree) or of pure functions.

Letters used for shapes throughout:
    B real or mini-batch size    K classes       n synthetic images per class (ipc)
    H W C image size, channels   M real samples  N images in a set (N = K * n)
    F features of a block        P parameters    E networks in an ensemble
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax

from jaxdd.errors import UserError

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array  # a typed key: jax.random.key(seed)
Params: TypeAlias = Any  # pytree of parameters of a network
Stats: TypeAlias = Any  # pytree of running statistics; empty without batch norm
Codes: TypeAlias = Any  # pytree that the image optimiser updates
Scalar: TypeAlias = jax.Array  # []
Info: TypeAlias = Mapping[str, Scalar]  # flat, fixed keys; nothing depends on it


class Batch(NamedTuple):
    """Images with soft labels. A row of zeros in `labels` is padding."""

    images: Array  # [B, H, W, C] float, preprocessed
    labels: Array  # [B, K] probabilities


class Synthetic(NamedTuple):
    """A distilled set, class by class."""

    images: Array  # [K, n, H, W, C] float, preprocessed
    labels: Array  # [K, n, K] probabilities
    step_size: Array  # [] the student's learning rate, where the method learns one


class RealData(NamedTuple):
    """Real samples on the device, and which of them are in play.

    `table` lists the samples of each class (sorted easy -> hard where scores are
    known), padded on the right; the first `counts[k]` entries of row k are in play.
    A preprocessed image is `images[i] * scale + shift`, so that raw uint8 images can
    stay as they are on the device.
    """

    images: Array  # [M, H, W, C] uint8 or float32
    labels: Array  # [M] int32
    table: Array  # [K, m] int32 indices into images
    counts: Array  # [K] int32
    scale: Array  # [C] float32
    shift: Array  # [C] float32


class Span(NamedTuple):
    """A piece of an expert's training: what a student has to bridge."""

    start: Params  # parameters at epoch s
    target: Params  # and at epoch s + M
    # In a later segment of D4A, where `target` comes from the kept samples alone: what
    # an expert reached that saw everything.
    whole: Params | None = None


class Inputs(NamedTuple):
    """What one step may look at."""

    real: RealData  # what this step may match
    full: RealData  # all training data
    span: Span | None = None  # where the method matches trajectories
    # What earlier segments made (D4A), with rows of zero labels up to a fixed number
    # of images; None where a set is distilled in one piece.
    earlier: Synthetic | None = None
    # [] uint32, one for a whole run: what orders the passes over the real samples of a
    # class; None where every step draws its own. A method with passes sets it itself.
    order: Array | None = None

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
    """What a network returns."""

    logits: Array  # [B, K]
    features: tuple[Array, ...]  # one [B, F_i] per block; the last is penultimate


class Network(NamedTuple):
    """A network as two pure functions."""

    init: Callable[[Key], tuple[Params, Stats]]
    # (params, stats, images [B, H, W, C], train) -> (Outputs, new stats)
    apply: Callable[[Params, Stats, Array, bool], tuple[Outputs, Stats]]


class Learner(NamedTuple):
    """The network state at which something is matched or measured."""

    params: Params
    stats: Stats


class Evidence(NamedTuple):
    """What a match computed and a term may use again, still differentiable."""

    batch: Batch  # the (augmented) synthetic batch that was matched
    gradient: Params | None = None  # its mean-loss gradient, where the match needs it
    path_norms: Array | None = None  # [T] gradient norms along an unrolled student
    end: Params | None = None  # what that student reached


class Space(NamedTuple):
    """Where stored images live, seen from the network's input space."""

    encode: Callable[[Array], Array]  # input [..., H, W, C] -> stored
    decode: Callable[[Array], Array]  # and back
    grey: float  # the stored value that stands for no content


class Decoder(NamedTuple):
    """How synthetic images are parameterised."""

    init: Callable[[Key, Synthetic], Codes]
    decode: Callable[[Codes], Synthetic]
    stored: Callable[[Codes], Synthetic]  # before decoding; labels as probabilities


# (root key, step) -> [2] int32: the expert and the start epoch whose span the host has
# to read for this step
SpanIndex: TypeAlias = Callable[[Key, Array], Array]


class LearnerSource(NamedTuple):
    """Where network parameters come from."""

    init: Callable[[Key], Any]
    # (key, state, inputs) -> learner
    draw: Callable[[Key, Any, Inputs], Learner]
    # (key, state, learner, synthetic, inputs) -> state
    advance: Callable[[Key, Any, Learner, Synthetic, Inputs], Any]
    span_index: SpanIndex | None = None  # None where a source needs no spans
    # (state) -> `Inputs.order`; None where real samples are not taken in passes
    order: Callable[[Any], Array] | None = None


# (key, synthetic, target, learner) -> (value, evidence). For one class the synthetic
# set and the target are Batches; for all classes at once they are a Synthetic and a
# function (key, class) -> Batch; for a trajectory a Synthetic and the Params to be
# reached.
Match: TypeAlias = Callable[[Key, Any, Any, Learner], tuple[Scalar, Evidence]]
# (key, learner, evidence) -> penalty, before its weight
Term: TypeAlias = Callable[[Key, Learner, Evidence], Scalar]
# (step) -> weight
Schedule: TypeAlias = Callable[[Array], Scalar]
# (key, synthetic, learner, inputs, step) -> (loss, info)
Objective: TypeAlias = Callable[
    [Key, Synthetic, Learner, Inputs, Array], tuple[Scalar, Info]
]


class MethodState(NamedTuple):
    """All that must be carried from one step to the next."""

    step: Array  # [] int32: updates of the images done so far
    codes: Codes
    optimizer: Any  # optax state of the codes
    source: Any  # state of the learner source
    average: Codes  # moving average of the codes; () where the method keeps none


class Method(NamedTuple):
    """A distillation method. One step is one update of the images."""

    init: Callable[[Key, Synthetic], MethodState]
    # (key, state, inputs) -> (state, info)
    step: Callable[[Key, MethodState, Inputs], tuple[MethodState, Info]]
    result: Callable[[MethodState], Synthetic]
    stored: Callable[[MethodState], Synthetic]  # the result before it is decoded
