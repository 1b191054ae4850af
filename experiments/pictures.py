"""Draw distilled sets in one picture, below random real images of their classes.

    python -m experiments.pictures --artifacts=runs/pictures/dsa/distilled.npz \\
        --out=docs/images/digits.png

One row per set, one column per class, and only the first image of a class where a set
has more. Each row is named after its method and the test accuracy that its artifact
holds; the accuracy of the real images is the mean over the random subsets that the
first artifact was compared with. `make pictures` distils scikit-learn's digits three
times and draws the picture of the README.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.console.flags import main, option
from jaxdd import fields, report
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import load
from jaxdd.data import Dataset
from jaxdd.data.problem import DataFlags, open_dataset
from jaxdd.errors import UserError
from jaxdd.evaluation.reopening import of_set
from jaxdd.methods.recipes import spelled
from jaxdd.modality import check_pixels
from jaxdd.report.pictures import PICTURE
from jaxdd.storage.files import make_folder, output_file
from jaxdd.storage.paths import shown


@dataclass(frozen=True, kw_only=True)
class Config(DataFlags):
    """Flags of `experiments.pictures`; the data are those of the sets."""

    artifacts: str = option(..., "distilled.npz files, separated by commas", often=True)
    out: str = option(..., "PNG file to write", kind="path", often=True)
    seed: int = option(0, "seed of the random choice of real images", kind="seed")


def run(config: Config) -> Path:
    """Draw the picture and return its path.

    Raises:
        UserError: a file cannot be read, there is no file, or a set was distilled from
            other data.
    """
    fields.check(config)
    target = output_file(config.out, "--out", ".png", kind=PICTURE)
    paths = [path for path in config.artifacts.split(",") if path]
    if not paths:
        raise UserError("--artifacts names no file: give one distilled.npz or more")
    dataset = open_dataset(config)
    check_pixels("a grid of pictures", dataset.image_shape)
    artifacts = [load(path) for path in paths]
    for path, artifact in zip(paths, artifacts, strict=True):
        own = of_set(dataset, artifact.dataset)
        if artifact.dataset["fingerprint"] != own.fingerprint:
            raise UserError(
                f"{shown(path)} was not distilled from {shown(config.dataset)}: "
                "--dataset must name the data of all --artifacts"
            )
    rows = [random_images(dataset, config.seed)]
    names = [_name("real, at random", artifacts[0].measured.get("random"))]
    for artifact in artifacts:
        rows.append(artifact.displayable()[:, 0])
        names.append(_name(_method(artifact), artifact.measured.get("distilled")))
    sizes = {row.shape for row in rows}
    if len(sizes) > 1:
        raise UserError(f"the images of --artifacts differ in size: {sorted(sizes)}")
    make_folder(target.parent, "--out")
    return report.image_grid(np.stack(rows), names, target)


def random_images(dataset: Dataset, seed: int) -> np.ndarray:
    """One random training image of every class, [K, H, W, C] in [0, 1]."""
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(dataset.labels == k))
        for k in range(dataset.num_classes)
    ]
    images = dataset.images[chosen]
    return images / 255 if images.dtype == np.uint8 else images


def _method(artifact: Artifact) -> str:
    """The method's name; an artifact written by other code may lack it."""
    config = artifact.provenance.get("config")
    values = config if isinstance(config, dict) else {}
    method = values.get("method")
    if not isinstance(method, str):
        return "distilled"
    return spelled(method) + (" + SDC" if values.get("sdc_weight") else "")


def _name(name: str, accuracy: dict | None) -> str:
    return name if accuracy is None else f"{name}: {accuracy['mean']:.1f} %"


def show(path: Path) -> None:
    print(f"picture: {shown(path)}")


if __name__ == "__main__":
    main(Config, run, show)
