"""The published cells: method, data and settings, and the figure they are held against.

In order of what is wanted most for its time. Every cell runs by the published settings
in full, which are the method's presets; a cell names only what differs from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.comparing import lists, methods
from jaxdd.distillation import options
from jaxdd.methods.presets import preset

# The band around a published figure: two of its standard deviations, at least so much.
LEAST_BAND = 2.0
DEVIATIONS = 2.0

# Methods of the digits, for which nothing is published: every seed is cheap there.
DIGITS = (
    "dc", "dsa", "dcc", "dsac", "idc", "dm", "m3d", "datadam", "ncfm", "mtt", "ftd",
    "tesla", "datm", "pad", "frepo", "rcig", "rat_bptt",
)  # fmt: skip
# Experts of a trajectory cell, where the papers have a hundred: the ledger says so.
NUM_EXPERTS = 20

KIP = "KIP, Table 1"
DATM = "DATM, Table 1"
PAD = "PAD, Table 1"
DANCE = "DANCE, comparison figure"
M3D = "M3D, Table 1, as others quote it"
NCFM = "NCFM, Table 1"
FREPO = "FRePo, Tables 1 and 2"
RCIG = "RCIG, Table 1"
# Figures that were not at hand in text when they were entered.
UNCHECKED = "; not checked against the paper"
# The best of four numbers of steps on the test split, over all of a run: expect up to a
# point less at a fixed number.
RAT_BPTT = "RaT-BPTT, Table 1"
IDC = "IDC, github.com/snu-mllab/Efficient-Dataset-Condensation"

# The weight was fixed before any of these cells ran; it is not published (ours).
SDC = {"sdc_weight": 0.3, "sdc_relative": True}
# PAD's two filters on DATM; the window is PAD's of CIFAR-10.
FIEX = {"score": "el2n", "init_ratio": 0.75, "add_end_epoch": 20}
FIEM = {"mask": "depth", "mask_ratio": 0.25}
MODIFIERS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "+sdc": SDC,
    "+fiex": FIEX,
    "+fiem": FIEM,
}
EXPERT_FLAGS = tuple(FIEX)


@dataclass(frozen=True)
class Published:
    """A figure of a paper.

    Attributes:
        mean: accuracy in percent.
        std: its standard deviation over networks, where the paper has one.
        source: where it stands.
    """

    mean: float
    std: float | None
    source: str

    def agrees(self, mean: float) -> bool:
        """Whether a figure is within the band; both are rounded to hundredths."""
        band = max(DEVIATIONS * (self.std or 0.0), LEAST_BAND)
        return round(abs(mean - self.mean), 2) <= band


@dataclass(frozen=True)
class Cell:
    """A place in a table of a paper, or such a place with a modifier.

    Attributes:
        dataset: the data.
        method: the base method.
        ipc: images per class.
        modifier: a name in `MODIFIERS`, "" for none.
        published: the paper's figure; None where there is none to hold it against.
        others: further flags that differ from the method's presets.
    """

    dataset: str
    method: str
    ipc: int
    modifier: str = ""
    published: Published | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.method}{self.modifier}-{self.ipc}"

    @property
    def base(self) -> str | None:
        """The name of the cell without the modifier; None where it has none."""
        return f"{self.dataset}-{self.method}-{self.ipc}" if self.modifier else None

    @property
    def is_prepared(self) -> bool:
        """Whether the data are in a folder of TFDS, and not of a package."""
        return self.dataset != "digits"

    @property
    def has_window(self) -> bool:
        """Whether the modifier changes what experts are trained on."""
        return any(name in MODIFIERS[self.modifier] for name in EXPERT_FLAGS)

    @property
    def has_experts(self) -> bool:
        return preset(self.method, self.dataset, self.ipc).experts is not None

    @property
    def steps(self) -> int:
        """Published updates of the images."""
        return preset(self.method, self.dataset, self.ipc).length.steps

    @property
    def flags(self) -> dict[str, Any]:
        """Flags of `experiments.distill`, without seed, data_dir and folders."""
        return {
            "dataset": self.dataset,
            "method": self.method,
            "ipc": self.ipc,
            # The papers train on all of the training split; nothing is selected here.
            "validation": 0.0,
            **MODIFIERS[self.modifier],
            **self.others,
        }

    @property
    def bank(self) -> dict[str, Any] | None:
        """Flags of `experiments.experts` for its bank; None where it needs none."""
        if not self.has_experts:
            return None
        flags = self.flags
        named = {k: flags[k] for k in ("dataset", "method", "ipc", "validation")}
        window = {k: flags[k] for k in EXPERT_FLAGS if k in flags}
        epochs = methods.bank_epochs(options.Config(workdir="", **self.flags))
        return {**named, "num_experts": NUM_EXPERTS, "epochs": epochs, **window}


def _with(cell: Cell, *modifiers: str) -> list[Cell]:
    """A cell, and the same with some modifiers, for which nothing is published."""
    return [
        cell,
        *(
            Cell(cell.dataset, cell.method, cell.ipc, modifier, None, cell.others)
            for modifier in modifiers
        ),
    ]


# Of the methods that regress features: their own networks and evaluations.
REGRESSIONS = (
    ("cifar10", "rcig", 1, 53.9, 1.0, RCIG),
    ("mnist", "rcig", 1, 94.7, None, RCIG + UNCHECKED),
    ("cifar10", "frepo", 1, 46.8, 0.7, FREPO),
    ("mnist", "frepo", 1, 93.8, None, FREPO + UNCHECKED),
    ("cifar100", "rcig", 1, 39.3, 0.4, RCIG),
    ("cifar100", "frepo", 1, 28.7, 0.1, FREPO),
    ("cifar10", "rcig", 10, 69.1, 0.4, RCIG),
    ("cifar10", "frepo", 10, 65.5, 0.4, FREPO),
    ("cifar100", "rcig", 10, 44.1, 0.4, RCIG),
    ("cifar100", "frepo", 10, 42.5, 0.2, FREPO),
    ("mnist", "rcig", 10, 98.9, None, RCIG + UNCHECKED),
    ("mnist", "frepo", 10, 98.4, None, FREPO + UNCHECKED),
)

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cells in (
        _with(Cell("cifar10", "dsa", 1, "", Published(28.8, 0.7, DATM)), "+sdc"),
        _with(Cell("cifar10", "dc", 1, "", Published(28.3, 0.5, DATM)), "+sdc"),
        _with(Cell("mnist", "dc", 1, "", Published(91.7, 0.5, KIP)), "+sdc"),
        _with(Cell("mnist", "dsa", 1, "", Published(88.7, 0.6, KIP)), "+sdc"),
        _with(Cell("cifar10", "dm", 1, "", Published(26.0, 0.8, DATM)), "+sdc"),
        _with(Cell("cifar10", "mtt", 1, "", Published(46.2, 0.8, DATM)), "+sdc"),
        _with(
            Cell("cifar10", "datm", 1, "", Published(46.9, 0.5, DATM)),
            "+sdc",
            "+fiex",
            "+fiem",
        ),
        _with(Cell("cifar10", "pad", 1, "", Published(47.2, 0.6, PAD)), "+sdc"),
        _with(Cell("mnist", "dc", 10, "", Published(97.4, 0.2, KIP)), "+sdc"),
        _with(Cell("mnist", "dsa", 10, "", Published(97.8, 0.1, KIP)), "+sdc"),
        _with(Cell("cifar10", "dm", 10, "", Published(48.9, 0.6, DATM)), "+sdc"),
        _with(Cell("cifar10", "dsa", 10, "", Published(52.1, 0.5, DATM)), "+sdc"),
        _with(Cell("cifar10", "dc", 10, "", Published(44.9, 0.5, DATM)), "+sdc"),
        _with(Cell("cifar10", "idc", 1, "", Published(50.6, None, IDC)), "+sdc"),
        _with(Cell("cifar10", "datadam", 1, "", Published(32.0, 1.2, DANCE)), "+sdc"),
        _with(Cell("cifar10", "datadam", 10, "", Published(54.2, 0.8, DANCE)), "+sdc"),
        _with(Cell("cifar10", "ncfm", 10, "", Published(71.8, None, NCFM)), "+sdc"),
        _with(Cell("cifar10", "m3d", 50, "", Published(69.9, None, M3D)), "+sdc"),
        _with(Cell("cifar10", "rat_bptt", 1, "", Published(53.2, 0.7, RAT_BPTT))),
        _with(Cell("cifar10", "rat_bptt", 10, "", Published(69.4, 0.4, RAT_BPTT))),
        _with(Cell("cifar10", "rat_bptt", 50, "", Published(75.3, 0.3, RAT_BPTT))),
        _with(Cell("cifar100", "rat_bptt", 1, "", Published(35.3, 0.4, RAT_BPTT))),
        _with(Cell("cifar100", "rat_bptt", 10, "", Published(47.5, 0.2, RAT_BPTT))),
        _with(Cell("cifar100", "rat_bptt", 50, "", Published(50.6, 0.2, RAT_BPTT))),
        *(
            _with(Cell(dataset, method, ipc, "", Published(mean, std, source)), "+sdc")
            for dataset, method, ipc, mean, std, source in REGRESSIONS
        ),
        *(
            _with(Cell("digits", method, ipc), "+sdc")
            for method in DIGITS
            for ipc in (1, 10)
        ),
    )
    for cell in cells
}  # fmt: skip


def chosen(names: str) -> list[Cell]:
    """Cells by names joined by commas, in that order, or all, in the list's.

    Raises:
        UserError: there is no such cell, or one is named twice.
    """
    if names == "all":
        return list(CELLS.values())
    asked = lists.names(names, "cells", CELLS)
    return [CELLS[name] for name in asked]
