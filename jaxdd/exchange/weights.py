"""Weights of networks that PyTorch has trained, as parameters of ours.

Names and layouts are those of torchvision's ResNets: kernels [out, in, h, w], and the
running statistics of a batch norm beside its parameters.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.exchange.safetensors import read_safetensors
from jaxdd.exchange.torch_files import read_torch
from jaxdd.nets.resnet import BLOCKS_PER_STAGE
from jaxdd.primitives.trees import from_named_leaves, named_leaves
from jaxdd.storage.paths import existing_file, shown
from jaxdd.types import Learner, Network

WHAT = "the file of weights"
REMEDY = (
    "give the weights of torchvision's resnet18 with as many classes as the data have "
    "(.safetensors, or .pt or .pth of a state_dict)"
)
# Names by which a checkpoint of a training holds the weights, and a prefix of them.
_NESTED = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."
_NORM = {
    "weight": "scale", "bias": "bias", "running_mean": "statistics/mean",
    "running_var": "statistics/variance",
}  # fmt: skip


def torch_names() -> dict[str, str]:
    """{path of a leaf of our parameters or statistics: torchvision's name}.

    Example:
        >>> names = torch_names()
        >>> names["block3/shortcut_conv/kernel"], names["block0/norm/statistics/mean"]
        ('layer2.0.downsample.0.weight', 'bn1.running_mean')
    """
    names = {"head/kernel": "fc.weight", "head/bias": "fc.bias"}

    def add(block: str, conv: str, norm: str, ours: tuple[str, str]) -> None:
        names[f"{block}/{ours[0]}/kernel"] = f"{conv}.weight"
        for theirs, leaf in _NORM.items():
            names[f"{block}/{ours[1]}/{leaf}"] = f"{norm}.{theirs}"

    add("block0", "conv1", "bn1", ("conv", "norm"))
    number = 1
    for stage, blocks in enumerate(BLOCKS_PER_STAGE, 1):
        for i in range(blocks):
            block, theirs = f"block{number}", f"layer{stage}.{i}"
            for k in (1, 2):
                parts = f"conv{k}", f"norm{k}"
                add(block, f"{theirs}.conv{k}", f"{theirs}.bn{k}", parts)
            if stage > 1 and i == 0:
                short = f"{theirs}.downsample"
                parts = "shortcut_conv", "shortcut_norm"
                add(block, f"{short}.0", f"{short}.1", parts)
            number += 1
    return names


def read_weights(path: str | Path, network: Network) -> tuple[Learner, str]:
    """A trained network from a file of weights.

    Nothing in the file is run, and PyTorch is not needed.

    Args:
        path: a .safetensors, or a .pt or .pth of `torch.save`: a state_dict, or a
            checkpoint that holds one.
        network: "resnet18_imagenet", or "resnet18_bn" for weights with a stem for small
            images.

    Returns:
        Parameters and running statistics, float32 arrays on the host; and the digest of
        the file, 16 characters.

    Raises:
        UserError: the file is damaged or hostile, or its tensors are not those of the
            network.
    """
    place = existing_file(path, WHAT, REMEDY)
    tensors = _tensors(place)
    like = jax.eval_shape(network.init, jax.random.key(0))
    params, stats = (_converted(tree, tensors, place) for tree in like)
    with open(place, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Learner(params, stats), digest


def _tensors(place: Path) -> dict[str, Any]:
    """The tensors of a file by torchvision's names.

    Raises:
        UserError: it holds no tensors by name.
    """
    if place.suffix == ".safetensors":
        content: Any = read_safetensors(place, WHAT)[0]
    else:
        content = read_torch(place, WHAT)
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise UserError(f"{WHAT} {shown(place)} holds no tensors by name: {REMEDY}")
    return {str(name).removeprefix(_PARALLEL): x for name, x in content.items()}


def _converted(like: Any, tensors: dict[str, Any], place: Path) -> Any:
    """Our leaves of a tree from torchvision's tensors.

    Raises:
        UserError: one is not there, has another shape or is not finite.
    """
    names, leaves = torch_names(), {}
    for ours, leaf in named_leaves(like).items():
        name = names.get(ours)
        if name is None or not isinstance(tensors.get(name), np.ndarray):
            raise UserError(
                f"{WHAT} {shown(place)} has no tensor {quoted(name or ours)}: {REMEDY}"
            )
        array = _ours(tensors[name])
        if array.shape != leaf.shape:
            raise UserError(
                f"{WHAT} {shown(place)} has {quoted(name)} of shape "
                f"{list(tensors[name].shape)}, which becomes {list(array.shape)}, and "
                f"the network needs {list(leaf.shape)}: {REMEDY}"
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"{WHAT} {shown(place)} has numbers in {quoted(name)} that are not "
                "finite: copy it again"
            )
        leaves[ours] = jnp.asarray(array)
    return from_named_leaves(like, leaves)


def _ours(tensor: np.ndarray) -> np.ndarray:
    """[out, in, h, w] -> [h, w, in, out], [out, in] -> [in, out]; others stay."""
    if tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
    elif tensor.ndim == 2:
        tensor = tensor.T
    return np.ascontiguousarray(tensor, np.float32)
