"""Bases of objectives, of the library's and of yours: what those of a kind share."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from jaxdd.fields import Choice, option
from jaxdd.objectives.capabilities import Sizes
from jaxdd.objectives.sampling import Sampling
from jaxdd.objectives.shapes import parameters_of
from jaxdd.types import Network

AUGMENTATION = (
    "augmentation of the match, operations joined by _ such as color_flip, or none"
)


@dataclass(frozen=True)
class MixedMatching(Choice):
    """Base of the objectives whose real batch mixes all classes.

    Attributes:
        augmentation: of real and synthetic samples, see `augment.pipeline`.
        batch_mixed: real samples of a step, of all classes together.
    """

    augmentation: str = option("none", AUGMENTATION)
    batch_mixed: int = option(
        1024, "real samples of all classes together in a step", above=0
    )

    def for_sizes(self, sizes: Sizes, given: Collection[str]) -> "MixedMatching":
        """The same with no more samples than there are, see `FitsData`."""
        del given
        return replace(self, batch_mixed=min(self.batch_mixed, sizes.samples))

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what a mask chooses from: all parameters."""
        del image_shape
        return parameters_of(network)


@dataclass(frozen=True)
class SampleMatching(Choice):
    """Base of the objectives that match batches of real samples.

    Attributes:
        augmentation: of the match, Siamese between real and synthetic samples; see
            `augment.pipeline`.
        batch_real: real samples per class and step.
        batch_syn: synthetic images per class and match; None for all.
        sampling: how real samples are drawn: "independent", anew in every step, or in
            "passes" over a class, each in a new random order (IDC).
    """

    augmentation: str = option("none", AUGMENTATION)
    batch_real: int = option(
        256,
        "real samples of each class in a match",
        above=0,
        about="matching real samples",
    )
    batch_syn: int | None = option(
        None,
        "synthetic images in a step of a student, or of a class in a match; "
        "default: all",
        above=0,
    )
    sampling: str = option(
        "independent",
        "how the real samples of a match are drawn: anew in every step "
        "(independent), or in passes over each class (passes)",
        choices=("independent", "passes"),
        about="matching real samples",
    )

    def samples(self) -> Sampling:
        """How many samples of a class a match is shown."""
        return Sampling(self.batch_real, self.batch_syn)

    def for_sizes(self, sizes: Sizes, given: Collection[str]) -> "SampleMatching":
        """The same with no more samples than the largest class has, see `FitsData`."""
        del given
        return replace(self, batch_real=min(self.batch_real, sizes.largest_class))

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared: gradients of all parameters."""
        del image_shape
        return parameters_of(network)
