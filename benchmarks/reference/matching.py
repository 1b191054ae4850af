"""DSA, DM and IDC in PyTorch: a Python loop over classes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parts.cases import PIXEL_MEAN, PIXEL_STD, Case
from benchmarks.reference import augment, network
from benchmarks.reference.augment import Draw, Groups
from benchmarks.reference.network import Parameters
from benchmarks.reference.training import Trainer, cutmix, epoch
from jaxdd.augment.named import MIXED
from jaxdd.learners.pools import Pool, RealPool, TrainedBetween
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.primitives.trees import named_leaves
from jaxdd.synthetic.images import Images

TRAINED_BATCH = 256  # of a network's training on the synthetic set
EPSILON = 1e-6


class ClassDraw(NamedTuple):
    """What is random in the match of one class."""

    real: Tensor  # [B, C, H, W]
    draws: Sequence[Draw]  # shared by real and synthetic images
    rows: Tensor | None = None  # which synthetic images; None for all


def distance(
    objective: GradientMatching, real: Sequence[Tensor], made: Sequence[Tensor]
) -> Tensor:
    """Between two gradients, tensor by tensor."""
    total = torch.zeros((), dtype=real[0].dtype, device=real[0].device)
    for g, h in zip(real, made, strict=True):
        if objective.tensors == "kernels" and g.ndim < 4:
            continue
        if objective.distance == "mse":
            total = total + ((h - g) ** 2).sum()
        elif objective.distance == "l1":
            total = total + (h - g).abs().sum()
        elif g.ndim > 1:
            g, h = g.flatten(1), h.flatten(1)
            norms = g.norm(dim=1) * h.norm(dim=1)
            total = total + (1 - (g * h).sum(1) / (norms + EPSILON)).sum()
    return total


def decode(images: Tensor, stored: Images) -> Tensor:
    """Stored images to training images: tiles, enlarged and normalised."""
    factor = stored.factor
    if factor > 1:
        height, width = images.shape[2:]
        rows, columns = -(-height // factor), -(-width // factor)
        padding = [0, columns * factor - width, 0, rows * factor - height]
        grey = PIXEL_MEAN if stored.space == "pixels" else 0.0
        padded = F.pad(images, padding, value=grey)
        tiles = [
            padded[:, :, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            for i in range(factor)
            for j in range(factor)
        ]
        images = F.interpolate(
            torch.cat(tiles),
            size=(height, width),
            mode="bilinear",
            align_corners=False,
        )
    if stored.space == "pixels":
        images = (images - PIXEL_MEAN) / PIXEL_STD
    return images


class Matching:
    """A synthetic set that is matched class by class.

    Args:
        case: of "dsa", "dm" or "idc".
        groups: operations of the match.
        trained: operations of the network's training between matches.
    """

    def __init__(self, case: Case, groups: Groups, trained: Groups):
        network.use_all_cores()
        torch.manual_seed(0)
        self.groups, self.trained = groups, trained
        objective, self.learner = case.recipe.objective, case.recipe.learner
        assert isinstance(objective, SampleMatching)
        self.objective, self.stored = objective, case.recipe.images
        self.images = network.channels_first(case.state.codes.images).requires_grad_()
        full = case.inputs.real
        real = network.channels_first(full.images)
        self.real = torch.stack([real[row] for row in network.tensor(full.table)])
        self.optimizer = torch.optim.SGD(
            [self.images], self.stored.lr, momentum=self.stored.sgd.momentum
        )
        self._start(network.parameters(named_leaves(case.params)))

    def _start(self, params: Parameters) -> None:
        learner, rates = self.learner, (0.0, 0.0, 0.0)
        if isinstance(learner, TrainedBetween):
            rates = learner.network_lr, learner.network_momentum, learner.network_decay
        self.trainer = Trainer(params, *rates)

    @property
    def params(self) -> Parameters:
        return self.trainer.params

    def draw(self, k: int) -> ClassDraw:
        """Real images and augmentation of a class, by torch's own random numbers."""
        at, real = self.real.device, self.real[k]
        rows = torch.randperm(len(real), device=at)[: self.objective.batch_real]
        draws = augment.random_draws(self.groups, real, shared=True)
        made = self.images.shape[1] * self.stored.factor**2
        limit = self.objective.batch_syn or made
        some = torch.randperm(made, device=at)[:limit] if limit < made else None
        return ClassDraw(real[rows], draws, some)

    def class_loss(self, k: int, drawn: ClassDraw) -> Tensor:
        """The match of one class, with the graph back to its images."""
        made = decode(self.images[k], self.stored)
        if drawn.rows is not None:
            made = made[drawn.rows]
        seen = augment.apply(drawn.draws, drawn.real)
        made = augment.apply(drawn.draws, made)
        if isinstance(self.objective, FeatureMatching):
            with torch.no_grad():
                target = network.features(self.params, seen).mean(0)
            reached = network.features(self.params, made).mean(0)
            return ((reached - target) ** 2).sum()
        assert isinstance(self.objective, GradientMatching)
        return distance(
            self.objective, self.real_gradient(k, seen), self.made_gradient(k, made)
        )

    def real_gradient(self, k: int, images: Tensor) -> list[Tensor]:
        loss = network.loss(self.params, images, self._labels(k, images))
        return [g.detach() for g in torch.autograd.grad(loss, self.params)]

    def made_gradient(self, k: int, images: Tensor) -> Sequence[Tensor]:
        loss = network.loss(self.params, images, self._labels(k, images))
        return torch.autograd.grad(loss, self.params, create_graph=True)

    def _labels(self, k: int, images: Tensor) -> Tensor:
        return torch.full((len(images),), k, device=images.device)

    def loss_and_gradient(
        self, drawn: Sequence[ClassDraw]
    ) -> tuple[float, dict[str, np.ndarray]]:
        """The sum over classes and its gradient, [K, n, H, W, C]."""
        loss = sum(self.class_loss(k, d) for k, d in enumerate(drawn))
        assert isinstance(loss, Tensor)
        (gradient,) = torch.autograd.grad(loss, [self.images])
        return float(loss.detach()), {"images": network.channels_last(gradient)}

    def step(self) -> None:
        """One update of the images of all classes, then what trains the network."""
        if self.learner.matches == 1:
            self._start(network.fresh(self.params))
        if self.stored.sgd.order == "sequential":
            for k in range(len(self.images)):
                self._update(self.class_loss(k, self.draw(k)))
        else:
            losses = [self.class_loss(k, self.draw(k)) for k in range(len(self.images))]
            self._update(torch.stack(losses).sum())
        if self.learner.matches > 1:
            self.train()
        network.finish()

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward(inputs=[self.images])
        self.optimizer.step()

    def train(self) -> None:
        """What comes between two matches of one network."""
        learner = self.learner
        if isinstance(learner, Pool):
            images = self.images.detach().flatten(0, 1)
            labels = self._classes(self.images.shape[1])
            for _ in range(learner.inner_epochs):
                epoch(self.trainer, images, labels, TRAINED_BATCH, self.trained)
            return
        assert isinstance(learner, RealPool)
        for images, labels in self._minibatches(learner):
            draws = augment.random_draws(self.trained, images, shared=False)
            images = augment.apply(draws, images)
            name = learner.augmentation or ""
            share = float(name.partition(MIXED)[2] or 0)
            images, others, stayed = cutmix(images, labels, share)
            self.trainer.step(images, labels, others, stayed)

    def _classes(self, count: int) -> Tensor:
        classes = torch.arange(len(self.images), device=self.images.device)
        return classes.repeat_interleave(count)

    def _minibatches(self, learner: RealPool) -> Iterator[tuple[Tensor, Tensor]]:
        images = self.real.flatten(0, 1)
        labels = self._classes(self.real.shape[1])
        size = learner.batch
        for _ in range(-(-learner.samples // size)):
            rows = torch.randperm(len(images), device=images.device)[:size]
            yield images[rows], labels[rows]
