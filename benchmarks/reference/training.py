"""First-order work in PyTorch: training, gradient norms, experts one after another."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.reference import augment, network
from benchmarks.reference.augment import Groups
from benchmarks.reference.network import Parameters


class Trainer:
    """SGD on the parameters of one network, which are changed in place."""

    def __init__(
        self, params: Parameters, rate: float, momentum: float = 0, decay: float = 0
    ):
        self.params = [x.detach().clone().requires_grad_() for x in params]
        self.optimizer = torch.optim.SGD(
            self.params, rate, momentum=momentum, weight_decay=decay
        )

    def step(
        self,
        images: Tensor,
        labels: Tensor,
        others: Tensor | None = None,
        share: float = 1.0,
    ) -> None:
        """One minibatch; with `others` a part of the loss is that of other labels."""
        out = network.logits(self.params, images)
        loss = F.cross_entropy(out, labels)
        if others is not None:
            loss = share * loss + (1 - share) * F.cross_entropy(out, others)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def training_step(params: Parameters, images: Tensor, labels: Tensor, rate: float):
    """A side that takes one step after the other on one whole batch."""
    trainer = Trainer(params, rate)

    def side() -> None:
        trainer.step(images, labels)
        network.finish()

    return side


def per_sample_norms(params: Parameters, images: Tensor, labels: Tensor) -> Tensor:
    """Norm of the gradient of every image, one after the other, [B]."""
    params = [x.detach().requires_grad_() for x in params]
    norms = []
    for i in range(len(images)):
        loss = network.loss(params, images[i : i + 1], labels[i : i + 1])
        gradient = torch.autograd.grad(loss, params)
        norms.append(network.flatten(gradient).norm())
    stacked = torch.stack(norms)
    network.finish()
    return stacked


def epoch(
    trainer: Trainer, images: Tensor, labels: Tensor, size: int, groups: Groups
) -> None:
    """One pass in random order; a minibatch's images are augmented on their own."""
    for rows in torch.randperm(len(images), device=images.device).split(size):
        shown = images[rows]
        draws = augment.random_draws(groups, shown, shared=False)
        trainer.step(augment.apply(draws, shown), labels[rows])


def experts(
    networks: Sequence[Parameters],
    data: tuple[Tensor, Tensor],
    rate: float,
    size: int,
    groups: Groups,
):
    """A side that trains networks for one more epoch, one after another."""
    trainers = [Trainer(params, rate) for params in networks]

    def side() -> None:
        for trainer in trainers:
            epoch(trainer, *data, size, groups)
        network.finish()

    return side


def cutmix(images: Tensor, labels: Tensor, probability: float):
    """(images, labels of what was pasted, share of the area that stayed)."""
    if torch.rand(()) >= probability:
        return images, labels, 1.0
    height, width = images.shape[2:]
    side = float((1 - torch.rand(())).sqrt())
    half = int(height * side) // 2, int(width * side) // 2
    middle = int(torch.randint(height, ())), int(torch.randint(width, ()))
    top, left = (max(m - h, 0) for m, h in zip(middle, half, strict=True))
    below, right = middle[0] + half[0], middle[1] + half[1]
    order = torch.randperm(len(images), device=images.device)
    mixed = images.clone()
    mixed[:, :, top:below, left:right] = images[order, :, top:below, left:right]
    area = (min(below, height) - top) * (min(right, width) - left)
    return mixed, labels[order], 1 - area / (height * width)
