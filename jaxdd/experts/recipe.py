"""How the experts of a trajectory method are trained, as a choice."""

from dataclasses import dataclass
from typing import ClassVar

from jaxdd.experts.manifest import DTYPES
from jaxdd.fields import Choice, option


@dataclass(frozen=True)
class Experts(Choice):
    """The bank that a run makes, or the one that it is given.

    Attributes:
        bank: the folder of a finished bank; None to train one.
        count: how many experts are trained.
        epochs: of their training; None for just as many as will be matched. DATM and
            PAD take first labels and images from experts at the end of 100.
        dtype: of the snapshots on disk.
        learning_rate, batch_size: of SGD without momentum and weight decay.
        gsam_rho, gsam_alpha: of adaptive GSAM; a radius of 0 is plain SGD.
    """

    subject: ClassVar[str] = "experts"

    bank: str | None = option(
        None,
        "folder of a finished bank of experts; default: WORKDIR/experts, trained "
        "by the run",
        flag="experts",
        kind="path",
    )
    count: int = option(
        100, "number of experts in a bank that is trained", flag="num_experts", above=0
    )
    epochs: int | None = option(
        None,
        "epochs of the training of experts; default: the published ones (DATM, PAD: "
        "100), or as many as are matched",
        flag="bank_epochs",
        above=0,
    )
    dtype: str = option(
        "float32",
        "type in which the parameters of experts are stored: float32 or bfloat16",
        flag="bank_dtype",
        choices=DTYPES,
    )
    learning_rate: float = option(
        0.01, "learning rate of the training of experts", flag="expert_lr", above=0
    )
    batch_size: int = option(
        256,
        "samples per minibatch of the training of experts",
        flag="expert_batch",
        above=0,
    )
    gsam_rho: float = option(
        0.0, "radius of GSAM, by which experts are trained; 0 for plain SGD", at_least=0
    )
    gsam_alpha: float = option(
        0.0,
        "weight of the orthogonal part of the gradient in GSAM, by which experts "
        "are trained",
        at_least=0,
        beside={"gsam_rho": None},
    )
