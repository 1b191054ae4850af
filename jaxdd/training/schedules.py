"""The official evaluations: their schedules, and how a set is measured."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxdd.fields import Choice, Misfit, option
from jaxdd.primitives.losses import LOSSES
from jaxdd.training.fit import OPTIMIZERS, Training

# Fewer random subsets than this say little: they differ far more than networks do (on
# digits at one image per class the standard deviation is 5 points against 0.5).
MIN_RANDOM = 5


def _base(epochs: int, learning_rate: float, batch_size: int) -> Training:
    return Training(
        epochs,
        learning_rate,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=batch_size,
    )


def dc_schedule(epochs: int, learning_rate: float, batch_size: int) -> Training:
    """DC's: E + 1 epochs of SGD, one decay to a tenth, a new optimiser there."""
    return dataclasses.replace(
        _base(epochs, learning_rate, batch_size),
        epochs=epochs + 1,
        decay_epochs=(epochs // 2 + 2,),
        reset_momentum=True,
    )


def idc_schedule(epochs: int, learning_rate: float, batch_size: int) -> Training:
    """IDC's: E epochs, a decay to a fifth at 2E/3 and at 5E/6."""
    return dataclasses.replace(
        _base(epochs, learning_rate, batch_size),
        decay_epochs=(2 * epochs // 3, 5 * epochs // 6),
        decay=0.2,
    )


def halving_schedule(epochs: int, learning_rate: float, batch_size: int) -> Training:
    """DataDAM's table: E epochs, the learning rate is halved after every 15."""
    return dataclasses.replace(
        _base(epochs, learning_rate, batch_size),
        decay_epochs=tuple(range(15, epochs, 15)),
        decay=0.5,
    )


def fifths_schedule(epochs: int, learning_rate: float, batch_size: int) -> Training:
    """NCFM's: E epochs, the learning rate is halved at every fifth of them."""
    return dataclasses.replace(
        _base(epochs, learning_rate, batch_size),
        decay_epochs=tuple(sorted({k * epochs // 5 for k in range(1, 5)} - {0})),
        decay=0.5,
    )


def cosine_schedule(epochs: int, learning_rate: float, batch_size: int) -> Training:
    """FRePo's: E epochs, a warm-up of 500 updates, then a cosine to a hundredth."""
    base = _base(epochs, learning_rate, batch_size)
    return dataclasses.replace(base, warmup_steps=500, final_share=0.01)


def half_cosine_schedule(
    epochs: int, learning_rate: float, batch_size: int
) -> Training:
    """RDED's: E epochs, the first half of a cosine, update by update (ours)."""
    base = _base(epochs, learning_rate, batch_size)
    return dataclasses.replace(base, final_share=0.0, cosine_span=2.0)


# (E, learning rate at the start, samples per minibatch) -> schedule.
SCHEDULES: Mapping[str, Callable[[int, float, int], Training]] = {
    "dc": dc_schedule,
    "idc": idc_schedule,
    "halving": halving_schedule,
    "fifths": fifths_schedule,
    "cosine": cosine_schedule,
    "half_cosine": half_cosine_schedule,
    "constant": _base,
}
# What PyTorch's optimisers do where nothing is said.
WEIGHT_DECAY = {"adam": 0.0, "adamw": 0.01}


@dataclass(frozen=True)
class EvaluationSpec(Choice):
    """How a set is measured: fresh networks on it, beside random real subsets.

    Attributes:
        networks: fresh networks on the set.
        random_subsets: real subsets of the same size, each with its own network.
        epochs: E of the schedule.
        lr: the learning rate at the start; None for the set's learned step size, or
            0.01 where it learned none.
        batch: samples per minibatch.
        schedule: a name in `SCHEDULES`.
        optimizer: a name in `training.fit.OPTIMIZERS`; SGD has momentum 0.9 and weight
            decay 5e-4, AdamW a decoupled decay of 0.01, Adam none.
        loss: a name in `primitives.losses.LOSSES`.
        temperature: of predictions and labels in the loss.
        augmentation: of the training, see `augment.training`.
    """

    subject: ClassVar[str] = "the evaluation"

    networks: int = option(
        5,
        "number of new networks that are trained on the set to measure its accuracy",
        flag="num_eval",
        above=0,
        often=True,
    )
    random_subsets: int = option(
        10,
        "number of random real subsets of the same size that the set is compared "
        "with, at least 5",
        flag="num_random",
        at_least=MIN_RANDOM,
    )
    epochs: int = option(
        300,
        "epochs of the networks' training in the evaluation; the schedule dc trains "
        "one more, as the official code does",
        flag="eval_epochs",
        above=0,
    )
    lr: float | None = option(
        None,
        "learning rate of the networks' training in the evaluation; default: "
        "0.01, or the learned step size",
        flag="eval_lr",
        above=0,
    )
    batch: int = option(
        256,
        "samples per minibatch of the networks' training in the evaluation",
        flag="eval_batch",
        above=0,
    )
    schedule: str = option(
        "dc",
        "schedule of the learning rate in the evaluation: of DC (dc), of IDC (idc), of "
        "DataDAM (halving), of NCFM (fifths), a warm-up and a cosine (cosine), the "
        "first half of a cosine (half_cosine), or none (constant)",
        flag="eval_schedule",
        choices=SCHEDULES,
    )
    optimizer: str = option(
        "sgd",
        f"optimiser of the networks in the evaluation: {', '.join(OPTIMIZERS)}",
        flag="eval_optimizer",
        choices=OPTIMIZERS,
    )
    loss: str = option(
        "cross_entropy",
        "loss of the networks' training in the evaluation: cross_entropy, the same "
        "with labels of any sum (row_cross_entropy), the squared error (mse), or the "
        "Kullback-Leibler divergence (kl)",
        flag="eval_loss",
        choices=LOSSES,
    )
    temperature: float = option(
        1.0,
        "temperature of predictions and labels in the loss of the evaluation; 1 for "
        "none",
        above=0,
    )
    augmentation: str = option(
        "none",
        "augmentation of the networks' training in the evaluation, or none",
        flag="eval_augmentation",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature != 1 and self.loss == "mse":
            raise Misfit(
                self,
                "{temperature=} softens probabilities, and {loss=} has none: use "
                "{loss=kl}, or leave it out",
            )

    def training(
        self, step_size: float | None = None, epochs: int | None = None
    ) -> Training:
        """The schedule.

        Args:
            step_size: a learned one, which is the rate unless there is another.
            epochs: instead of its own.
        """
        rate = next(x for x in (self.lr, step_size, 0.01) if x is not None)
        schedule = SCHEDULES[self.schedule]
        training = schedule(epochs or self.epochs, rate, self.batch)
        training = dataclasses.replace(
            training, loss=self.loss, temperature=self.temperature
        )
        if self.optimizer == "sgd":
            return training
        return dataclasses.replace(
            training,
            optimizer=self.optimizer,
            momentum=0.0,
            weight_decay=WEIGHT_DECAY[self.optimizer],
        )
