"""Reading ahead of the steps, where real images are on the disk.

Which rows a step reads follows from the key of the run and from counters in the state.
A rehearsal is the step with blank images, of which everything but its random draws is
left out, compiled for the host. It runs in a thread, a few steps ahead, and the system
reads the rows that it announces into its cache while the device computes. Nothing else
depends on it: a step whose rows were not announced reads them itself. Source: ours.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jax.sharding import SingleDeviceSharding

from jaxdd.data.streaming.host import ExpectedImages, HostImages
from jaxdd.data.streaming.rows import RowFile, Rows
from jaxdd.devices import policy
from jaxdd.devices.memory import host_memory
from jaxdd.progress import say
from jaxdd.types import Array, Inputs, Key, Method, MethodState

# How often the thread looks whether the steps have come nearer.
LOOK_SECONDS = 0.002
# The share of the memory that files may take and stay in the cache of the system.
CACHED = 0.5


class Rehearsal:
    """A step that draws its random numbers and announces rows, and does nothing else.

    Of the state it takes and returns only what later draws depend on, such as a count
    of minibatches.

    Args:
        method: the method.
        state: the shapes of its state.
        inputs: with images that announce what is read of them.
        root: key of the run.
        device: what rehearses, a CPU.
    """

    def __init__(
        self,
        method: Method,
        state: MethodState,
        inputs: Inputs,
        root: Key,
        device: jax.Device,
    ):
        def step(state: MethodState, inputs: Inputs, root: Key) -> MethodState:
            key = jax.random.fold_in(root, state.step)
            return method.step(key, state, inputs)[0]

        self.device = device
        data = jax.device_put((inputs, root), device)
        whole = jax.make_jaxpr(step)(state, *data)
        self.decides = _deciding(whole)
        needed, used = dce_jaxpr(whole.jaxpr, self.decides, instantiate=False)
        rest = zip(jax.tree.leaves(data), used[len(self.decides) :], strict=True)
        self.data = [x for x, yes in rest if yes]
        short = jax.jit(jaxpr_as_fun(ClosedJaxpr(needed, whole.consts)))
        on_it = SingleDeviceSharding(device)
        taken = [
            jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on_it)
            for x, yes in zip(jax.tree.leaves(state), self.decides, strict=True)
            if yes
        ]
        self.compiled = short.lower(*taken, *self.data).compile()

    def step(self, deciding: list[Array]) -> list[Array]:
        """Announce what a step reads, and return what decides about the next one."""
        return jax.block_until_ready(self.compiled(*deciding, *self.data))

    def of(self, state: MethodState) -> list[Array]:
        """Copies of what later draws depend on; the steps donate the state."""
        leaves = zip(jax.tree.leaves(state), self.decides, strict=True)
        return jax.device_put([jnp.copy(x) for x, yes in leaves if yes], self.device)


def _deciding(step: ClosedJaxpr) -> list[bool]:
    """Which leaves of a state decide about what this step or later ones announce."""
    decides = [False] * len(step.jaxpr.outvars)
    while True:
        _, used = dce_jaxpr(step.jaxpr, decides)  # of the state, then of the data
        more = [a or b for a, b in zip(decides, used, strict=False)]
        if more == decides:
            return decides
        decides = more


class ReadAhead:
    """A thread that has the rows of the coming steps read.

    Args:
        method: the method that runs.
        state: of it, at any step.
        inputs: with images on the host.
        root: key of the run.
        steps: how many steps to be ahead.
        device: what rehearses, a CPU.
    """

    def __init__(
        self,
        method: Method,
        state: MethodState,
        inputs: Inputs,
        root: Key,
        steps: int,
        device: jax.Device,
    ):
        self.steps = steps
        self.announced: list[tuple[Rows, np.ndarray]] = []
        self.files = _files(inputs)
        inputs = _replaced(inputs, lambda x: ExpectedImages(x.rows, self._announce))
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
        self.pool = ThreadPoolExecutor(1, "read ahead")
        # In its thread there is no mesh, and the steps do not wait for its compilation.
        self.rehearsal = self.pool.submit(
            Rehearsal, method, shapes, inputs, root, device
        )
        self.refused = False
        self.job: Future | None = None
        self.over = threading.Event()

    def follow(self, state: MethodState, count: int) -> None:
        """Read ahead of the next steps, instead of those of the call before.

        Nothing is read before the rehearsal is compiled.

        Args:
            state: before the first of them; its counters are copied.
            count: how many steps.
        """
        self._end()
        if not self.rehearsal.done() or self.refused:
            return
        error = self.rehearsal.exception()
        if error is not None:
            # Steps of a method from elsewhere may do what only real images allow.
            self._refuse(error)
            return
        rehearsal = self.rehearsal.result()
        self.over = threading.Event()
        self.job = self.pool.submit(
            self._go_ahead,
            rehearsal,
            rehearsal.of(state),
            self._bytes_read(),
            count,
            self.over,
        )

    def close(self) -> None:
        """End what is read; a compilation that goes on ends by itself."""
        self._end()
        self.pool.shutdown(wait=False)

    def _end(self) -> None:
        self.over.set()
        error = None if self.job is None else self.job.exception()
        self.job = None
        if error is not None:
            # What the steps themselves cannot read they refuse themselves.
            self._refuse(error)

    def _refuse(self, error: BaseException) -> None:
        say(f"images are not read ahead of the steps ({error})")
        self.refused = True

    def _announce(self, rows: Rows, indices: np.ndarray) -> None:
        self.announced.append((rows, indices))

    def _go_ahead(
        self,
        rehearsal: Rehearsal,
        deciding: list[Array],
        before: int,
        count: int,
        over: threading.Event,
    ) -> None:
        """Announce `count` steps, of which none has read when `before` bytes were."""
        # Only what the steps have read tells how far they are.
        ends: list[int] = []  # bytes that were read when each step has read
        for index in range(count):
            if index >= self.steps:
                begun = ends[index - self.steps]
                while self._bytes_read() < begun and not over.is_set():
                    over.wait(LOOK_SECONDS)
            if over.is_set():
                return
            self.announced.clear()
            deciding = rehearsal.step(deciding)
            for rows, indices in self.announced:
                chosen = rows.of_file(indices)
                before += len(chosen) * rows.file.row_bytes
                rows.file.expect(chosen)
            ends.append(before)

    def _bytes_read(self) -> int:
        return sum(file.bytes_read for file in self.files)


def read_ahead(
    method: Method, state: MethodState, inputs: Inputs, root: Key
) -> ReadAhead | None:
    """What reads ahead of a run; None where nothing is to be read, or nobody gains.

    Files of up to half of the memory stay in the cache of the system, which has read
    them when they were opened.

    Args:
        method: the method that runs.
        state: of it, at any step.
        inputs: its data.
        root: key of the run.
    """
    steps, memory = policy.choices().read_ahead, host_memory()
    size = sum(file.nbytes for file in _files(inputs))
    stays = memory is not None and size <= CACHED * memory
    # Of several machines, each would read all rows instead of those of its devices.
    if steps == 0 or size == 0 or stays or jax.process_count() > 1:
        return None
    try:
        device = jax.devices("cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
        return None
    return ReadAhead(method, state, inputs, root, steps, device)


def _is_host(x: Any) -> bool:
    return isinstance(x, HostImages)


def _replaced(inputs: Inputs, change: Callable[[HostImages], HostImages]) -> Inputs:
    """Inputs with other images on the host."""
    return jax.tree.map(
        lambda x: change(x) if _is_host(x) else x, inputs, is_leaf=_is_host
    )


def _files(inputs: Inputs) -> set[RowFile]:
    """Those that images on the host are in."""
    leaves = jax.tree.leaves(inputs, is_leaf=_is_host)
    return {x.rows.file for x in leaves if _is_host(x)}
