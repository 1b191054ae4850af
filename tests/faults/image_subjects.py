"""What is damaged of folders of images: files and folders as they lie about."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from jaxdd.data import load
from tests.faults.damage import damage_bytes, of_file
from tests.faults.fuzz import Subject


def _build_images(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


def _damage_images(rng: Random, folder: Path) -> str:
    """Files and folders as they lie about on disks."""
    path = rng.choice(sorted(folder.rglob("*.png")))
    if rng.random() < 0.4:
        return of_file(str(path.relative_to(folder)), damage_bytes)(rng, folder)
    odd = path.parent / rng.choice(["z.png", "a.jpg", ".hidden.png", "é.png", "x.txt"])
    mode = rng.choice(["1", "L", "LA", "P", "RGBA", "CMYK", "I", "I;16", "F"])
    size = rng.choice([(6, 6), (1, 1), (6, 7), (0, 0), (3000, 1)])
    ways: dict[str, Callable[[], None]] = {
        "a pipe": lambda: os.mkfifo(odd),
        "a folder": lambda: odd.mkdir(),
        "a loop": lambda: odd.symlink_to(odd),
        "a broken link": lambda: odd.symlink_to("nowhere"),
        "a link upwards": lambda: odd.symlink_to(folder, target_is_directory=True),
        "a device": lambda: odd.symlink_to("/dev/zero"),
        "no UTF-8": lambda: (path.parent / os.fsdecode(b"\xff.png")).mkdir(),
        "a class without UTF-8": lambda: path.parent.rename(
            path.parent.with_name(os.fsdecode(b"\xff\xfe"))
        ),
        "an empty class": lambda: (path.parent.parent / "empty").mkdir(),
        "PostScript": lambda: odd.write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\nshowpage\n"
        ),
        "a bomb": lambda: path.write_bytes(
            path.read_bytes()[:16] + b"\x7f\xff\xff\xff" * 2 + path.read_bytes()[24:]
        ),
        f"{mode} {size}": lambda: Image.new(mode, size).save(odd, rng.choice(
            ["PNG", "TIFF", "BMP", "GIF"])),
        "nothing": lambda: odd.touch(),
        "a file for a class": lambda: (path.parent.parent / "bird").touch(),
        "no images": lambda: [x.unlink() for x in path.parent.iterdir()] and None,
    }  # fmt: skip
    for way in rng.sample(sorted(ways), len(ways)):
        with contextlib.suppress(OSError, ValueError, SystemError, KeyError):
            ways[way]()
            return f"{odd.relative_to(folder)}: {way}"
    return "nothing"


def _use_images(folder: Path) -> None:
    dataset = load(f"folder:{folder}")
    assert len(dataset.images) == len(dataset.labels)
    assert len(dataset.test_images) == len(dataset.test_labels)
    assert len(dataset.fingerprint) == 64


SUBJECTS = {"images": Subject(_build_images, _damage_images, _use_images)}
