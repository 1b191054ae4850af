"""The result of `jaxdd.evaluate`: accuracies network by network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxdd.report import notebook
from jaxdd.statistics import Statistics
from jaxdd.storage.paths import shown


class ClassAccuracy(NamedTuple):
    """Accuracy in percent class by class, over several networks.

    Attributes:
        balanced: mean over the classes of each network's recall.
        mean: [K]; None for a class without test samples.
        std: [K], population standard deviation; None likewise.
    """

    balanced: Statistics
    mean: tuple[float | None, ...]
    std: tuple[float | None, ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "ClassAccuracy":
        """From the form that it has in `evaluation.json`."""
        balanced = Statistics.of(entry["balanced"])
        return cls(balanced, tuple(entry["mean"]), tuple(entry["std"]))


class Classes(NamedTuple):
    """Accuracy by class of networks on the set, and on random real subsets.

    Attributes:
        names: [K].
        samples: [K], test samples of each class.
        distilled, random: of networks on the set and on random real subsets.
    """

    names: tuple[str, ...]
    samples: tuple[int, ...]
    distilled: ClassAccuracy
    random: ClassAccuracy


@dataclass(frozen=True, eq=False)
class NetworkEvaluation:
    """Accuracies in percent of one architecture.

    Attributes:
        accuracy: of fresh networks that were trained on the set.
        random: of networks that were trained on random real subsets of the same size,
            each on its own.
        stored: accuracy in the artifact, where this is its own network on its own
            test data; else None.
        classes: the same accuracies class by class.
        protocol: all that the accuracies depend on, but for device and versions:
            network, schedule, augmentation, numbers of networks, seed, test data.
    """

    accuracy: Statistics
    random: Statistics
    stored: Statistics | None
    classes: Classes
    protocol: Mapping[str, Any]

    def entry(self) -> dict[str, Any]:
        """The form that it has in `evaluation.json`."""
        classes = self.classes
        by_class = {
            name: {
                "balanced": accuracy.balanced._asdict(),
                "mean": list(accuracy.mean),
                "std": list(accuracy.std),
            }
            for name, accuracy in (
                ("distilled", classes.distilled),
                ("random", classes.random),
            )
        }
        return {
            "distilled": self.accuracy._asdict(),
            "random": self.random._asdict(),
            "stored": None if self.stored is None else self.stored._asdict(),
            "classes": {
                "names": list(classes.names),
                "samples": list(classes.samples),
                **by_class,
            },
            "protocol": dict(self.protocol),
        }


_COLUMNS = ("network", "distilled", "balanced", "random", "stored")


class Evaluation(Mapping[str, NetworkEvaluation]):
    """Accuracies of a distilled set: `evaluation["mlp"].accuracy.mean`.

    Args:
        networks: {name of the network: its accuracies}.

    As a text it is a table; `by_class` is another.
    """

    def __init__(self, networks: Mapping[str, NetworkEvaluation]):
        self._networks = dict(networks)

    def __getitem__(self, net: str) -> NetworkEvaluation:
        return self._networks[net]

    def __iter__(self) -> Iterator[str]:
        return iter(self._networks)

    def __len__(self) -> int:
        return len(self._networks)

    def __str__(self) -> str:
        widths = (12, 15, 8, 15, 0)
        lines = [_COLUMNS, *self._rows()]
        return "\n".join(
            "  ".join(f"{cell:>{width}}" for cell, width in zip(x, widths, strict=True))
            for x in lines
        )

    def __repr__(self) -> str:
        accuracies = (f"{net} {x.accuracy} %" for net, x in self.items())
        return f"Evaluation({', '.join(accuracies)})"

    def by_class(self) -> str:
        """A table of mean accuracies: one row per class, one column per network."""
        first = next(iter(self.values())).classes
        names = [shown(name) for name in first.names]
        width = max(5, *map(len, names))
        header = f"{'class':>{width}}  {'samples':>7}"
        lines = [header + "".join(f"  {net:>12}" for net in self)]
        for k, name in enumerate(names):
            means = [x.classes.distilled.mean[k] for x in self.values()]
            cells = [f"{'-':>12}" if x is None else f"{x:>12.2f}" for x in means]
            lines.append(f"{name:>{width}}  {first.samples[k]:>7}  " + "  ".join(cells))
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                net,
                str(x.accuracy),
                f"{x.classes.distilled.balanced.mean:.2f}",
                str(x.random),
                "-" if x.stored is None else f"{x.stored.mean:.2f}",
            )
            for net, x in self.items()
        ]

    def _repr_html_(self) -> str:
        return notebook.table(_COLUMNS, self._rows())
