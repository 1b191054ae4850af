"""The derivative rule of the lift over classes, against plain autodiff."""

import chex
import jax
import jax.numpy as jnp

from jaxdd.objectives.lifts import class_gradients
from jaxdd.types import Batch, Inputs, Learner
from tests.helpers import to64, toy_inputs, toy_start

KEY = jax.random.key(0)
LEARNER = Learner({"w": jnp.float32(0.7)}, {})


def of_class(new: Batch, key, index, learner, inputs: Inputs, step):
    """Any function of all its arguments, which differs from class to class."""
    noise = jax.random.uniform(key)
    mean = jnp.mean(inputs.real.images)
    values = jnp.sin(learner.params["w"] * new.images + noise) * (index + 1)
    weights = new.labels[:, 0] ** 2 + jax.nn.one_hot(index, new.labels.shape[0])
    value = jnp.sum(jnp.sum(values**2, axis=(1, 2, 3)) * weights) + mean * step
    return value, {"value": value, "noise": noise}


def by_loop(key, synthetic, learner, inputs, step):
    total, infos = 0.0, []
    for k in range(synthetic.images.shape[0]):
        batch = Batch(synthetic.images[k], synthetic.labels[k])
        arguments = jax.random.fold_in(key, k), k, learner, inputs, step
        value, info = of_class(batch, *arguments)
        total, infos = total + value, [*infos, info]
    return total, jax.tree.map(lambda *x: sum(x), *infos)


def test_the_value_and_the_gradient_are_those_of_plain_autodiff(x64):
    """Also where the objective is only a part of what is differentiated."""
    inputs = toy_inputs()
    start = to64(toy_start(inputs)._replace(step_size=jnp.float32(0.5)))

    def value_and_gradient(objective):
        def loss(synthetic):
            value, info = objective(KEY, synthetic, LEARNER, inputs, jnp.int32(3))
            return -0.3 * value + jnp.sum(synthetic.images) * synthetic.step_size, info

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(start)

    chex.assert_trees_all_close(
        value_and_gradient(class_gradients(of_class)),
        value_and_gradient(by_loop),
        rtol=1e-10,
    )


def test_without_a_gradient_the_value_is_the_same():
    inputs, start = toy_inputs(), toy_start(toy_inputs())
    arguments = KEY, start, LEARNER, inputs, jnp.int32(0)
    objective = class_gradients(of_class)
    values = (jax.jit(function)(*arguments) for function in (objective, by_loop))
    chex.assert_trees_all_close(*values, rtol=1e-5)


def test_a_class_is_traced_once_for_the_value_and_the_gradient():
    inputs, start = toy_inputs(), toy_start(toy_inputs())
    chex.clear_trace_counter()
    objective = class_gradients(chex.assert_max_traces(of_class, n=1))
    loss = lambda synthetic: objective(KEY, synthetic, LEARNER, inputs, jnp.int32(0))
    jax.jit(jax.grad(loss, has_aux=True))(start)
