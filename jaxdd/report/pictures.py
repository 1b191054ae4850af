"""Pictures of a run: one that cannot be drawn is left out, and the run continues."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jaxdd.errors import NotWritten, UserError
from jaxdd.progress import say
from jaxdd.storage.paths import reason, shown
from jaxdd.storage.recognising import Kind, marked

T = TypeVar("T")
# Which of the pictures that are there may be replaced by one.
PICTURE = Kind("a picture that Matplotlib drew", marked(b"Matplotlib", 400))


def draw(function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
    """Draw a picture; if that fails, a warning goes to `progress.say`.

    Args:
        function: draws one picture, such as `report.curves` or `report.grid_png`.
        args, kwargs: its arguments; the path of a .png or .html among them is the
            picture's.

    Returns:
        The result of the function, such as the path; None if the picture was left out.

    Raises:
        NotWritten: the disk refused the picture, as it will refuse later files.
    """
    try:
        return function(*args, **kwargs)
    except NotWritten:
        raise
    except Exception as error:
        paths = (x for x in (*args, *kwargs.values()) if isinstance(x, Path))
        name = next((x for x in paths if x.suffix in (".png", ".html")), "a picture")
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        cause = f"it cannot be drawn ({kind}{reason(error)})"
        say(f"warning: {shown(name)} is left out, since {cause}")
        return None
