"""A method's steps as one compiled loop, shared by all runs of one shape."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdd.devices import mesh as devices
from jaxdd.devices import policy
from jaxdd.primitives.trees import select
from jaxdd.types import Array, Inputs, Key, Method, MethodState


def longest_chunk() -> int:
    """Steps of the longest chunk: the length of the buffer that carries their infos."""
    return policy.choices().steps


def make_advance(method: Method):
    """The loop over the steps of a method, which stops before a bad one.

    Args:
        method: the method, of which only `step` and `stored` are used.

    Returns:
        A jitted function (state, inputs, root key, stop) -> (state, sound, infos) that
        runs the method until `stop` completed steps. A step whose info is not finite,
        or after which the step size is negative, is undone and ends the run: `sound` is
        False and the state is the one before it. `infos` has [longest_chunk()] entries
        per name; entry i belongs to the i-th step of the call. Where `inputs` has
        spans, they are [T, ...] and span i is for the i-th step. The state is donated.
        The trip count is dynamic, so that chunks of any length are one program with the
        same bits.
    """

    def advance(state: MethodState, inputs: Inputs, root: Key, stop: Array):
        first = state.step

        def inputs_of(slot: Array) -> Inputs:
            return inputs._replace(span=jax.tree.map(lambda x: x[slot], inputs.span))

        shapes = jax.eval_shape(method.step, root, state, inputs_of(first))[1]
        length = longest_chunk()
        buffer = {name: jnp.zeros(length, x.dtype) for name, x in shapes.items()}

        def goes_on(carry):
            state, sound, _ = carry
            return sound & (state.step < stop)

        def body(carry):
            state, _, buffer = carry
            key = jax.random.fold_in(root, state.step)
            slot = state.step - first
            new, info = method.step(key, state, inputs_of(slot))
            finite = jnp.all(jnp.isfinite(jnp.stack(list(info.values()))))
            sound = finite & (method.stored(new).step_size >= 0)
            buffer = {n: x.at[slot].set(info[n]) for n, x in buffer.items()}
            return select(sound, new, state), sound, buffer

        return jax.lax.while_loop(goes_on, body, (state, jnp.bool_(True), buffer))

    return jax.jit(advance, donate_argnums=0)


class Program:
    """A method and its loop, compiled once for all runs of one shape.

    Whoever owns a method makes its program and hands it to every run, so that the
    segments of a distillation share what is compiled.

    Attributes:
        method: the method.
        executables: the compiled loops, by the shapes of their arguments.
    """

    def __init__(self, method: Method):
        self.method = method
        self.advance = make_advance(method)
        self.executables: dict[Any, Any] = {}

    def compiled(self, *arguments):
        """The compiled loop for arguments of these shapes; see `make_advance`."""
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            return self.advance  # nothing is compiled: a debugger reaches every step
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        kind = structure, shapes, devices.spread_over()
        if kind not in self.executables:
            self.executables[kind] = self.advance.lower(*arguments).compile()
        return self.executables[kind]

    def bytes(self) -> int | None:
        """Device memory of the largest program: arguments, results, temporaries.

        None where nothing was compiled, as in a run that had no step left to take.
        """
        analyses = [program.memory_analysis() for program in self.executables.values()]
        return max(
            (
                x.temp_size_in_bytes
                + x.argument_size_in_bytes
                + x.output_size_in_bytes
                - x.alias_size_in_bytes
                for x in analyses
            ),
            default=None,
        )
