"""What a person says about a foreign set: its method, scale, labels and rate."""

from dataclasses import dataclass

from jaxdd.data.problem import DataFlags
from jaxdd.fields import option
from jaxdd.methods.recipes import METHODS
from jaxdd.nets import NETS
from jaxdd.synthetic.formation import KINDS

AUTO = "auto"
LABELS = ("auto", "hard", "probabilities", "logits", "targets", "weights")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a foreign file is read where it does not say so itself.

    Attributes:
        format: a name in `formats.FORMATS`, or "auto".
        method: the method whose published recipe fills what nothing else says.
        normalisation: the scale of the numbers.
        zca: whether they are ZCA-whitened; None for what the recipe says.
        zca_blocks: the blocks that were whitened; None for what the recipe says.
        labels: the kind of the labels.
        labels_file: labels that lie in another file.
        step_size: a learned rate.
        ipc: images per class that are expected.
        factor: of IDC's decoder.
        formation: of IDC's decoder.
        experiment: which of several sets in a file of DC, DSA or DM.
        net, width, depth: of the evaluation.
        eval_epochs: of the evaluation.
    """

    format: str = option(
        AUTO,
        "format of the file: auto, dc (res_*.pt of DC, DSA and DM), idc (data.pt), "
        "ncfm, trajectory (images_*.pt with labels_*.pt beside it), arrays (named "
        "arrays in .safetensors, .npz, .npy or .pt) or folder (pictures per class)",
        often=True,
    )
    method: str | None = option(
        None,
        f"method of a foreign set, whose published recipe is assumed: "
        f"{', '.join(METHODS)}; default: what the file says",
        choices=METHODS,
        often=True,
    )
    normalisation: str = option(
        AUTO,
        "scale of a foreign set's numbers: auto (the recipe's), pixels (0 to 1), "
        "dataset (mean and deviation of the dataset) or the name of a dataset whose "
        "constants were used, such as cifar10 or imagenet",
        often=True,
    )
    zca: bool | None = option(
        None, "whether a foreign set is ZCA-whitened; default: as in the recipe"
    )
    zca_blocks: int | None = option(
        None,
        "side in pixels of the blocks in which a foreign set is ZCA-whitened, that of "
        "the images for whole ones; default: as in the recipe",
        above=0,
    )
    labels: str = option(
        AUTO,
        f"kind of a foreign set's labels: {', '.join(LABELS)}",
        choices=LABELS,
    )
    labels_file: str | None = option(
        None, "file with the labels, where they lie apart", kind="path"
    )
    step_size: float | None = option(
        None, "learned learning rate of a foreign set", above=0
    )
    ipc: int | None = option(
        None, "images per class that the file has to have", above=0
    )
    factor: int | None = option(
        None, "factor of IDC's decoder, by which images are cut into tiles", above=0
    )
    formation: str = option(
        "single",
        f"formation of IDC's decoder: {', '.join(KINDS)}",
        choices=KINDS,
    )
    experiment: int = option(
        0, "which of the sets in a file of DC, DSA or DM, from 0 on", at_least=0
    )
    net: str | None = option(
        None,
        f"network of the evaluation: {', '.join(NETS)}; default: that of the method",
        choices=NETS,
    )
    width: int | None = option(None, "width of the network of the evaluation", above=0)
    depth: int | None = option(None, "blocks of the ConvNet of the evaluation", above=0)
    eval_epochs: int | None = option(
        None, "epochs of the evaluation; default: those of the recipe", above=0
    )


@dataclass(frozen=True, kw_only=True)
class ForeignFlags(Options, DataFlags):
    """The flags of a foreign set and of the dataset that it was distilled from.

    Attributes:
        dataset: the data; None where only a file of ours will do.
    """

    dataset: str | None = option(  # type: ignore[assignment]
        None,
        "the data that a foreign set was distilled from: digits, folder:PATH, npz:FILE "
        "or the name of a prepared TFDS dataset",
        kind="dataset",
        often=True,
    )
