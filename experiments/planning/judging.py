"""What a distillation spends on judging: evaluation, selection and D4A's judges."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.planning.distillation import Distillation
from experiments.planning.estimate import Lever, Part
from experiments.planning.networks import Networks, evaluation_cost
from experiments.planning.programs import fit_cost
from jaxdd import augment
from jaxdd.distillation.pieces import SELECTION_NETWORKS
from jaxdd.progress import say
from jaxdd.synthetic.sets import flatten
from jaxdd.training.schedules import MIN_RANDOM


def add_evaluation(run: Distillation) -> None:
    """Networks on the set and on random subsets, judges, and a selection."""
    say("plan: timing shortened trainings of the evaluation")
    job, resolved = run.job, run.resolved
    rate = job.recipe.step_size if job.recipe.follows else None
    protocol = job.protocol(resolved.evaluation.networks, rate)
    own = flatten(job.decode(run.whole()))
    ipc = resolved.task.ipc
    cost = evaluation_cost(run.problem, protocol, own, job.inputs.full, ipc)
    batch = min(protocol.training.batch_size, own.labels.shape[0])
    run.compiling["the evaluation"] = cost.compile_seconds
    run.programs["evaluation"] = cost.fitted.memory, Lever("eval_batch", batch)
    epochs = protocol.training.epochs
    if resolved.task.select == "validation":
        held_out = run.problem.splits.validation
        assert held_out is not None, "check() refuses selection without validation"
        once = cost.fitted.seconds(SELECTION_NETWORKS, epochs, len(held_out.labels))
        steps = resolved.length.steps
        every = resolved.records.measure_every or steps
        times = steps // every + 2
        lever = Lever("measure_every", every, rarer=True)
        detail = f"{times} x {once:.3g} s"
        run.time.append(Part("selection", times * once, detail, lever))
        # Its own number of networks makes another program.
        run.compiling["the selection"] = cost.fitted.compile_seconds
    if run.count > 1:
        _add_judges(run, own)
    run.time += evaluation_parts(cost, protocol.num_eval, protocol.num_random,
                                  epochs)  # fmt: skip


def _add_judges(run: Distillation, own: Any) -> None:
    """After every segment, networks on all that was made so far."""
    job, segments = run.job, run.job.recipe.segments
    assert segments is not None
    judges = segments.judges
    protocol = job.protocol(1, epochs=segments.judge_epochs)
    training, full = protocol.training, job.inputs.full
    padded = job.sets * job.formed * full.table.shape[0]
    index = jnp.arange(padded) % own.labels.shape[0]
    cost = fit_cost(
        run.network,
        training,
        jax.tree.map(lambda x: x[index], own),
        full,
        judges,
        augment=augment.training(protocol.augmentation),
        microbatch=job.context.microbatch,
    )
    # Empty slots are left out, so that an epoch grows from segment to segment.
    size = min(training.batch_size, padded)
    batches = [-(-padded * (i + 1) // run.count // size) for i in range(run.count)]
    share = sum(batches) / (run.count * -(-padded // size))
    epochs, samples = training.epochs, full.labels.shape[0]
    once = share * cost.seconds(judges, epochs) + cost.seconds(judges, 0, samples)
    detail = f"{run.count} segments x {judges} networks x {epochs} epochs"
    lever = Lever(
        "judge_epochs", segments.judge_epochs or run.resolved.evaluation.epochs
    )
    run.time.append(Part("judges", run.count * once, detail, lever))
    run.compiling["the judges"] = cost.compile_seconds
    run.programs["training of judges"] = cost.memory, Lever("eval_batch", size)


def evaluation_parts(cost: Networks, made: int, drawn: int, epochs: int) -> list[Part]:
    """The rows of an evaluation."""
    return [
        Part(
            "evaluation of the set",
            cost.of_set,
            f"{made} networks x {epochs} epochs",
            Lever("num_eval", made),
        ),
        Part(
            "evaluation of random sets",
            cost.of_random,
            f"{drawn} networks x {epochs} epochs",
            Lever("num_random", drawn, MIN_RANDOM),
        ),
    ]
