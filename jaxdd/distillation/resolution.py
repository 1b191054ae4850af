"""Every value of a run, resolved once: choices, presets and data together."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxdd.data import Dataset, Preprocess, check_constants
from jaxdd.data.problem import (
    Problem,
    Scaling,
    in_memory,
    open_problem,
    prepare,
)
from jaxdd.distillation.bank_spec import (
    USUAL_EPOCHS,
    BankSpec,
    bank_for_spans,
    given_bank,
    planned_bank,
)
from jaxdd.distillation.choices import Run
from jaxdd.distillation.fitting import fit
from jaxdd.distillation.options import Flags, given, run_of, scaling_of
from jaxdd.evaluation.protocol import Protocol
from jaxdd.experts import Manifest
from jaxdd.experts.recipe import Experts
from jaxdd.fields import flat
from jaxdd.fields.code import own_codes
from jaxdd.fields.trees import FIELDS, UNKNOWN
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.nets import NETS
from jaxdd.objectives.capabilities import Sizes
from jaxdd.scores.table import SCORES
from jaxdd.storage.workdir import CODE
from jaxdd.types import Network


@dataclass(frozen=True)
class Resolved(Run):
    """Every value of a run. Nothing of it is open any more.

    Attributes:
        data_name: what the data is called.
        fingerprint: of the data.
        normalisation: mean and std to five digits; None for a whitening.
        bank: the experts; None where the method has none.
    """

    data_name: str = ""
    fingerprint: str = ""
    normalisation: Mapping[str, list[float]] | None = None
    bank: BankSpec | None = None

    @property
    def split_seed(self) -> int:
        seed = self.data.split_seed
        return self.task.seed if seed is None else seed

    def matched(self, dataset: Dataset, network: Network) -> Network:
        """The networks that are matched: those that are evaluated, or others.

        Args:
            dataset: the data.
            network: what is evaluated.

        Raises:
            UserError: it has no such option.
        """
        if self.network.matched.options() == self.network.options():
            return network
        return self.network.matched.make(dataset, self.arithmetic)

    @property
    def curriculum(self) -> Curriculum:
        return self.window.curriculum()

    def values(self, workdir: str | None) -> dict[str, Any]:
        """All values as files have them, by flag where there is one."""
        values = flat(self)
        for name in (*flat(self.network), *flat(Experts()), *_OF_WINDOW):
            values.pop(name, None)
        bank = None if self.bank is None else dataclasses.asdict(self.bank)
        return {
            **values,
            "workdir": workdir,
            "method": self.method,
            "dataset": self.data_name,
            "split_seed": self.split_seed,
            "fingerprint": self.fingerprint,
            "normalisation": self.normalisation,
            "network": self.network.options(),
            "match_norm": self.network.match_norm,
            "match_activation": self.network.match_activation,
            "curriculum": dataclasses.asdict(self.curriculum),
            "bank": bank,
            **self.codes,
        }

    @property
    def codes(self) -> dict[str, str | None]:
        """Hashes of a network and of scores of one's own; none of the library's."""
        written: dict[str, Callable[..., Any]] = {
            "network": NETS[self.network.net].written
        }
        scores = {
            "score": self.window.score,
            "realism_score": self.recipe.images.crops.score,
        }
        for flag, name in scores.items():
            if name in SCORES:
                written[flag] = SCORES[name].compute
        return {f"{name}{CODE}": code for name, code in own_codes(written).items()}

    def protocol(
        self, num_eval: int, step_size: float | None = None, epochs: int | None = None
    ) -> Protocol:
        """How sets are judged; a learned step size is the learning rate."""
        return Protocol(
            self.network.options(),
            self.evaluation.training(step_size, epochs),
            self.evaluation.augmentation,
            num_eval,
            self.evaluation.random_subsets,
            self.task.seed,
            self.arithmetic.precision,
            self.recipe.labels.space,
        )

    @property
    def unknown_codes(self) -> list[str]:
        """What is of one's own and would not be known again if it were changed."""
        values = {**flat(self.recipe), **self.codes}
        codes = [x for x in values if x.endswith(CODE) and values[x] is None]
        held = [
            f"{field} of the {name.removesuffix(FIELDS)}"
            for name, fields in values.items()
            if name.endswith(FIELDS)
            for field, value in fields.items()
            if UNKNOWN in str(value)  # perhaps in a list
        ]
        return [name.removesuffix(CODE) for name in codes] + held


_OF_WINDOW = [field.name for field in dataclasses.fields(Curriculum)]


def open_data(run: Run, dataset: Dataset | None = None) -> Problem:
    """The data that a run names, or those in memory, split and preprocessed."""
    seed = run.task.seed if run.data.split_seed is None else run.data.split_seed
    share = run.data.validation
    if dataset is not None:
        dataset = in_memory(dataset, run.data)
        return prepare(dataset, share, seed, scaling_of(run, dataset.name))
    return open_problem(run.data, share, seed, scaling_of(run, run.data.dataset))


def open_each(configs: Mapping[str, Flags]) -> dict[str, Problem]:
    """{name: data} of runs that differ in their methods: read once, fitted as often as
    methods see the images differently."""
    fitted: dict[Scaling, Problem] = {}
    scalings = {}
    for name, config in configs.items():
        run = run_of(config.method, given(config))
        scaling = scalings[name] = scaling_of(run, run.data.dataset)
        if scaling not in fitted:
            known = next(iter(fitted.values()), None)
            fitted[scaling] = known.scaled(scaling) if known else open_data(run)
    return {name: fitted[scaling] for name, scaling in scalings.items()}


def on_data(
    method: str | Recipe, flags: Mapping[str, Any], problem: Problem
) -> tuple[Run, Problem]:
    """The run and its data, each as the other asks for.

    Presets go by the classes and by the name that data have of themselves, which may
    differ from the flag's; and comparisons open one dataset for methods that see images
    differently.

    Raises:
        UserError: the flags do not fit the data.
    """
    dataset = problem.dataset
    run = run_of(method, flags, dataset.name, dataset.num_classes)
    problem = problem.scaled(scaling_of(run, dataset.name))
    labels = problem.splits.train.labels
    counts = np.bincount(labels, minlength=dataset.num_classes)
    sizes = Sizes(dataset.num_classes, int(counts.max()), len(labels))
    chosen = {name for name, value in flags.items() if value is not None}
    run = replace(run, recipe=run.recipe.for_sizes(sizes, chosen))
    if run.scaling.constants is not None and flags.get("constants") is not None:
        check_constants(run.scaling.constants, dataset.image_shape[-1])
    return fit(run, flags, dataset), problem


def resolve(
    run: Run,
    problem: Problem,
    bank: Manifest | None = None,
    epochs: int | None = None,
) -> Resolved:
    """Every value of a run, presets filled in: what a workdir is compared by.

    Args:
        run: its choices, see `on_data`.
        problem: the data.
        bank: the manifest of the bank that was given, where one was.
        epochs: of experts that are trained for themselves: what will be matched is not
            known then.

    Raises:
        UserError: the choices do not fit the data or the bank.
    """
    dataset = problem.dataset
    recipe, experts = _completed(run, problem, bank, epochs)
    window, records = run.window, run.records
    if window.curriculum() == Curriculum():
        window = replace(window, score=None)
    elif window.scores is None:
        window = replace(window, score=window.score or "el2n")
    if records.measure_every is None:
        every = max(1, run.published.steps // 10)
        records = replace(records, measure_every=every)
    return Resolved(
        task=run.task,
        data=replace(run.data, split_seed=problem.split_seed),
        network=run.network.sized(dataset),
        arithmetic=run.arithmetic.resolved(),
        recipe=recipe,
        length=run.length,
        evaluation=run.evaluation,
        scaling=scaling_of(run, dataset.name),
        window=window,
        experts=run.experts,
        records=records,
        published=run.published,
        method=run.method,
        data_name=problem.name,
        fingerprint=dataset.fingerprint,
        normalisation=constants_of(problem.preprocess),
        bank=experts,
    )


def _completed(
    run: Run, problem: Problem, given: Manifest | None, epochs: int | None
) -> tuple[Recipe, BankSpec | None]:
    """The recipe with what the data and the bank decide, and the bank."""
    # What changes along a run arrives at the last step of the published one.
    recipe = run.recipe.with_horizon(run.published.steps or max(1, run.length.steps))
    if run.experts is None:
        return recipe, None
    if epochs is not None:
        return recipe, planned_bank(run, run.experts, epochs)
    if not recipe.follows:
        epochs = run.experts.epochs or run.published.bank_epochs or USUAL_EPOCHS
        return recipe, given_bank(planned_bank(run, run.experts, epochs), given)
    bank, max_start = bank_for_spans(run, run.experts, recipe, given)
    learner: Any = recipe.learner
    return replace(recipe, learner=replace(learner, max_start=max_start)), bank


def constants_of(preprocess: Preprocess) -> dict[str, list[float]] | None:
    """The normalisation to five digits, None for a whitening, which the data gives."""
    if preprocess.kind != "affine":
        return None
    short = lambda array: [float(f"{x:.5g}") for x in array]
    return {"mean": short(preprocess.mean), "std": short(preprocess.std)}
