"""Decoding of pictures, and conversion of arrays to other sizes and channels.

A file is hostile until it is decoded: Pillow would start Ghostscript for an EPS,
whatever its name, so that only the formats in `FORMATS` are ever tried.
"""

import contextlib
import io
import operator
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps

from jaxdd.data.checks import check_range, check_rank
from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import reason

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
    ".pbm",
)  # fmt: skip
# Pillow warns of a decompression bomb beyond this; here it is an error.
LARGEST_IMAGE = 89_478_485  # pixels
LARGEST_SIDE = 8192  # of images in a dataset, pixels
MODES = {1: "L", 3: "RGB"}
# Pillow's modes: those that are read unchanged, and those that need `Form.channels`.
_CHANNELS = {"1": 1, "L": 1, "P": 3, "RGB": 3}
_CONVERTIBLE = ("LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr")
_TRANSPARENT = " with transparency"
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's


# A side of square images, (height, width), or either as --image_size has it.
Size: TypeAlias = tuple[int, int] | int | str | None


def size_of(size: object) -> tuple[int, int] | None:
    """(H, W) of an image size, None where it is not given.

    Raises:
        UserError: it is no number of pixels, no two of them, and no text such as N or
            HxW.

    Example:
        >>> size_of("32"), size_of("20x30"), size_of(32), size_of((20, 30))
        ((32, 32), (20, 30), (32, 32), (20, 30))
    """
    if size is None:
        return None
    sides: list[Any] = list(size) if isinstance(size, list | tuple) else [size]
    if len(sides) in (1, 2) and not any(isinstance(side, bool) for side in sides):
        with contextlib.suppress(TypeError):
            return operator.index(sides[0]), operator.index(sides[-1])
    # A text, which may come from an artifact.
    match = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", str(size))
    if match is None or not isinstance(size, str):
        raise UserError(
            f"--image_size must be a number of pixels or HxW, not {quoted(size)}"
        )
    height, width = match[1], match[2] or match[1]
    return int(height), int(width)


class Form(NamedTuple):
    """The form to which images are converted; None keeps theirs.

    Attributes:
        channels: 1 (grey) or 3 (RGB; transparency is dropped).
        size: (H, W) in pixels: images are cut to that shape about the centre, then
            resized bicubically.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None


def form_of(channels: int | None, size: Size) -> Form:
    """The form that images can have.

    Raises:
        UserError: the number of channels or the size is out of range.
    """
    if channels not in (None, *MODES) or isinstance(channels, str):
        raise UserError(
            f"images are turned into 1 or 3 channels, not {quoted(channels)}"
        )
    sides = size_of(size)
    for side in sides or ():
        if not 1 <= side <= LARGEST_SIDE:
            raise UserError(
                f"images are resized to between 1 and {LARGEST_SIDE} pixels a side, "
                f"not {side}"
            )
    return Form(channels, sides)


class Kind(NamedTuple):
    """The properties of a picture file, turned as its EXIF data say, before decoding.

    Attributes:
        height, width: in pixels.
        mode: Pillow's mode, with a note about transparency.
        moving: whether the file has frames after the first one.
    """

    height: int
    width: int
    mode: str
    moving: bool

    @property
    def channels(self) -> int | None:
        """Channels of the image, None if it has to be converted."""
        return _CHANNELS.get(self.mode)

    @property
    def convertible(self) -> bool:
        """Whether the image can be converted to 1 or 3 channels.

        Images of 16 bits cannot: which part of their range matters is unknown.
        """
        return _is_convertible(self.mode.removesuffix(_TRANSPARENT))


def _is_convertible(mode: str) -> bool:
    return mode in _CHANNELS or mode in _CONVERTIBLE


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file, and never a pipe, which would wait for ever.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no regular file.
    """
    # The open file is examined and not its name, which can change meanwhile.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is no regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress Pillow's warnings: their causes are refused here or intended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_picture(source: io.BufferedReader | io.BytesIO) -> Image.Image:
    """A picture of one of `FORMATS`, bounded in size, not yet decoded.

    Raises:
        ValueError: the format is none of these, or the picture is too large.
        Exception: Pillow raises many types for broken files.
    """
    try:
        image = Image.open(source, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError(f"it is none of {', '.join(FORMATS)}") from None
    if image.width * image.height > LARGEST_IMAGE:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, more than {LARGEST_IMAGE}"
        )
    return image


def kind_of(image: Image.Image) -> Kind:
    """The properties of an opened picture."""
    width, height = image.size
    # The four turns that lay an image on its side.
    if image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8):
        width, height = height, width
    mode = image.mode
    if "transparency" in image.info and mode in _CHANNELS:
        mode += _TRANSPARENT
    # A phone's JPEG (MPO) has a second picture that no viewer shows.
    moving = image.format != "MPO" and getattr(image, "is_animated", False)
    return Kind(height, width, mode, moving)


def decode(
    image: Image.Image, channels: int, size: tuple[int, int] | None
) -> np.ndarray:
    """The first frame of an opened picture, [H, W, C] uint8.

    Raises:
        ValueError: the conversion would cut the range of its mode.
        Exception: Pillow raises many types for broken files.
    """
    if image.mode != MODES[channels]:
        if not _is_convertible(image.mode):
            raise ValueError(f"it has the mode {image.mode!r}")
        image = image.convert(MODES[channels])
    if size is not None:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[..., None] if channels == 1 else array


def read_file(path: Path, form: Form) -> tuple[np.ndarray, Kind]:
    """A picture as a viewer shows it, [H, W, C] uint8, and the properties of its file.

    Raises:
        ValueError: the file cannot be decoded; the message is a phrase.
    """
    with quietly():
        return read_quietly(path, form)


def read_quietly(path: Path, form: Form) -> tuple[np.ndarray, Kind]:
    """`read_file` for threads: warnings are suppressed in the thread that starts them.

    Raises:
        ValueError: as `read_file`.
    """
    try:
        with open_file(path) as file, open_picture(file) as image:
            kind = kind_of(image)
            channels = form.channels or kind.channels
            if channels is None:
                raise ValueError(f"it has the mode {kind.mode!r}")
            return decode(ImageOps.exif_transpose(image), channels, form.size), kind
    except Exception as error:  # Pillow raises many types for broken files
        raise ValueError(reason(error)) from error


def look_at(path: Path) -> Kind:
    """The properties that a picture file declares.

    Raises:
        ValueError: the file cannot be read; the message is a phrase.
    """
    try:
        with quietly(), open_file(path) as file, open_picture(file) as image:
            return kind_of(image)
    except Exception as error:
        raise ValueError(reason(error)) from error


def fit_arrays(where: str, images: np.ndarray, form: Form) -> np.ndarray:
    """Images in arrays, converted to a form.

    Args:
        where: name of the images in messages.
        images: [M, H, W, C], or [M, H, W] for one channel; uint8, or float in [0, 1].
        form: the form; without any choice the images are returned unchanged.

    Returns:
        [M, H', W', C'] of the same type.

    Raises:
        UserError: the rank, type or number of channels is wrong, or floats are outside
            [0, 1].
    """
    if form == Form():
        return images
    images = images[..., None] if images.ndim == 3 else images
    check_rank(where, images.shape)
    whole = images.dtype == np.uint8
    is_number = whole or images.dtype.kind == "f"
    if not is_number or images.shape[-1] not in (1, 3, 4):
        raise UserError(
            f"the images of the {where} are {images.dtype} of shape {images.shape}: "
            "only uint8 and floats with 1, 3 or 4 channels can be converted"
        )
    check_range(where, images)  # resizing clips to this range
    images = images if whole else images.astype(np.float32, copy=False)
    if form.channels == 1 and images.shape[-1] > 1:
        grey = images[..., :3] @ _LUMA
        images = (np.rint(grey).astype(np.uint8) if whole else grey)[..., None]
    elif form.channels == 3:
        wide = images if images.shape[-1] > 1 else np.repeat(images, 3, axis=-1)
        images = wide[..., :3]
    if form.size is None:
        return images
    resized = np.empty((len(images), *form.size, images.shape[-1]), images.dtype)
    for image, target in zip(images, resized, strict=True):
        for c in range(image.shape[-1]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., c]))
            resized_plane = ImageOps.fit(
                plane, form.size[::-1], Image.Resampling.BICUBIC
            )
            target[..., c] = resized_plane
    # Bicubic weights are negative in part: floats leave [0, 1] a little.
    return resized if whole else np.clip(resized, 0, 1)
