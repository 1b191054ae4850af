"""Every value of a run, resolved once: choices, presets and data together."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxdd.augment.views import Views
from jaxdd.data import Dataset, Preprocess, check_constants, normalisation
from jaxdd.data.problem import (
    FORM,
    Problem,
    Scaling,
    in_memory,
    open_problem,
    prepare,
)
from jaxdd.devices import precision
from jaxdd.distillation.choices import Run
from jaxdd.distillation.fitting import fit
from jaxdd.distillation.options import FLAGS, Flags, given, run_of, scaling_of
from jaxdd.errors import UserError, check_integer
from jaxdd.experts import Manifest
from jaxdd.experts.recipe import Experts
from jaxdd.fields import flat, stored
from jaxdd.learners.spans import Spans
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.nets import NETS
from jaxdd.objectives.parts import MixedMatching, SampleMatching
from jaxdd.objectives.unrolled import UnrolledLoss
from jaxdd.types import Network

# Epochs of experts where neither a flag nor what will be matched says how many.
USUAL_EPOCHS = 50


@dataclass(frozen=True)
class BankSpec:
    """What the experts of a run are.

    Attributes:
        manifest: the digest of a bank, None as long as it is not known.
        experts: how many there are.
        epochs: of their training.
        dtype: of the snapshots.
        learning_rate, batch_size, gsam_rho, gsam_alpha: of the training.
        seed: of the experts.
    """

    manifest: str | None
    experts: int
    epochs: int
    dtype: str
    learning_rate: float
    batch_size: int
    gsam_rho: float
    gsam_alpha: float
    seed: int


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
        }


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
    run: Run, method: str | Recipe, flags: Mapping[str, Any], problem: Problem
) -> tuple[Run, Problem]:
    """The run and its data, each as the other asks for.

    Presets go by the name that data have of themselves, which may differ from the
    flag's; and comparisons open one dataset for methods that see images differently.

    Raises:
        UserError: the flags do not fit the data.
    """
    dataset = problem.dataset
    if dataset.name != run.data.dataset.partition(":")[0]:
        run = run_of(method, flags, dataset.name)
    problem = problem.scaled(scaling_of(run, dataset.name))
    objective = run.recipe.objective
    if isinstance(objective, UnrolledLoss) and flags.get("inner_classes") is None:
        # A preset counts on the classes of the published data.
        within = objective.within(dataset.num_classes)
        run = replace(run, recipe=replace(run.recipe, objective=within))
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
        normalisation=_constants(problem.preprocess),
        bank=experts,
    )


def _completed(
    run: Run, problem: Problem, given: Manifest | None, epochs: int | None
) -> tuple[Recipe, BankSpec | None]:
    """The recipe with what the data and the bank decide, and the bank."""
    recipe = run.recipe
    if isinstance(recipe.objective, SampleMatching):
        largest = int(np.bincount(problem.splits.train.labels).max())
        size = min(recipe.objective.batch_real, largest)
        recipe = replace(recipe, objective=replace(recipe.objective, batch_real=size))
    if isinstance(recipe.objective, MixedMatching):
        size = min(recipe.objective.batch_mixed, len(problem.splits.train.labels))
        recipe = replace(recipe, objective=replace(recipe.objective, batch_mixed=size))
    if recipe.sdc is not None and recipe.sdc.horizon is None:
        # A rising weight arrives at the last step of the published run.
        horizon = run.published.steps or max(1, run.length.steps)
        recipe = replace(recipe, sdc=replace(recipe.sdc, horizon=horizon))
    if recipe.images.schedule != "constant" and recipe.images.horizon is None:
        horizon = run.published.steps or max(1, run.length.steps)
        images = replace(recipe.images, horizon=horizon)
        recipe = replace(recipe, images=images)
    views = getattr(recipe.objective, "views", None)
    if isinstance(views, Views) and views.schedule != "constant":
        if views.horizon is None:
            horizon = run.published.steps or max(1, run.length.steps)
            views = replace(views, horizon=horizon)
        objective: Any = recipe.objective
        recipe = replace(recipe, objective=replace(objective, views=views))
    if run.experts is None:
        return recipe, None
    if epochs is not None:
        return recipe, _spec(run, run.experts, epochs)
    if not isinstance(recipe.learner, Spans):
        epochs = run.experts.epochs or run.published.bank_epochs or USUAL_EPOCHS
        return recipe, _given(_spec(run, run.experts, epochs), given)
    bank, max_start = _bank(run, run.experts, recipe, given)
    return replace(recipe, learner=replace(recipe.learner, max_start=max_start)), bank


def _bank(
    run: Run, experts: Experts, recipe: Recipe, given: Manifest | None
) -> tuple[BankSpec, int]:
    """What the experts are, and the exclusive bound of the start epochs."""
    length, max_start = recipe.students.expert_epochs, recipe.spans.max_start
    needed = run.published.bank_epochs or USUAL_EPOCHS
    if max_start is not None:
        needed = max(run.published.bank_epochs or 0, max_start - 1 + length)
        check_integer("--max_start and --expert_epochs together", needed)
    epochs = experts.epochs or max(needed, length)
    if given is not None:
        epochs = given.last_epoch
    if max_start is None:
        max_start = epochs - length + 1
        if max_start < 1:
            raise UserError(
                f"experts of {epochs} epochs leave no room for a span of "
                f"--expert_epochs={length}: lower it, or train them for longer"
            )
    last = max_start - 1
    if given is None and epochs < last + length:
        raise UserError(
            f"--bank_epochs={epochs} is too few: start epochs up to {last} and spans "
            f"of {length} epochs need {last + length}"
        )
    return _given(_spec(run, experts, epochs), given), max_start


def _given(spec: BankSpec, bank: Manifest | None) -> BankSpec:
    """The experts of a bank, where one was given."""
    if bank is None:
        return spec
    return replace(
        spec,
        manifest=bank.digest,
        experts=bank.experts,
        epochs=bank.last_epoch,
        dtype=bank.dtype,
        seed=bank.seed,
    )


def _spec(run: Run, experts: Experts, epochs: int) -> BankSpec:
    """The experts that a run trains."""
    return BankSpec(
        None,
        experts.count,
        epochs,
        experts.dtype,
        experts.learning_rate,
        experts.batch_size,
        experts.gsam_rho,
        experts.gsam_alpha,
        run.task.seed,
    )


# Values that alter no step: where things are, how far to go, what is measured on the
# way and at the end. A start may change them.
PLACES = ("workdir", "data_dir", "dataset", "subset", "scores", "constants", "stream",
          *FORM)  # fmt: skip
PACE = ("steps", "save_every", "log_every", "measure_every")
MEASURED = ("probes", "probe_steps", "probe_kinds", "sdc_share", "tensorboard",
            "num_eval", "num_random")  # fmt: skip
SCHEDULE = ("eval_epochs", "eval_lr", "eval_batch", "eval_schedule",
            "eval_augmentation", "eval_optimizer", "eval_loss",
            "temperature")  # fmt: skip
# What the numbers in a summary depend on beside the set.
RESULT = ("probes", "probe_steps", "probe_kinds", "num_eval", "num_random", *SCHEDULE)


def identity(values: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """What of a run's values makes it this run and no other: all that alters a step.

    Data is known by its fingerprint and its normalisation, whatever it was read by; a
    bank by its digest, and scores from a file by what is in them (`sorting.sorted_real`
    compares that), never by a path. Where networks are trained by the evaluation's
    schedule during the run, to select the best set or to judge segments, the schedule
    counts.

    Args:
        values: as `resolve` gives them, or an earlier version of it; a value that a
            version did not have stands for its default.
        problem: the data of this start.
    """
    before = "sampling" not in values  # written by a version that had one way only
    others = {name: x for name, x in values.items() if name not in FLAGS}
    values = {"precision": precision.unspecified(), **values}
    values = {**others, **stored(Run, values)}
    if values["objective"] == "distribution" and _has_batch_norm(values["network"]):
        # Of real images, in batch norm: each class by itself then, all together now.
        values["statistics"] = "of each class" if before else "of all classes"
    if "normalisation" not in values:  # it followed from the name alone
        name, images = str(values["dataset"]), problem.splits.train.images
        affine = normalisation(name, images)
        values["normalisation"] = None if values["zca"] else _constants(affine)
    free = {*PLACES, *PACE, *MEASURED, *SCHEDULE}
    if values["select"] == "validation":
        free -= {*SCHEDULE, "measure_every"}
    if values["segments"] != 1:
        free -= {*SCHEDULE}
        if values["judge_epochs"] is not None:
            free.add("eval_epochs")
    return {name: value for name, value in values.items() if name not in free}


def _has_batch_norm(network: Any) -> bool:
    """Whether options of `nets.make_network`, perhaps from a file, ask for it."""
    if not isinstance(network, dict) or network.get("name") not in NETS:
        return False
    return {**network, **NETS[network["name"]].fixed}.get("norm") == "batch"


def _constants(preprocess: Preprocess) -> dict[str, list[float]] | None:
    """The normalisation to five digits, None for a whitening, which the data gives."""
    if preprocess.kind != "affine":
        return None
    short = lambda array: [float(f"{x:.5g}") for x in array]
    return {"mean": short(preprocess.mean), "std": short(preprocess.std)}
