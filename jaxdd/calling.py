"""What every function has that does the work of a program.

Its events go to a callback of the caller, and it speaks of keywords where the program
speaks of flags, in events and in refusals.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from jaxdd.errors import UserError
from jaxdd.fields import Misfit
from jaxdd.fields.keywords import in_keywords
from jaxdd.progress import Callback, Event, Message, listening


@contextlib.contextmanager
def called(
    options: type | None,
    progress: Callback | None = None,
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[None]:
    """Run the body of a function whose keywords are the flags of a program.

    Args:
        options: the flags of the program, a dataclass; None for those in `renamed`.
        progress: as of `jaxdd.progress.listening`.
        renamed: {flag: argument} of those that have another name or no field.

    Raises:
        UserError: as the body, about keywords; or the callback cannot be called.

    Example:
        >>> from jaxdd.progress import say
        >>> with called(None, print, renamed={"out": "path"}):
        ...     say("--out=a.npz is replaced")
        path=a.npz is replaced
    """

    def of_keywords(event: Event) -> None:
        if isinstance(event, Message):
            event = Message(in_keywords(event.text, options, renamed))
        progress(event)  # type: ignore[misc]

    try:
        with listening(of_keywords if callable(progress) else progress):
            yield
    except UserError as error:
        sentence = error.in_flags() if isinstance(error, Misfit) else str(error)
        error.args = (in_keywords(sentence, options, renamed),)
        # What raised it has nothing to add: its sentence says all.
        raise error from None
