"""MTT and TESLA in PyTorch: a student whose steps are unrolled in Python."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.parts.cases import Case
from benchmarks.reference import augment, network
from benchmarks.reference.augment import Draw, Groups
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.primitives.trees import named_leaves

STEP_SIZE_MOMENTUM = 0.5


class StepDraw(NamedTuple):
    """What is random in one student step."""

    rows: Tensor  # [B] which images
    draws: Sequence[Draw]  # of every image on its own


class Trajectory:
    """A synthetic set and a step size that lead a student along an expert's path.

    Args:
        case: of "mtt" or "tesla".
        groups: operations of the student's augmentation.
    """

    def __init__(self, case: Case, groups: Groups):
        network.use_all_cores()
        torch.manual_seed(0)
        codes, span = case.state.codes, case.inputs.span
        assert span is not None
        objective = case.recipe.objective
        assert isinstance(objective, TrajectoryMatching)
        self.groups, self.objective = groups, objective
        stored = case.recipe.images
        self.shape = codes.images.shape
        self.images = network.channels_first(codes.images).flatten(0, 1)
        self.images.requires_grad_()
        self.rate = network.tensor(codes.step_size).requires_grad_()
        classes = torch.arange(self.shape[0], device=self.images.device)
        self.labels = classes.repeat_interleave(self.shape[1])
        self.like = network.parameters(named_leaves(span.start))
        self.start = network.flatten(self.like)
        target = network.parameters(named_leaves(span.target))
        self.target = network.flatten(target)
        self.optimizers = [
            torch.optim.SGD([self.images], stored.lr, momentum=stored.sgd.momentum),
            torch.optim.SGD(
                [self.rate], self.objective.step_size_lr, momentum=STEP_SIZE_MOMENTUM
            ),
        ]

    def random_draws(self) -> list[StepDraw]:
        """Minibatches and augmentations of a student, by torch's random numbers."""
        total = len(self.images)
        size = min(self.objective.batch_syn or total, total)
        left: list[Tensor] = []
        steps = []
        for _ in range(self.objective.student_steps):
            if not left:
                order = torch.randperm(total, device=self.images.device)
                left = list(order.split(size))
            rows = left.pop(0)
            shown = self.images[rows]
            draws = augment.random_draws(self.groups, shown, shared=False)
            steps.append(StepDraw(rows, draws))
        return steps

    def _shown(self, drawn: StepDraw) -> Tensor:
        return augment.apply(drawn.draws, self.images[drawn.rows])

    def _student_loss(self, flat: Tensor, images: Tensor, drawn: StepDraw) -> Tensor:
        params = network.unflatten(flat, self.like)
        return network.loss(params, images, self.labels[drawn.rows])

    def unrolled(self, drawn: Sequence[StepDraw]) -> Tensor:
        """MTT: the loss, with the graph of all student steps."""
        path = [self.start.clone().requires_grad_()]
        for one in drawn:
            loss = self._student_loss(path[-1], self._shown(one), one)
            (gradient,) = torch.autograd.grad(loss, [path[-1]], create_graph=True)
            path.append(path[-1] - self.rate * gradient)
        missed = ((path[-1] - self.target) ** 2).sum()
        return missed / ((self.start - self.target) ** 2).sum()

    def two_passes(self, drawn: Sequence[StepDraw]) -> tuple[Tensor, Tensor, Tensor]:
        """TESLA: loss and gradients w.r.t. images and step size.

        The first pass trains the student and keeps where it was and what it saw. In the
        second every step is differentiated by itself, along one vector for all.
        """
        shown = [self._shown(one) for one in drawn]
        rate = self.rate.detach()
        path, total = [self.start], torch.zeros_like(self.start)
        for images, one in zip(shown, drawn, strict=True):
            flat = path[-1].clone().requires_grad_()
            loss = self._student_loss(flat, images.detach(), one)
            (gradient,) = torch.autograd.grad(loss, [flat])
            total += gradient
            path.append(path[-1] - rate * gradient)
        missed = path[-1] - self.target
        begun = ((self.start - self.target) ** 2).sum()
        along = -2 * rate / begun * missed
        by_images = torch.zeros_like(self.images)
        for place, images, one in zip(path[:-1], shown, drawn, strict=True):
            flat = place.clone().requires_grad_()
            loss = self._student_loss(flat, images, one)
            (gradient,) = torch.autograd.grad(loss, [flat], create_graph=True)
            (part,) = torch.autograd.grad((along * gradient).sum(), [self.images])
            by_images += part
        by_rate = -2 / begun * (total * missed).sum()
        return (missed**2).sum() / begun, by_images, by_rate

    def gradients(self, drawn: Sequence[StepDraw]) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, by images, by step size)."""
        if self.objective.gradient == "truncated":
            return self.two_passes(drawn)
        loss = self.unrolled(drawn)
        by_images, by_rate = torch.autograd.grad(loss, [self.images, self.rate])
        return loss, by_images, by_rate

    def loss_and_gradient(
        self, drawn: Sequence[StepDraw]
    ) -> tuple[float, dict[str, np.ndarray]]:
        """The loss and its gradients, the images' as [K, n, H, W, C]."""
        loss, by_images, by_rate = self.gradients(drawn)
        images = network.channels_last(by_images).reshape(self.shape)
        return float(loss.detach()), {
            "images": images,
            "step_size": by_rate.detach().cpu().numpy(),
        }

    def step(self) -> None:
        """One update of the images and the step size."""
        _, self.images.grad, self.rate.grad = self.gradients(self.random_draws())
        for optimizer in self.optimizers:
            optimizer.step()
        network.finish()
