"""How the features of one class's samples are compared: the distances of a match.

Each distance is a choice with fields of its own. It says what of a network's outputs is
compared, `describe`, and how far two samples are apart, `compare`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.fields import Choice, Misfit, option
from jaxdd.modifiers.masks import Masking
from jaxdd.primitives.samples import (
    KERNELS,
    attention,
    characteristic_distance,
    squared_mmd,
    unit_rows,
)
from jaxdd.primitives.trees import apply_mask
from jaxdd.types import Array, Key, Outputs, Scalar


class Sample(NamedTuple):
    """What is known of some images of a class.

    Attributes:
        rows: what is compared, [n, F] in each leaf, by the name of its block.
        weights: [n], the mass of the labels: 0 for padding.
    """

    rows: Any
    weights: Array


def _chosen(outputs: Outputs, features: str) -> dict[str, Array]:
    """The features of the last block, or of all, by block."""
    first = 0 if features == "all" else len(outputs.features) - 1
    return {f"block{i}": x for i, x in enumerate(outputs.features) if i >= first}


def mean_rows(sample: Sample) -> Any:
    """The weighted means of a sample's rows, [F] in each leaf."""
    mass = jnp.sum(sample.weights)

    def mean(x: Array) -> Array:
        return sample.weights @ x / jnp.where(mass > 0, mass, 1)

    return jax.tree.map(mean, sample.rows)


def _squares(synthetic: Sample, real: Sample) -> Any:
    """Squared differences of the means of two samples."""
    return jax.tree.map(
        lambda a, b: (a - b) ** 2, mean_rows(synthetic), mean_rows(real)
    )


def _summed(squares: Any, mask: Masking | None) -> Scalar:
    """The sum of the squares that a mask keeps."""
    if mask is not None:
        squares = apply_mask(mask(squares), squares)
    return jnp.sum(jnp.stack([jnp.sum(x) for x in jax.tree.leaves(squares)]))


def _kept(synthetic: Sample, real: Sample, mask: Masking | None) -> tuple[list, list]:
    """The rows of both samples, with zeros where a mask drops a feature.

    The features are chosen by the squared differences of the means.
    """
    rows = synthetic.rows, real.rows
    if mask is not None:
        keep = mask(_squares(synthetic, real))
        columns = jax.tree.map(lambda m: m[None], keep)
        rows = apply_mask(columns, rows[0]), apply_mask(columns, rows[1])
    return jax.tree.leaves(rows[0]), jax.tree.leaves(rows[1])


@dataclass(frozen=True)
class Means(Choice):
    """The squared distance of the means, summed over features (DM).

    Zhao, Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, eq. (4).
    """

    name: ClassVar[str] = "means"

    def describe(self, outputs: Outputs, features: str) -> Any:
        """The features, by block."""
        return _chosen(outputs, features)

    def compare(
        self, key: Key, synthetic: Sample, real: Sample, mask: Masking | None
    ) -> Scalar:
        """The distance; nothing is drawn."""
        del key
        return _summed(_squares(synthetic, real), mask)


@dataclass(frozen=True)
class MMD(Choice):
    """The squared maximum mean discrepancy, summed over blocks (M3D).

    Zhang et al., "M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy",
    AAAI 2024; see `primitives.samples.squared_mmd`.

    Attributes:
        kernel: a name in `primitives.samples.KERNELS`.
    """

    name: ClassVar[str] = "mmd"
    subject: ClassVar[str] = "the kernel of a feature distance"
    remedy: ClassVar[str] = "add --feature_distance=mmd, or leave it out"

    kernel: str = option(
        "gaussian",
        "kernel by which the features of real and synthetic samples are compared: "
        "gaussian (five bandwidths that follow from the features), linear (as good as "
        "comparing means) or polynomial (of degree 2)",
        choices=KERNELS,
    )

    def describe(self, outputs: Outputs, features: str) -> Any:
        """The features, by block."""
        return _chosen(outputs, features)

    def compare(
        self, key: Key, synthetic: Sample, real: Sample, mask: Masking | None
    ) -> Scalar:
        """The distance; nothing is drawn."""
        del key
        kernel = KERNELS[self.kernel]
        values = [
            squared_mmd(kernel, x, y, synthetic.weights, real.weights)
            for x, y in zip(*_kept(synthetic, real, mask), strict=True)
        ]
        return jnp.sum(jnp.stack(values))


@dataclass(frozen=True)
class CharacteristicFunction(Choice):
    """The distance of characteristic functions, summed over blocks (NCFM's core).

    Wang et al., "Dataset Distillation with Neural Characteristic Function", CVPR 2025,
    official code, whose network of frequencies is off in every published setting:
    frequencies are normal, new for every class and step. See
    `primitives.samples.characteristic_distance`.

    Attributes:
        frequencies: their number.
        amplitude, phase: weights of the moduli and of the angles.
        scale: factor of the distance.
        normalize: whether the features of a sample are divided by their norm, so that
            the spread of the frequencies suits every network.
    """

    name: ClassVar[str] = "cf"
    subject: ClassVar[str] = "characteristic functions of features"
    remedy: ClassVar[str] = "add --feature_distance=cf, or leave it out"

    frequencies: int = option(
        4096,
        "frequencies at which the characteristic functions of features are compared",
        flag="cf_frequencies",
        above=0,
    )
    amplitude: float = option(
        0.5,
        "weight of the amplitudes of characteristic functions (how diverse samples "
        "are) in their distance",
        flag="cf_amplitude",
        at_least=0,
    )
    phase: float = option(
        0.5,
        "weight of the phases of characteristic functions (how typical samples are) "
        "in their distance",
        flag="cf_phase",
        at_least=0,
    )
    scale: float = option(
        300.0,
        "factor of the distance of characteristic functions",
        flag="cf_scale",
        above=0,
    )
    normalize: bool = option(
        True,
        "whether the features of each sample are divided by their norm before "
        "characteristic functions are compared",
        flag="cf_normalize",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.amplitude == self.phase == 0:
            raise Misfit(
                self,
                "{amplitude=0} and {phase=0} leave nothing to be matched: give one of "
                "them a positive weight",
            )

    def describe(self, outputs: Outputs, features: str) -> Any:
        """The features, by block; a mask acts before their norm is taken."""
        return _chosen(outputs, features)

    def compare(
        self, key: Key, synthetic: Sample, real: Sample, mask: Masking | None
    ) -> Scalar:
        """The distance at frequencies that the key draws."""
        pairs = zip(*_kept(synthetic, real, mask), strict=True)
        prepare = unit_rows if self.normalize else lambda rows: rows
        values = []
        for i, (x, y) in enumerate(pairs):
            shape = self.frequencies, x.shape[-1]
            drawn = jax.random.normal(jax.random.fold_in(key, i), shape, x.dtype)
            values.append(
                characteristic_distance(
                    drawn, prepare(x), prepare(y), synthetic.weights, real.weights,
                    self.amplitude, self.phase,
                )
            )  # fmt: skip
        return self.scale * jnp.sum(jnp.stack(values))


@dataclass(frozen=True)
class Attention(Choice):
    """Squared distances of mean attention maps, and of mean features (DataDAM).

    Sajedi, Khaki et al., "DataDAM: Efficient Dataset Distillation with Attention
    Matching", ICCV 2023, eq. (2) to (5): of every block but the last the attention map
    before pooling, and the features as in DM with a small weight. As in the official
    code, the features are those before the head. The paper has the power 4; the
    script of its code passes 1.

    Attributes:
        power: of the activations.
        scale: factor of both parts.
        features: weight of the features beside the maps (lambda).
    """

    name: ClassVar[str] = "attention"
    subject: ClassVar[str] = "attention maps"
    remedy: ClassVar[str] = "add --feature_distance=attention, or leave it out"

    power: int = option(
        4,
        "power of the activations whose sum over channels is an attention map",
        flag="attention_power",
        above=0,
    )
    scale: float = option(
        100.0,
        "factor of the distances of attention maps and of features beside them",
        flag="attention_scale",
        above=0,
    )
    features: float = option(
        0.01,
        "weight of the features of the network beside its attention maps",
        flag="attention_features",
        at_least=0,
    )

    def describe(self, outputs: Outputs, features: str) -> Any:
        """Attention maps of all blocks but the last, and the chosen features.

        Raises:
            UserError: the network has no such maps.
        """
        if len(outputs.maps) < 2:
            raise UserError(
                "matching attention needs a network with at least two blocks of maps "
                "(Outputs.maps), which those of vectors have not: on images and "
                "sequences use a ConvNet with --depth=2 or more"
            )
        rows: dict[str, dict[str, Array]] = {}
        for i, x in enumerate(outputs.maps[:-1]):
            rows[f"block{i}"] = {"attention": attention(x, self.power)}
        for block, x in _chosen(outputs, features).items():
            rows.setdefault(block, {})["features"] = x
        return rows

    def compare(
        self, key: Key, synthetic: Sample, real: Sample, mask: Masking | None
    ) -> Scalar:
        """The distance; nothing is drawn."""
        del key
        weights = {"attention": 1.0, "features": self.features}
        weighted = {
            block: {kind: weights[kind] * x for kind, x in parts.items()}
            for block, parts in _squares(synthetic, real).items()
        }
        return self.scale * _summed(weighted, mask)


FeatureDistance = Means | MMD | CharacteristicFunction | Attention
FEATURE_DISTANCES: dict[str, type] = {
    kind.name: kind for kind in (Means, MMD, CharacteristicFunction, Attention)
}
