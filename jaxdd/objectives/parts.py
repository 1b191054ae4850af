"""What the modifiers of a recipe hand to its objective."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxdd.modifiers.forgetting import Forgetting
from jaxdd.modifiers.masks import Masking
from jaxdd.modifiers.terms import WeightedTerm
from jaxdd.synthetic.labels import LOSS_OF


class Parts(NamedTuple):
    """What the modifiers of a recipe hand to its objective.

    Attributes:
        terms: additive penalties by name.
        mask: which entries are matched, None for all.
        remember: the term against forgetting, None without one.
        microbatch: chunk length of gradients over a batch; None for the whole batch.
        matches: steps per network of the learner.
        along_path: whether a term needs gradient norms along a student.
        longest: the most steps of a student's window that the learner source draws;
            None where it draws none.
        label_space: what the labels of the set are, see `synthetic.labels`.
    """

    terms: Mapping[str, WeightedTerm] = {}
    mask: Masking | None = None
    remember: Forgetting | None = None
    microbatch: int | None = None
    matches: int = 1
    along_path: bool = False
    longest: int | None = None
    label_space: str = "probabilities"

    @property
    def as_targets(self) -> bool:
        """Whether labels are targets of a regression, not probabilities."""
        return self.label_space == "targets"

    @property
    def loss(self) -> str:
        """The loss of a network on the set, a name in `primitives.losses.LOSSES`."""
        return LOSS_OF[self.label_space]


class Offered(Parts):
    """Parts that remember which modifiers an objective has looked at.

    By whatever way: an attribute, an index or all of them at once, of these parts or of
    a copy with other values.
    """

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names in `MODIFIERS` of what is there and was not looked at."""
        there = dict(zip(self._fields, tuple.__iter__(self), strict=True))
        return tuple(x for x in MODIFIERS if there[x] and x not in self._seen)

    @property
    def _seen(self) -> set[str]:
        return self.__dict__.setdefault("seen", set())

    def __getattribute__(self, name: str) -> Any:
        if name in MODIFIERS:
            self._seen.add(name)
        return super().__getattribute__(name)

    def __getitem__(self, index: Any) -> Any:
        names = self._fields[index]
        self._seen.update([names] if isinstance(names, str) else names)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        self._seen.update(self._fields)
        return super().__iter__()

    def _replace(self, **changes: Any) -> "Offered":
        values = dict(zip(self._fields, tuple.__iter__(self), strict=True))
        copy = Offered(**(values | changes))
        copy.__dict__["seen"] = self._seen
        return copy


# The parts that modifiers make, and the flags that ask for them.
MODIFIERS = {
    "terms": "--sdc_weight",
    "mask": "--mask_ratio",
    "remember": "--forgetting",
    "along_path": "--sdc_at=path",
}
