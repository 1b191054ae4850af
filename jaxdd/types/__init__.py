"""The vocabulary of the library: read this folder first.

A method is *objective x learner source x decoder x augmentation*. `values` are
NamedTuples of arrays (pytrees). Networks, decoders, learner sources and methods
(`parts`) are NamedTuples of pure functions; every signature, also of matches and
objectives (`matches`), is a Protocol.

Samples are written as images, [.., H, W, C]; sequences [.., L, C] and vectors [.., F]
stand in their place everywhere but in what is about pixels: see `modality`.

A key that a function "consumes" must not be used again by its caller.

Letters used for shapes throughout:
    B real or mini-batch size    K classes       n synthetic images per class (ipc)
    H W C image size, channels   M real samples  N images in a set (N = K * n)
    F features of a block        P parameters    E networks in an ensemble
    T steps of a student
"""

from jaxdd.types.matches import (
    BatchMatch,
    ClassMatch,
    Evidence,
    MeanGradient,
    Objective,
    PathEvidence,
    Samples,
    Schedule,
    SetMatch,
    SpanMatch,
    TeacherMatch,
    Term,
)
from jaxdd.types.parts import (
    AdvanceSource,
    ApplyNetwork,
    DecodeCodes,
    Decoder,
    DrawLearner,
    InitCodes,
    InitMethod,
    InitNetwork,
    InitSource,
    IsNew,
    LearnerSource,
    MapImages,
    Method,
    Network,
    PassOrder,
    ReadMethod,
    Space,
    SpanIndex,
    StepMethod,
)
from jaxdd.types.values import (
    Array,
    Batch,
    Codes,
    Images,
    Info,
    Inputs,
    Key,
    Known,
    Learner,
    MethodState,
    Outputs,
    Params,
    RealData,
    Scalar,
    Span,
    Stats,
    StepWindow,
    Synthetic,
)

__all__ = [
    "AdvanceSource",
    "ApplyNetwork",
    "Array",
    "Batch",
    "BatchMatch",
    "ClassMatch",
    "Codes",
    "DecodeCodes",
    "Decoder",
    "DrawLearner",
    "Evidence",
    "Images",
    "Info",
    "InitCodes",
    "InitMethod",
    "InitNetwork",
    "InitSource",
    "Inputs",
    "IsNew",
    "Key",
    "Known",
    "Learner",
    "LearnerSource",
    "MapImages",
    "MeanGradient",
    "Method",
    "MethodState",
    "Network",
    "Objective",
    "Outputs",
    "Params",
    "PassOrder",
    "PathEvidence",
    "ReadMethod",
    "RealData",
    "Samples",
    "Scalar",
    "Schedule",
    "SetMatch",
    "Space",
    "Span",
    "SpanIndex",
    "SpanMatch",
    "Stats",
    "StepMethod",
    "StepWindow",
    "Synthetic",
    "TeacherMatch",
    "Term",
]
