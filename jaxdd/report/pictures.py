"""Pictures of results: one that cannot be drawn is left out, and the run goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdd.errors import NotWritten, UserError
from jaxdd.progress import say
from jaxdd.storage.paths import reason, shown


def draw(function: Callable[..., Path], *args: Any, **kwargs: Any) -> Path | None:
    """Draw a picture; if that fails, say so and go on.

    Args:
        function: draws and writes one picture, such as `report.curves`.
        args, kwargs: of the function; the path of a .png among them is the picture's.

    Returns:
        The picture's path, or None where there is no picture.

    Raises:
        NotWritten: the disk refused it, as it will refuse what comes next.
    """
    try:
        return function(*args, **kwargs)
    except NotWritten:
        raise
    except Exception as error:
        paths = (x for x in (*args, *kwargs.values()) if isinstance(x, Path))
        name = next((x for x in paths if x.suffix == ".png"), "a picture")
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        cause = f"it cannot be drawn ({kind}{reason(error)})"
        say(f"warning: {shown(name)} is left out, since {cause}")
        return None
