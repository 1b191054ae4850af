"""Before anything is imported: streams that hold, Ctrl-C, packages that are broken.

JAX and the rest take seconds to import, long before `flags.main` can catch anything.
Nothing is written by then, so that leaving at once loses nothing. Standard library
only.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

OURS = ("jaxdd", "experiments", "benchmarks", "tests", "__main__")


def begin() -> None:
    """Guard the imports of a program; nothing where the package is only imported.

    `python -m` looks a module up with "-m" as its name, which is how the two are told
    apart.
    """
    if sys.argv[:1] != ["-m"]:
        return
    open_streams()
    sys.excepthook = _tell
    # Whoever starts programs in the background may have them ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def end() -> None:
    """Hand over to `flags.main`, which has sentences of its own."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.excepthook = sys.__excepthook__


def open_streams() -> None:
    """Standard streams that are open, and that can show every character somehow.

    Where one was closed (`>&-`), a file of the run would take its number, and whatever
    is printed would go into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def broken_package(error: BaseException) -> str | None:
    """The package whose import raised an error, if that is where it comes from.

    A package of ours is none: what it raises is a bug, and shows where.
    """
    package = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        name = str(frame.f_globals.get("__name__", "")).split(".")[0]
        if name in OURS:
            package = None
        # Python leaves out the frames of the import itself.
        elif package is None and frame.f_code.co_name == "<module>":
            package = name
        trace = trace.tb_next
    if package is None and isinstance(error, ImportError) and error.name:
        package = error.name.split(".")[0]
    return None if package in OURS else package


def import_sentence(error: BaseException) -> str | None:
    """What to say of an error that a package's import raised; None of any other."""
    package = broken_package(error)
    if package is None:
        return None
    text = " ".join(str(error).split())[:300]
    return (
        f"the package {package} cannot be imported ({type(error).__name__}: {text}): "
        "install requirements.txt again, or mend what it names"
    )


def _stop(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + signum)


def _tell(kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """In the place of a traceback, where it is not a bug of ours."""
    sentence = import_sentence(error) if isinstance(error, Exception) else None
    if sentence is None:
        sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]
        return
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    os._exit(2)
