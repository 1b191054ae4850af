"""What the device and the surroundings refuse, as sentences.

The input is checked where it is read (`UserError`). What is here can happen anywhere:
memory that runs out, a disk, a package that does not import. A bug of the program is
none of this and keeps its traceback.
"""

import logging
from collections.abc import Callable

from experiments.console import guard
from jaxdd.data.streaming.host import refusal_of
from jaxdd.errors import UserError
from jaxdd.fields import Misfit
from jaxdd.storage.paths import reason, shown

# What XLA and its allocators say when there is no room.
_NO_ROOM = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "OUT_OF_MEMORY")
_LESS = (
    "use a smaller --width, batch or number of networks; --plan, where a program has "
    "it, says what a run needs"
)


def sentence(error: Exception) -> str | None:
    """What to tell the user, or None for a bug, whose traceback says more."""
    for kind, tell in _TELLING:
        if isinstance(error, kind):
            told = tell(error)
            if told is not None:
                return told
    return guard.import_sentence(error)


def quieten() -> None:
    """Have JAX not log what a sentence will say: why images could not be read."""
    logging.getLogger("jax._src.callback").addFilter(_is_no_refusal)


def _is_no_refusal(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))


def _of_host(error: Exception) -> str:
    detail = f" ({reason(error)})" if str(error) else ""
    return f"the memory of this machine is used up{detail}: {_LESS}"


def _of_device(error: Exception) -> str | None:
    told = refusal_of(error)
    if told is not None:
        return told
    if any(x in str(error) for x in _NO_ROOM):
        return f"the memory of the device is used up ({reason(error)}): {_LESS}"
    return None


def _of_system(error: Exception) -> str | None:
    """An error of the operating system: it has a number, and mostly a file."""
    assert isinstance(error, OSError)
    if error.errno is None:
        return None
    if error.filename is None:
        return f"the system refuses: {reason(error)}"
    name = error.filename
    if isinstance(name, bytes):
        name = name.decode(errors="surrogateescape")
    return (
        f"the system refuses {shown(name)}: {reason(error)}; mend that, or give "
        "another path"
    )


def _of_misfit(error: Exception) -> str | None:
    assert isinstance(error, Misfit)
    return error.in_flags()


# The first that has something to say of an error.
_TELLING: tuple[tuple[type[Exception], Callable[[Exception], str | None]], ...] = (
    (Misfit, _of_misfit),
    (UserError, str),
    (MemoryError, _of_host),
    (RuntimeError, _of_device),  # as a program runs
    (ValueError, _of_device),  # as an array is put on the device
    (OSError, _of_system),
)
