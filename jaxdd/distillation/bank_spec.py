"""What the experts of a run are, before any of them is trained."""

from dataclasses import dataclass, replace

from jaxdd.distillation.choices import Run
from jaxdd.errors import UserError, check_integer
from jaxdd.experts import Manifest
from jaxdd.experts.recipe import Experts
from jaxdd.methods.recipe import Recipe

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


def bank_for_spans(
    run: Run, experts: Experts, recipe: Recipe, given: Manifest | None
) -> tuple[BankSpec, int]:
    """What the experts are, and the exclusive bound of the start epochs.

    Raises:
        UserError: their epochs are too few for the spans.
    """
    length, max_start = recipe.span_epochs, recipe.spans.max_start
    needed = run.published.bank_epochs or USUAL_EPOCHS
    if max_start is not None:
        needed = max(run.published.bank_epochs or 0, max_start - 1 + length)
        check_integer("--max_start and --expert_epochs together", needed)
    # What is published is lengthened where later starts are asked for.
    own = None if experts.epochs == run.published.bank_epochs else experts.epochs
    epochs = own or max(needed, length)
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
            f"of {length} epochs need {last + length}; lower --max_start, or train for "
            "longer"
        )
    return given_bank(planned_bank(run, experts, epochs), given), max_start


def given_bank(spec: BankSpec, bank: Manifest | None) -> BankSpec:
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


def planned_bank(run: Run, experts: Experts, epochs: int) -> BankSpec:
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
