"""How the images of a set are stored and updated, as a choice of a recipe."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import optax

from jaxdd.errors import UserError
from jaxdd.fields import Choice, Misfit, option, variant
from jaxdd.primitives.horizons import last_step
from jaxdd.synthetic.crops import Crops
from jaxdd.synthetic.decoder import INPUT
from jaxdd.synthetic.formation import KINDS, Formation
from jaxdd.synthetic.initial import INITIALS
from jaxdd.synthetic.optimizer import (
    LAMB,
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    AdaBelief,
    Adam,
    AdamW,
    clip_by_running_norm,
    scheduled,
)
from jaxdd.types import Space

SPACES = ("input", "pixels")
CLIPPINGS = ("network", "step", "update")
# Whatever else --init is given is the path of a set.
INITIAL_CHOICES = (
    f"choose one of {', '.join(INITIALS)}, or give the path of a distilled.npz"
)


@dataclass(frozen=True)
class Images(Choice):
    """How images are stored, where they start, and how they are updated.

    Attributes:
        init: "noise", "real", "correct" (images that an expert gets right, DATM),
            "crops" of real images that a teacher chooses (RDED), or the path of a
            distilled set.
        crops: how those are cut and chosen.
        lr: learning rate of the images.
        optimizer: how they are updated.
        schedule: of the rate, "constant", a "cosine" to a tenth of it (FRePo), or
            "annealed", a cosine to 0 (SRe2L).
        horizon: the update at which the cosine ends; None for the last one of the
            published run.
        clip: a gradient may be as many times longer than the gradients so far
            (RaT-BPTT); 0 for no bound.
        space: where images are stored: in the "input" space of the network, or as
            "pixels", which are clipped to [0, 1].
        clipping: when they are: whenever a "network" is new (IDC), before every "step"
            (M3D), or after every "update" (SRe2L); the last is also for images that are
            stored as inputs.
        factor, formation: tiles in a stored image, see `Formation`.
        gate: the largest matching loss that still updates anything (DATM); 0 for none.
        ema_decay: decay of the moving average of the images, which then is the result
            (FTD); 0 for none.
        ema_of: what is averaged: the "images" (FTD), or "all", with labels that are
            learned (RCIG).
    """

    subject: ClassVar[str] = "the images"

    init: str = option(
        "real",
        f"images that the run begins at: {', '.join(INITIALS)} (real ones that an "
        "expert classifies correctly; crops that a teacher chooses), or the path of a "
        "distilled.npz",
    )
    crops: Crops = field(default_factory=Crops)
    lr: float = option(
        0.1,
        "learning rate of the synthetic images",
        flag="image_lr",
        above=0,
        often=True,
    )
    optimizer: SGD | Adam | AdamW | LAMB | AdaBelief = variant(
        SGD(),
        f"optimiser of the synthetic images: {', '.join(OPTIMIZERS)}",
        "image_optimizer",
        OPTIMIZERS,
    )
    schedule: str = option(
        "constant",
        "learning rate of the synthetic images over the run: constant, or falling like "
        "a cosine to a tenth (cosine) or to 0 (annealed)",
        flag="image_schedule",
        choices=SCHEDULES,
    )
    horizon: int | None = option(
        None,
        "update at which the cosine of --image_schedule=cosine ends; default: the last "
        "one of the published run",
        flag="image_horizon",
        above=0,
    )
    clip: float = option(
        0.0,
        "how many times longer than the gradients so far a gradient of the images may "
        "be before it is scaled down; 0 for no bound",
        flag="image_clip",
        at_least=0,
    )
    space: str = option(
        "input",
        "form in which images are stored: as the network sees them (input), or as "
        "pixels that are clipped to [0, 1] (pixels)",
        choices=SPACES,
    )
    clipping: str = option(
        "network",
        "when stored pixels are clipped to [0, 1]: whenever a network is new "
        "(network), before every update (step), or after it (update), the last also "
        "where images are stored as the network sees them",
        choices=CLIPPINGS,
    )
    factor: int = option(
        1,
        "number of tiles along each side of a stored image (IDC); 1 for whole images",
        above=0,
    )
    formation: str = option(
        "single",
        "training images that a stored image becomes: its tiles (single), those "
        "of all factors up to --factor (multi), or of the largest factors that "
        "keep a class within --batch_syn (bound)",
        choices=KINDS,
    )
    gate: float = option(
        0.0,
        "largest matching loss with which images and labels are still updated; 0 "
        "for no bound",
        at_least=0,
    )
    ema_decay: float = option(
        0.0,
        "decay of the moving average of the images, which is then the result; 0 "
        "for no average",
        at_least=0,
        below=1,
    )

    ema_of: str = option(
        "images",
        "what the moving average is taken of: the images alone (images), or the labels "
        "too, without a weight for where they started (all)",
        choices=("images", "all"),
        beside={"ema_decay": None},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon is not None and self.schedule == "constant":
            raise Misfit(
                self,
                "{horizon=} is where a cosine ends, and the rate is constant: add "
                "{schedule=cosine}, or leave it out",
            )

    def with_horizon(self, horizon: int) -> "Images":
        """The same with a cosine that ends at update `horizon` where none is set."""
        if self.schedule == "constant" or self.horizon is not None:
            return self
        return replace(self, horizon=horizon)

    @property
    def sgd(self) -> SGD:
        """The optimiser of a method that updates its images by SGD."""
        assert isinstance(self.optimizer, SGD)
        return self.optimizer

    def updating(self, rate: float) -> optax.GradientTransformation:
        """The optimiser at a rate, with its schedule, but without the clipping."""
        schedule = scheduled(self.schedule, rate, last_step(self.horizon))
        return self.optimizer.make(schedule)

    def updates(self) -> optax.GradientTransformation:
        """The optimiser of the images."""
        optimizer = self.updating(self.lr)
        if not self.clip:
            return optimizer
        return optax.chain(clip_by_running_norm(self.clip), optimizer)

    def forming(self, limit: int | None) -> Formation:
        """How many training images a stored image becomes.

        Args:
            limit: images per class that a match is shown; None for 128.
        """
        return Formation(self.factor, self.formation, limit or 128)

    def stored_in(self, pixels: Space | None) -> Space:
        """The space in which images are stored.

        Raises:
            UserError: pixels are asked for and their space is not known.
        """
        if self.space == "input":
            return INPUT
        if pixels is None:
            raise UserError(
                "storing pixels needs the space of the data's preprocessing"
            )
        return pixels
