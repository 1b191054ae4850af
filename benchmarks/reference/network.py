"""ConvNet in PyTorch, as a function of its parameters.

A network is a list of tensors: kernel, bias, norm scale and norm bias of every block,
then kernel and bias of the head. Images are [B, C, H, W].
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = list[Tensor]


def device() -> torch.device:
    """The accelerator where JAX computes on one too."""
    both = torch.cuda.is_available() and jax.default_backend() == "gpu"
    return torch.device("cuda" if both else "cpu")


def use_all_cores() -> None:
    """As many threads as JAX takes."""
    ours = getattr(os, "sched_getaffinity", None)  # only on Linux
    torch.set_num_threads(len(ours(0)) if ours else os.cpu_count() or 1)


def use_tensor_cores() -> None:
    """TF32 products and convolutions on an NVIDIA device, as JAX's default has them."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def finish() -> None:
    """Wait for an accelerator."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array)).to(device())


def channels_first(images: Any) -> Tensor:
    """[..., H, W, C] to [..., C, H, W]."""
    return tensor(np.moveaxis(np.asarray(images), -1, -3)).contiguous()


def channels_last(images: Tensor) -> np.ndarray:
    return np.moveaxis(images.detach().cpu().numpy(), -3, -1)


def parameters(named: Mapping[str, Any]) -> Parameters:
    """From our parameters by path ("block0/conv/kernel": [3, 3, Cin, Cout])."""
    arrays = {name: np.asarray(x) for name, x in named.items()}
    depth = sum(name.endswith("conv/kernel") for name in arrays)
    tensors = []
    for i in range(depth):
        block = f"block{i}"
        tensors += [
            tensor(arrays[f"{block}/conv/kernel"].transpose(3, 2, 0, 1)),
            tensor(arrays[f"{block}/conv/bias"]),
            tensor(arrays[f"{block}/norm/scale"]),
            tensor(arrays[f"{block}/norm/bias"]),
        ]
    # Ours flattens the last map as H, W, C.
    width = arrays[f"block{depth - 1}/conv/bias"].shape[0]
    head = arrays["head/kernel"]
    side = round((head.shape[0] // width) ** 0.5)
    head = head.reshape(side, side, width, -1).transpose(3, 2, 0, 1)
    tensors.append(tensor(head.reshape(head.shape[0], -1)))
    tensors.append(tensor(arrays["head/bias"]))
    return [x.contiguous() for x in tensors]


def fresh(like: Sequence[Tensor]) -> Parameters:
    """A new random network: PyTorch's defaults for convolutions and affine layers."""
    tensors: Parameters = []
    for i, x in enumerate(like):
        scale_or_shift = i < len(like) - 2 and i % 4 >= 2
        if scale_or_shift:
            tensors.append(torch.full_like(x, float(i % 4 == 2)))
            continue
        kernel = like[i] if x.ndim > 1 else like[i - 1]
        bound = kernel[0].numel() ** -0.5
        tensors.append(torch.empty_like(x).uniform_(-bound, bound))
    return tensors


def features(params: Sequence[Tensor], images: Tensor) -> Tensor:
    """The last map, flattened, [B, F]."""
    x = images
    padding = 3 if tuple(images.shape[1:]) == (1, 28, 28) else 1
    for i in range(0, len(params) - 2, 4):
        kernel, bias, scale, shift = params[i : i + 4]
        x = F.conv2d(x, kernel, bias, padding=padding)
        x = F.group_norm(x, x.shape[1], scale, shift)
        x = F.avg_pool2d(F.relu(x), 2)
        padding = 1
    return x.flatten(1)


def logits(params: Sequence[Tensor], images: Tensor) -> Tensor:
    """[B, K]."""
    return F.linear(features(params, images), params[-2], params[-1])


def loss(params: Sequence[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of integer labels [B]."""
    return F.cross_entropy(logits(params, images), labels)


def flatten(params: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.reshape(-1) for x in params])


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> Parameters:
    """Views of a flat vector with the shapes of a network."""
    parts = flat.split([x.numel() for x in like])
    return [part.view(x.shape) for part, x in zip(parts, like, strict=True)]


def named(params: Sequence[Tensor], like: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by path with the shapes of ours: the inverse of `parameters`.

    Args:
        params: of the reference.
        like: our parameters by path.
    """
    arrays = [x.detach().cpu().numpy() for x in params]
    depth = (len(arrays) - 2) // 4
    by_path = {}
    for i in range(depth):
        kernel, bias, scale, shift = arrays[4 * i : 4 * i + 4]
        by_path[f"block{i}/conv/kernel"] = kernel.transpose(2, 3, 1, 0)
        by_path[f"block{i}/conv/bias"] = bias
        by_path[f"block{i}/norm/scale"] = scale
        by_path[f"block{i}/norm/bias"] = shift
    width = len(arrays[-3])
    side = round((arrays[-2].shape[1] // width) ** 0.5)
    head = arrays[-2].reshape(-1, width, side, side).transpose(2, 3, 1, 0)
    by_path["head/kernel"] = head.reshape(like["head/kernel"].shape)
    by_path["head/bias"] = arrays[-1]
    return {name: by_path[name] for name in like}
