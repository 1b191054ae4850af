"""What holds across the choices of a run: which of them exclude each other."""

from collections.abc import Mapping
from typing import Any

from jaxdd import augment
from jaxdd.data.subsets import INDEX_REMEDY
from jaxdd.distillation.choices import Run
from jaxdd.errors import UserError, quoted
from jaxdd.fields import flags_of, refuse_idle
from jaxdd.modifiers.curriculum import Curriculum, Window
from jaxdd.modifiers.segments import sizes
from jaxdd.report.tensorboard import require
from jaxdd.scores.table import SCORES, score_named
from jaxdd.scoring.files import SCORES_REMEDY
from jaxdd.storage.paths import existing_file, shown
from jaxdd.synthetic.crops import Crops
from jaxdd.synthetic.images import INITIAL_CHOICES
from jaxdd.synthetic.initial import INITIALS


def check_run(run: Run, flags: Mapping[str, Any], who: str) -> None:
    """Refuse choices and flags that exclude each other.

    Args:
        run: all choices.
        flags: {flag: value} of those that were given.
        who: the method in words.

    Raises:
        UserError: with the flag, and what to do.
    """
    refuse_idle(run, flags)
    init = run.recipe.images.init
    if init not in INITIALS:
        existing_file(init, "--init", INITIAL_CHOICES)
    if run.task.select == "validation" and run.data.validation == 0:
        raise UserError(
            "--select=validation needs validation data: leave out --validation=0"
        )
    if "constants" in flags and run.scaling.zca:
        raise UserError(
            "--constants normalise images, and these are whitened: leave it out, or "
            "add --nozca"
        )
    if "zca_blocks" in flags and not run.scaling.zca:
        raise UserError(
            "--zca_blocks says how --zca whitens, and these images are normalised: add "
            "--zca, or leave it out"
        )
    network = run.network
    if run.experts is None:
        _check_without_experts(run, flags, who)
    elif run.recipe.needs_experts and (network.match_norm or network.match_activation):
        raise UserError(
            "--match_norm and --match_activation are for methods without experts, and "
            f"{who} matches those: leave them out"
        )
    if run.experts is not None and run.experts.bank is not None:
        for name in ("num_experts", "bank_epochs"):
            if name in flags:
                raise UserError(
                    f"--{name} is for a bank made here, and --experts names one: give "
                    "one of them"
                )
    _check_crops(run, flags, who)
    if run.length.steps == 0:
        _check_no_step(run, who)
    _check_segments(run, flags, who)
    _check_window(run.window)
    if run.records.tensorboard:
        require()
    mask = run.recipe.mask
    named = "mask" in flags and "mask_ratio" not in flags
    if named and mask is not None and mask.ratio == 0:
        raise UserError(
            f"--mask={mask.kind} drops nothing so far: add e.g. --mask_ratio=0.25"
        )
    _check_names(run)


def _check_names(run: Run) -> None:
    """Refuse names that nothing has, before any data is read."""
    run.arithmetic.resolved()
    augment.pipeline(run.recipe.objective.augmentation)
    for choice in (run.evaluation, run.recipe.learner):
        name = getattr(choice, "augmentation", None)
        if name is not None:
            augment.training(name)
    if run.window.score is not None:
        score_named(run.window.score)


def check_files(run: Run) -> None:
    """Refuse files that are not there, before any data is read."""
    if run.window.scores is not None:
        existing_file(run.window.scores, "the scores", SCORES_REMEDY)
    if run.data.subset is not None:
        existing_file(run.data.subset, "the index", INDEX_REMEDY)


# Flags of the window that are about the training of experts.
OF_EXPERTS = ("init_ratio", "add_end_epoch", "removals")


def _check_without_experts(run: Run, flags: Mapping[str, Any], who: str) -> None:
    for name in OF_EXPERTS:
        if name in flags:
            raise UserError(
                f"--{name} is about experts, which {who} has not; --drop_easiest and "
                "--drop_hardest choose its real samples"
            )
    if run.recipe.images.init == "correct":
        raise UserError(
            f"--init=correct needs experts, which {who} has not: use noise or real"
        )
    labels = run.recipe.labels
    if labels.needs_experts:
        raise UserError(
            f"--labels={labels.name} needs experts, which {who} has not: use hard"
        )


# Flags about crops, by name; nothing else makes use of them.
CROPS = tuple(flags_of(Crops))


def _check_crops(run: Run, flags: Mapping[str, Any], who: str) -> None:
    """Refuse crops that no teacher can choose, and flags about crops without any."""
    images, labels = run.recipe.images, run.recipe.labels
    for name in CROPS:
        if name in flags and images.init != "crops":
            raise UserError(f"--{name} is about crops: {Crops.remedy}")
    score = images.crops.score
    able = [name for name, known in SCORES.items() if known.needs == "networks"]
    if score not in SCORES:
        raise UserError(
            f"unknown {quoted(score)} in --realism_score: choose from {', '.join(able)}"
        )
    if score not in able:
        raise UserError(
            f"--realism_score={score} is a score of whole datasets, and crops are new "
            f"images: choose from {', '.join(able)}"
        )
    if labels.name == "soft" and not run.recipe.needs_experts:
        raise UserError(
            f"--labels=soft needs a method that matches experts, which {who} does not: "
            "use hard or teacher"
        )


def _check_no_step(run: Run, who: str) -> None:
    """Refuse a run without a step where its images are not chosen, and what acts in
    steps."""
    recipe = run.recipe
    if recipe.images.init != "crops":
        raise UserError(
            "--steps=0 keeps the first images, which is for those that are chosen "
            "(--init=crops): give at least 1"
        )
    idle = {}
    if recipe.sdc is not None and recipe.sdc.weight:
        idle["sdc_weight"] = f"{recipe.sdc.weight:g}"
    if recipe.mask is not None and recipe.mask.ratio:
        idle["mask_ratio"] = f"{recipe.mask.ratio:g}"
    segments = recipe.segments
    if segments is not None and recipe.count > 1:
        if not segments.filters:
            idle["segment_rule"] = segments.rule
        if segments.forgetting != "none":
            idle["forgetting"] = segments.forgetting
    for name, value in idle.items():
        raise UserError(
            f"--{name}={value} acts on updates of the images, and {who} makes none: "
            "give --steps, or leave it out"
        )


def _check_segments(run: Run, flags: Mapping[str, Any], who: str) -> None:
    """Refuse segments that cannot be, and what cannot be done in segments."""
    segments, count = run.recipe.segments, run.recipe.count
    sizes(run.task.ipc, count)
    if segments is None or count == 1:
        return
    init = run.recipe.images.init
    if init not in INITIALS:
        raise UserError(
            f"--init={shown(init)} is a whole set, and each of the {count} segments "
            "begins with images of its own: leave out --init, or use --segments=1"
        )
    if run.task.select == "validation":
        raise UserError(
            "--select=validation chooses among the steps of one run, and there are "
            f"{count} segments: use --select=last"
        )
    if not run.recipe.follows:
        for name in ("segment_experts", "segment_epochs"):
            if name in flags:
                raise UserError(
                    f"--{name} is about short runs of experts, which {who} has not: "
                    "leave it out"
                )
        return
    length = run.recipe.span_epochs
    if segments.segment_epochs is not None and segments.segment_epochs < length:
        raise UserError(
            f"--segment_epochs={segments.segment_epochs} is too few: a span has "
            f"{length} epochs"
        )


def _check_window(window: Window) -> None:
    """Refuse impossible windows, and an order by which nothing is left out."""
    if window.score is not None and window.scores is not None:
        raise UserError("--score and --scores exclude each other: give one of them")
    if window.curriculum() != Curriculum():
        return
    for name in ("score", "scores"):
        if getattr(window, name) is not None:
            raise UserError(
                f"--{name} sorts the samples, but nothing is left out by that order: "
                "add e.g. --drop_hardest=0.2"
            )
