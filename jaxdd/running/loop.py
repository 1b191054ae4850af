"""A method's steps as one compiled loop, shared by all runs of one shape."""

import functools
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
    """Compile-once driver: as many steps as asked for, stopping before bad ones.

    Returns:
        jitted (state, inputs, root key, stop) -> (state, sound, infos), which runs the
        method until `stop` completed steps. A step whose info is not finite, or after
        which the step size is negative, is undone and ends the run: `sound` is False
        and the state is the one before it. `infos` has [longest_chunk()] entries per
        name; entry i belongs to the i-th step done. Where `inputs` has spans, they are
        [T, ...] and span i is for the i-th step. The state is donated. The trip count
        is dynamic, so that chunks of any length are one program with the same bits.
    """

    def advance(state: MethodState, inputs: Inputs, root: Key, stop: Array):
        first = state.step

        def inputs_of(slot: Array) -> Inputs:
            return inputs._replace(span=jax.tree.map(lambda x: x[slot], inputs.span))

        shapes = jax.eval_shape(method.step, root, state, inputs_of(first))[1]
        length = longest_chunk()
        buffer = {name: jnp.zeros(length, x.dtype) for name, x in shapes.items()}

        def going(carry):
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

        return jax.lax.while_loop(going, body, (state, jnp.bool_(True), buffer))

    return jax.jit(advance, donate_argnums=0)


class Program:
    """A method's loop, compiled once for all runs whose arguments have one shape."""

    def __init__(self, method: Method):
        self.advance = make_advance(method)
        self.known: dict[Any, Any] = {}

    def compiled(self, *arguments):
        """The compiled loop for arguments like these."""
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            return self.advance  # nothing is compiled, and all can be looked into
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)
        kind = structure, shapes, devices.spread_over()
        if kind not in self.known:
            self.known[kind] = self.advance.lower(*arguments).compile()
        return self.known[kind]

    def bytes(self) -> int | None:
        """Device memory of the largest program: arguments, results, temporaries.

        None where nothing was compiled, as in a run that had no step left to take.
        """
        analyses = [program.memory_analysis() for program in self.known.values()]
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


@functools.lru_cache(maxsize=4)
def program_of(method: Method) -> Program:
    """The program of a method; segments of one distillation share it."""
    return Program(method)
