"""Images on the host in the place of images on the device.

`data.real.take` indexes the images of `RealData` inside of compiled programs. Where
they are `HostImages`, that index goes to the host, which reads the rows and returns
them: every objective, learner, score and evaluation streams without knowing it. Batches
are those of memory, bit for bit. What is computed of them is compiled in another
program, which may round differently; with JAX's usual optimisations no difference was
seen on CPUs.
"""

from collections.abc import Callable

import jax
import numpy as np

from jaxdd.data.streaming.rows import Rows
from jaxdd.devices import mesh
from jaxdd.errors import UserError
from jaxdd.types import Array

_refusals: list[str] = []


def refusal_of(error: Exception) -> str | None:
    """The sentence by which reading failed, where that is why a program failed.

    Args:
        error: what JAX raised.
    """
    return next((x for x in _refusals if x in str(error)), None)


@jax.tree_util.register_static
class HostImages:
    """Images [M, ...] that a compiled program reads from the host as it needs them.

    A pytree without leaves: its identity is part of a program, its images are not.

    Args:
        rows: the images.
    """

    def __init__(self, rows: Rows):
        self.rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype:
        return self.rows.dtype

    @property
    def ndim(self) -> int:
        return self.rows.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Array | slice) -> Array:
        """The images at `indices`, an array of integers of any shape or a slice."""
        if isinstance(indices, slice):
            indices = jax.numpy.arange(len(self))[indices]
        return self._at(jax.numpy.asarray(indices))

    def _of(self, indices: Array) -> jax.ShapeDtypeStruct:
        """What the images at some indices are."""
        dtype = jax.dtypes.canonicalize_dtype(self.dtype)
        return jax.ShapeDtypeStruct((*indices.shape, *self.shape[1:]), dtype)

    def _at(self, indices: Array) -> Array:
        result = self._of(indices)

        def read(indices: Array) -> Array:
            # The rows of all slices of a mapped axis are read together.
            return jax.pure_callback(
                self._read, result, indices, vmap_method="broadcast_all"
            )

        # Of several machines, each reads what its own devices ask for.
        return mesh.on_every_device(read)(indices)

    def _read(self, indices: Array) -> np.ndarray:
        try:
            return self.rows[np.asarray(indices)]
        except UserError as error:
            # JAX raises an error of its own, in which this one is a text.
            _refusals.append(str(error))
            raise

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.rows == other.rows

    def __hash__(self) -> int:
        return hash(self.rows)


@jax.tree_util.register_static
class ExpectedImages(HostImages):
    """Blank images [M, ...] in the place of those on the host, for a rehearsal.

    A program that is given them announces the rows which it would have read. They are
    equal to nothing else: a program announces to those who gave it the images.

    Args:
        rows: the images.
        announce: called on the host with the images and indices of any shape.
    """

    def __init__(self, rows: Rows, announce: Callable[[Rows, np.ndarray], None]):
        super().__init__(rows)
        self.announce = announce

    def _at(self, indices: Array) -> Array:
        jax.debug.callback(self._announce, indices)
        blank = self._of(indices)
        return jax.numpy.zeros(blank.shape, blank.dtype)

    def _announce(self, indices: Array) -> None:
        self.announce(self.rows, np.asarray(indices))

    __eq__ = object.__eq__
    __hash__ = object.__hash__
