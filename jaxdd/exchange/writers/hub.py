"""A folder that is ready to upload as a dataset of the Hugging Face hub.

`data/train-00000-of-00001.parquet` has the pictures for everybody, `set.safetensors`
the exact set with its preprocessing, and `README.md` is the card that says how the
numbers were made and how to use them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from jaxdd.artifact.artifact import Artifact
from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.exchange.content import Content
from jaxdd.exchange.parquet import write_parquet
from jaxdd.exchange.writers.arrays import as_safetensors
from jaxdd.storage.files import temporary_sibling
from jaxdd.storage.paths import reason, shown

TABLE = "data/train-00000-of-00001.parquet"
EXACT, CARD = "set.safetensors", "README.md"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def as_hub_folder(artifact: Artifact, path: Path) -> Path:
    """Write the folder as a whole, under its name once it is complete.

    Args:
        artifact: the set.
        path: a folder that does not exist, or an empty one.

    Raises:
        UserError: the folder holds something, the set cannot be written, or the disk
            refuses.
    """
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(
                f"{shown(path)} is there and not an empty folder: choose a new one"
            )
        part = temporary_sibling(path.absolute())
        hosts.meet()
        if hosts.primary():
            (part / "data").mkdir(parents=True)
        hosts.meet()
        try:
            write_parquet(artifact, part / TABLE, alone=False)
            as_safetensors(artifact, part / EXACT)
            if hosts.primary():
                (part / CARD).write_text(card(artifact), encoding="utf-8")
                if path.exists():
                    path.rmdir()  # it is empty
                part.rename(path.absolute())
        finally:
            if hosts.primary():
                shutil.rmtree(part, ignore_errors=True)
        hosts.meet()
    except OSError as error:
        raise UserError(
            f"cannot write the folder {shown(path)}: {reason(error)}; choose another "
            "one"
        ) from error
    return path


def card(artifact: Artifact) -> str:
    """The card of a set: a header for the hub, then sentences for people."""
    content = Content(artifact)
    about, count = content.about, len(content.arrays["targets"])
    size = next((name for most, name in _SIZES if count < most), "100K<n<1M")
    names = {str(i): name for i, name in enumerate(artifact.class_names)}
    header = {
        "pretty_name": f"{artifact.dataset['name']}, distilled",
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation", "jaxdd"],
        "size_categories": [size],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": TABLE}],
            }
        ],
        "dataset_info": {
            "features": [
                {"name": "image", "dtype": "image"},
                {"name": "label", "dtype": {"class_label": {"names": names}}},
                {"name": "soft_label", "sequence": "float32"},
                {"name": "input", "sequence": "float32"},
            ]
        },
    }
    # JSON is YAML, and escapes whatever a class may be called.
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    shape = " x ".join(map(str, content.arrays["inputs"].shape[1:]))
    whole = about["preprocessing"]
    preprocessing = {k: v for k, v in whole.items() if k != "formula"}
    judged = ("network", "training", "augmentation", "step_size")
    protocol = {name: about[name] for name in judged}
    return f"""---
{yaml}
---

# {_line(artifact.dataset["name"])}, distilled

{count} training images of {len(names)} classes, made by dataset distillation (jaxdd).
{_measured(artifact)}

| column | content |
|---|---|
| `image` | the picture, 8 bits, cut to the range of pixels: for looking |
| `label` | the class for which the image was made |
| `soft_label` | the label that networks are trained with ({artifact.label_kind}) |
| `input` | the network input, {shape} (channels, height, width) |

Train on `input`, not on `image`: rounding and cutting cost accuracy. Test images need
the same preprocessing, {_line(whole["formula"])}:

```json
{json.dumps(preprocessing)}
```

The protocol of the evaluation, with the network, its schedule and the augmentation:

```json
{json.dumps(protocol)}
```

`{EXACT}` holds the same set exactly, with its preprocessing as arrays. In Python,
`jaxdd.load_foreign("{EXACT}")` reads it and `jaxdd.evaluate` evaluates it.
"""


def _line(text: Any) -> str:
    """A text on one line."""
    return " ".join(str(text).split())


def _measured(artifact: Artifact) -> str:
    """A sentence about accuracies, where they were measured."""
    distilled = artifact.measured.get("distilled")
    if not distilled:
        return "Its accuracy has not been measured by jaxdd."
    sentence = (
        f"Networks reach {distilled['mean']:.2f} ± {distilled['std']:.2f} % "
        f"({distilled['n']} networks)"
    )
    random = artifact.measured.get("random")
    if random:
        sentence += f", on random real subsets of the same size {random['mean']:.2f} %"
    return sentence + "."
