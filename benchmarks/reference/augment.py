"""DSA's operations in PyTorch, on batches [B, C, H, W].

What is drawn and what is done with it are apart: a `Draw` holds the numbers, with an
axis in front that has length 1 where all images share them (Siamese) and B where each
image has its own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Groups = Sequence[Sequence[str]]  # one operation of every group is applied
MAX_SCALE, MAX_DEGREES = 1.2, 15.0


class Draw(NamedTuple):
    name: str
    values: Any  # a tensor [1 or B, ...], or three of them for "color"


def apply(draws: Sequence[Draw], images: Tensor) -> Tensor:
    for name, values in draws:
        images = OPS[name](values, images)
    return images


def random_draws(groups: Groups, images: Tensor, shared: bool) -> list[Draw]:
    """A choice in every group and its numbers."""
    count = 1 if shared else images.shape[0]
    names = [group[int(torch.randint(len(group), ()))] for group in groups]
    return [Draw(name, _random(name, count, images)) for name in names]


def _random(name: str, count: int, images: Tensor) -> Any:
    at = images.device
    sizes = [int(n) for n in images.shape[2:]]
    if name == "color":
        return tuple(torch.rand(count, device=at) for _ in range(3))
    if name == "crop":
        ends = [(-_reach(n), _reach(n) + 1) for n in sizes]
        both = [torch.randint(a, b, (count,), device=at) for a, b in ends]
        return torch.stack(both, dim=1)
    if name == "cutout":
        # An even box may be centred one past the last pixel.
        past = [n + 1 - _box(n) % 2 for n in sizes]
        both = [torch.randint(0, b, (count,), device=at) for b in past]
        return torch.stack(both, dim=1)
    if name == "flip":
        return torch.rand(count, device=at) < 0.5
    if name == "scale":
        unit = torch.rand(count, 2, device=at)
        return 1 / MAX_SCALE + unit * (MAX_SCALE - 1 / MAX_SCALE)
    if name == "rotate":
        return (2 * torch.rand(count, device=at) - 1) * math.radians(MAX_DEGREES)
    return torch.rand(count, device=at)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype).view(-1, 1, 1, 1)


def _brightness(u: Tensor, images: Tensor) -> Tensor:
    return images + (_per_image(u, images) - 0.5)


def _saturation(u: Tensor, images: Tensor) -> Tensor:
    mean = images.mean(dim=1, keepdim=True)
    return (images - mean) * (_per_image(u, images) * 2) + mean


def _contrast(u: Tensor, images: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (_per_image(u, images) + 0.5) + mean


def _color(values: Any, images: Tensor) -> Tensor:
    steps = (_brightness, _saturation, _contrast)
    for step, u in zip(steps, values, strict=True):
        images = step(u, images)
    return images


def _reach(size: int) -> int:
    return int(0.125 * size + 0.5)


def _crop(offset: Tensor, images: Tensor) -> Tensor:
    """Shifted pixels by index, zeros from outside."""
    count, _, height, width = images.shape
    down, right = _reach(height), _reach(width)
    at = images.device
    rows = torch.arange(height, device=at)[:, None] + offset[:, 0, None, None] + down
    columns = torch.arange(width, device=at)[None] + offset[:, 1, None, None] + right
    padded = F.pad(images, [right, right, down, down]).permute(0, 2, 3, 1)
    batch = torch.arange(count, device=at)[:, None, None]
    return padded[batch, rows, columns].permute(0, 3, 1, 2)


def _box(size: int) -> int:
    return int(0.5 * size + 0.5)


def _cutout(centre: Tensor, images: Tensor) -> Tensor:
    def covered(axis: int) -> Tensor:
        size = images.shape[2 + axis]
        start = centre[:, axis, None] - _box(size) // 2
        index = torch.arange(size, device=images.device)
        return (index >= start) & (index < start + _box(size))

    box = covered(0)[:, :, None] & covered(1)[:, None, :]
    return images * (~box)[:, None].to(images.dtype)


def _flip(coin: Tensor, images: Tensor) -> Tensor:
    return torch.where(coin.view(-1, 1, 1, 1), images.flip(3), images)


def _sample(rows: list[list[Tensor]], images: Tensor) -> Tensor:
    """Bilinear at an affine grid; corner pixels are at -1 and 1."""
    theta = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    theta = theta.to(images.dtype).expand(images.shape[0], 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)


def _scale(factor: Tensor, images: Tensor) -> Tensor:
    zero = torch.zeros_like(factor[:, 0])
    rows = [[factor[:, 1], zero, zero], [zero, factor[:, 0], zero]]
    return _sample(rows, images)


def _rotate(angle: Tensor, images: Tensor) -> Tensor:
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    return _sample([[cos, -sin, zero], [sin, cos, zero]], images)


OPS = {
    "brightness": _brightness,
    "saturation": _saturation,
    "contrast": _contrast,
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
