"""The foreign formats by name. Another one is a file in `readers/` and a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxdd.errors import UserError, choose
from jaxdd.exchange.foreign import Foreign
from jaxdd.exchange.options import AUTO, Options
from jaxdd.exchange.readers import arrays, dc, pairs, trajectory
from jaxdd.storage.paths import shown


class Format(NamedTuple):
    """A form that the content of a container may have.

    Attributes:
        fits: (content, path) -> whether it has that form.
        read: (content, path, options) -> the set.
    """

    fits: Callable[[Any, Path], bool]
    read: Callable[[Any, Path, Options], Foreign]


# `auto` takes the first that fits; pairs of IDC and NCFM look the same.
FORMATS: Mapping[str, Format] = {
    "dc": Format(dc.fits, dc.read),
    "idc": Format(pairs.fits, pairs.read_idc),
    "ncfm": Format(pairs.fits, pairs.read_ncfm),
    "trajectory": Format(trajectory.fits, trajectory.read),
    "arrays": Format(arrays.fits, arrays.read),
}
FOLDER = "folder"
NAMES = (AUTO, *FORMATS, FOLDER)


def read_content(content: Any, place: Path, options: Options) -> Foreign:
    """The set in the content of a container.

    Raises:
        UserError: it has none of the known forms, or not that of `options.format`.
    """
    name = options.format
    if name == AUTO:
        if options.method == "ncfm" and pairs.fits(content, place):
            name = "ncfm"
        else:
            fitting = (x for x, form in FORMATS.items() if form.fits(content, place))
            name = next(fitting, "")
    if not name:
        raise UserError(
            f"{shown(place.name)} has the form of no known set: give --format, one of "
            f"{', '.join(NAMES)}"
        )
    return choose("--format", name, FORMATS).read(content, place, options)
