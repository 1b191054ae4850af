"""What is measured: the published setting, or what any machine computes in minutes."""

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.parts.cases import ALL, SETTINGS, Case, Setting, make_case

# All methods, the most wanted first: time may run out.
ORDER = (
    "dsa", "mtt", "dm", "idc", "dc", "tesla", "datm", "ftd", "dcc", "dsac", "dsa+sdc",
)  # fmt: skip
assert sorted(ORDER) == sorted(ALL)


@dataclass(frozen=True)
class Sizes:
    """What all sections share.

    Attributes:
        setting: images and network.
        student_steps: N, where trajectories are matched.
        forms_ipc: images per class where forms are compared.
        step_sizes: images per class whose steps are measured.
        methods: whose steps are measured.
        experts: how many are trained, and how many networks evaluated.
        first: seconds that a measurement may take before one of its kind is known.
        changes: of all methods' flags.
        repeats: the most timed runs.
        workers: programs that are compiled at a time, where nothing is timed.
    """

    setting: Setting
    student_steps: int
    forms_ipc: int
    step_sizes: tuple[int, ...]
    methods: tuple[str, ...]
    experts: int
    first: float
    changes: dict[str, Any] = field(default_factory=dict)
    repeats: int = 5
    workers: int = 1

    def case(self, method: str, ipc: int = 1, **changes: Any) -> Case:
        """A method of `cases.ALL` that is ready to step."""
        chosen = {**self.changes, **changes}
        return make_case(method, self.setting, ipc, self.student_steps, chosen)


FULL = Sizes(
    setting=SETTINGS["standard"],
    student_steps=20,
    forms_ipc=10,
    step_sizes=(1, 10),
    methods=ORDER,
    experts=32,
    first=15.0,
)
TINY = Sizes(
    setting=replace(SETTINGS["small"], width=4, classes=3),
    student_steps=2,
    forms_ipc=1,
    step_sizes=(1, 10),
    methods=("dsa", "mtt", "dm"),
    experts=2,
    first=6.0,
    # Most of the time goes into compiling, and there into augmentation.
    changes={"augmentation": "flip", "matches": 1},
)
