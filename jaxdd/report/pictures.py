"""Pictures of results: one that cannot be drawn is left out, and the run goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jaxdd.errors import NotWritten, UserError
from jaxdd.progress import say
from jaxdd.storage.paths import reason, shown

T = TypeVar("T")


def draw(function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
    """Draw a picture; if that fails, say so and go on.

    Args:
        function: draws one picture, such as `report.curves` or `report.grid_png`.
        args, kwargs: of the function; the path of a .png among them is the picture's.

    Returns:
        The function's result, its path for example; None where it failed.

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
