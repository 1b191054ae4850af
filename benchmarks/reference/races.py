"""What methods are made of, as races between our side and eager PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parts import draws, flops
from benchmarks.parts.cases import Case, Setting, make_case
from benchmarks.parts.timing import Race, Side, calls, compiled
from jaxdd import augment
from jaxdd.data.real import sample_class, take
from jaxdd.devices import policy
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.primitives import (
    DISTANCES,
    batch_gradient,
    inner_gradient,
    per_sample_gradient_norms,
)
from jaxdd.primitives.losses import mean_loss
from jaxdd.primitives.trees import named_leaves
from jaxdd.synthetic.sets import flatten
from jaxdd.training.evaluate import make_evaluate, repeat
from jaxdd.training.fit import Training, make_epochs
from jaxdd.types import Batch, Learner

BATCH, RATE = 256, 0.01
EXPERTS, EXPERT_IMAGES = 4, 512
EPOCHS, HELD_OUT = 10, 1000
IPC = 10


def batch_of(case: Case, size: int) -> Batch:
    """Real images of all classes in turn."""
    total = case.inputs.real.labels.shape[0]
    return take(case.inputs.real, jnp.arange(size) * (total // size) % total)


def given_to_reference(case: Case, batch: Batch):
    """(parameters, images, labels) for the reference."""
    from benchmarks.reference import network

    network.use_all_cores()
    labels = network.tensor(np.argmax(batch.labels, axis=-1)).long()
    params = network.parameters(named_leaves(case.params))
    return params, network.channels_first(batch.images), labels


def training(setting: Setting, against: bool) -> Race:
    """One step of the training that experts and evaluation use."""
    case = make_case("dc", setting, 1)
    run = make_epochs(case.network, Training(1, RATE), microbatch=case.microbatch)
    batch, rate = batch_of(case, BATCH), jnp.float32(RATE)
    state = run.init(Learner(case.params, {}))
    program = compiled(run.step, state, batch, rate)
    theirs = None
    if against:
        from benchmarks.reference.training import training_step

        params, images, labels = given_to_reference(case, batch)
        theirs = training_step(params, images, labels, RATE)
    return Race(
        calls(program, state, batch, rate),
        theirs,
        program,
        BATCH * flops.gradient(setting),
    )


def norms(setting: Setting, against: bool) -> Race:
    """Per-sample gradient norms, the difficulty measure GraDN."""
    case = make_case("dc", setting, 1)
    batch = batch_of(case, BATCH)
    arguments: tuple = (case.params, batch, {})
    compute = per_sample_gradient_norms(mean_loss(case.network))
    program = compiled(compute, *arguments)
    theirs = None
    if against:
        from benchmarks.reference.training import per_sample_norms

        given = given_to_reference(case, batch)
        theirs = lambda: per_sample_norms(*given)
    work = BATCH * flops.gradient(setting)
    return Race(calls(program, *arguments), theirs, program, work)


def synthetic(setting: Setting, against: bool) -> Race:
    """What DSA's step does with synthetic images."""
    case = make_case("dsa", setting, IPC)
    objective, loss = case.recipe.objective, mean_loss(case.network)
    assert isinstance(objective, GradientMatching)
    siamese = augment.siamese(augment.pipeline(objective.augmentation))
    gradient = inner_gradient(loss, case.microbatch)
    distance = DISTANCES[objective.distance]

    def images_gradient(root, params, targets, codes):
        def one(xs):
            k, target, images, labels = xs

            def value(images):
                (made,) = siamese(jax.random.fold_in(root, k), images)
                return distance(target, gradient(params, Batch(made, labels), {}))

            return jax.value_and_grad(value)(images)

        xs = jnp.arange(setting.classes), targets, codes.images, codes.labels
        return policy.map_axis(one, xs, policy.choices().classes)

    real = batch_gradient(loss, case.microbatch)

    def of_class(k):
        batch = sample_class(
            jax.random.key(0), case.inputs.real, k, objective.batch_real
        )
        return real(case.params, batch, {})

    targets = jax.jit(lambda ks: jax.lax.map(of_class, ks))(jnp.arange(setting.classes))
    arguments = jax.random.key(0), case.params, targets, case.state.codes
    program = compiled(images_gradient, *arguments)
    theirs = _their_synthetic(case) if against else None
    made = setting.classes * case.ipc
    return Race(
        calls(program, *arguments),
        theirs,
        program,
        made * flops.match(setting),
    )


def _their_synthetic(case: Case) -> Side:
    import torch

    from benchmarks.reference import augment as operations
    from benchmarks.reference import matching, network, sides

    loop: Any = sides.loop(case)
    targets = [loop.real_gradient(k, loop.draw(k).real) for k in range(len(loop.real))]

    def side() -> None:
        losses = []
        for k, target in enumerate(targets):
            images = loop.images[k]
            drawn = operations.random_draws(loop.groups, images, shared=True)
            made = operations.apply(drawn, images)
            gradient = loop.made_gradient(k, made)
            losses.append(matching.distance(loop.objective, target, gradient))
        torch.autograd.grad(torch.stack(losses).sum(), [loop.images])
        network.finish()

    return side


def experts(setting: Setting, against: bool, count: int = EXPERTS) -> Race:
    """An epoch of some experts, as a bank trains them."""
    case = make_case("mtt", setting, 1)
    strategy = case.recipe.objective.augmentation
    run = make_epochs(
        case.network,
        Training(1, RATE, batch_size=BATCH),
        augment.on_images(augment.per_image(augment.pipeline(strategy))),
        microbatch=case.microbatch,
    )
    data = batch_of(case, EXPERT_IMAGES)
    keys = jax.random.split(jax.random.key(0), count)
    start = lambda key: run.init(Learner(*case.network.init(key)))
    states = jax.jit(jax.vmap(start))(keys)

    def epoch(keys, states, data):
        one = lambda xs: run.epoch(xs[0], xs[1], data, jnp.int32(0))
        return policy.map_axis(one, (keys, states), policy.choices().experts)

    program = compiled(epoch, keys, states, data)
    theirs = None
    if against:
        from benchmarks.reference import network
        from benchmarks.reference import training as loops

        params, *given = given_to_reference(case, data)
        theirs = loops.experts(
            [network.fresh(params) for _ in range(count)],
            (given[0], given[1]),
            RATE,
            BATCH,
            draws.groups_of(strategy),
        )
    return Race(
        calls(program, keys, states, data),
        theirs,
        program,
        count * EXPERT_IMAGES * flops.gradient(setting),
    )


def evaluation(setting: Setting, networks: int) -> Race:
    """Networks trained from scratch on a small set and tested."""
    case = make_case("dsa", setting, IPC)
    strategy = augment.pipeline(case.recipe.objective.augmentation)
    evaluate = make_evaluate(
        case.network,
        Training(EPOCHS, RATE, momentum=0.9, weight_decay=5e-4),
        augment.on_images(augment.per_image(strategy)),
        case.microbatch,
    )
    real = case.inputs.real
    some = real._replace(images=real.images[:HELD_OUT], labels=real.labels[:HELD_OUT])
    keys = jax.random.split(jax.random.key(0), networks)
    sets = repeat(flatten(case.state.codes), networks)
    program = compiled(evaluate, keys, sets, some)
    trained = EPOCHS * setting.classes * case.ipc * flops.gradient(setting)
    work = networks * (trained + HELD_OUT * flops.forward(setting)[0])
    return Race(
        calls(program, keys, sets, some),
        None,
        program,
        work,
    )
