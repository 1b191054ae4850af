"""Random sets of flags for every program, checked up to where a run would begin.

    python -m tests.faults.flags 500

prints what became of them. A set is understood by the program or refused in one
sentence; anything else is a fault.
"""

import contextlib
import dataclasses
import importlib
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from benchmarks.parts.cases import SETTINGS
from jaxdd import fields
from jaxdd.errors import UserError
from jaxdd.methods.recipes import METHODS
from jaxdd.nets import NETS
from jaxdd.primitives import DISTANCES
from jaxdd.scores.table import SCORES
from jaxdd.synthetic.initial import INITIALS

PROGRAMS = (
    *(f"experiments.{name}" for name in (
        "distill", "experts", "evaluate", "difficulty", "d4a", "pad", "sdc", "matrix",
        "demo", "prune",
    )),
    *(f"benchmarks.{name}" for name in (
        "steps", "scaling", "unroll", "primitives", "profile", "targets", "plan",
        "accelerator",
    )),
)  # fmt: skip
# Where runs are that begin by making or locking a folder.
ENGINES = (
    "jaxdd.distillation.", "jaxdd.evaluation.", "jaxdd.scoring.", "experiments.",
    "benchmarks.",
)  # fmt: skip
LONGEST = 900  # characters of a sentence
SECONDS = 60.0  # until a set is understood, on a busy machine

INTEGERS = (
    0, 1, 2, 3, 5, 10, 64, 1000, -1, -7, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64,
    10**30, -(2**31), -(10**30),
)  # fmt: skip
NUMBERS = (
    0.0, 0.1, 0.5, 0.9999999, 1.0, 3.0, -1.0, 5e-324, 1e-300, 1e38, 1e300, -1e300,
    float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
TEXTS = (
    "", "none", "x", "x" * 300, "a\nb", "a\0b", "\udcff", "é", "[/b]", "$$", "%s", "{}",
    ",", "1,2", "0,0", "1,x", "-1", "nan", "9" * 400, "9" * 5000, "1:0.1", "1:0.1,0:2",
    "99999999999999999999:0.5", "1:nan", "~", "~nosuchuser/x", "gs://bucket",
    "/dev/null", "/", "folder:", "folder:/dev/null", "../..", "all", "auto",
)  # fmt: skip
# What a flag does take, so that sets get beyond the first check.
CHOICES: dict[str, tuple[str, ...]] = {
    "method": tuple(METHODS),
    "methods": ("dsa,mtt", "dm", "all", "dsa,dsa"),
    "net": tuple(NETS),
    "nets": ("mlp", "convnet,mlp"),
    "init": tuple(INITIALS),
    "distance": tuple(DISTANCES),
    "score": tuple(SCORES),
    "end": ("easy", "median", "hard"),
    "stream": ("auto", "always", "never"),
    "mask": ("none", "depth", "loss"),
    "norm": ("instance", "batch", "group", "none"),
    "activation": ("relu", "swish"),
    "pooling": ("avg", "max", "none"),
    "labels": ("hard", "soft", "teacher"),
    "augmentation": ("none", "flip", "color_crop_cutout_flip_scale_rotate"),
    "forgetting": ("none", "proxy", "replay"),
    "formation": ("single", "multi", "bound"),
    "sdc_schedule": ("constant", "linear", "log"),
    "seeds": ("0", "0,1", "1,1", "0,-1", "4294967296"),
    "weights": ("1", "-1,1,10", "1,1", "inf"),
    "weight": ("1", "0.3", "dsa:1,mtt:0.3", "dsa:1", "dsa:inf,mtt:1", "0"),
    "settings": (*SETTINGS, "standard,small"),
    "removals": ("4:0.1", "2:0.1,4:0.2"),
    "select": ("last", "validation"),
    "baselines": ("random", "herding,el2n_hard,full", "el2n", "full,full"),
    "select_lr": ("auto", "0.1,0.01", "0.1,0.1"),
}


# Given by a program to a process of its own, which measures at once.
CHILDREN = ("one", "section", "until", "write_expected")


class Begun(Exception):
    """A program is about to write: all that was given is understood."""


class Answer(NamedTuple):
    """What became of a set of flags."""

    kind: str  # "understood", "refused" or "fault"
    text: str = ""


def draw(seed: int, workdir: Path) -> tuple[str, dict[str, Any]]:
    """(program, flags): few flags, so that one fault does not hide another."""
    rng = random.Random(seed)
    program = rng.choice(PROGRAMS)
    every = dataclasses.fields(importlib.import_module(program).Config)
    known = [field for field in every if field.name not in CHILDREN]
    flags: dict[str, Any] = {}
    for field in known:
        if field.default is dataclasses.MISSING:
            is_path = fields.type_of(field) is str
            flags[field.name] = str(workdir / "run") if is_path else 0.5
    for field in rng.sample(known, min(len(known), rng.randint(1, 4))):
        flags[field.name] = value_of(rng, field)
    return program, flags


def value_of(rng: random.Random, field: dataclasses.Field) -> Any:
    kind = fields.type_of(field)
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        return rng.choice(INTEGERS[: rng.choice((8, len(INTEGERS)))])
    if kind is float:
        return rng.choice(NUMBERS[: rng.choice((6, len(NUMBERS)))])
    if rng.random() < 0.7 and field.name in CHOICES:
        return rng.choice(CHOICES[field.name])
    if rng.random() < 0.5 and field.name == "dataset":
        return "digits"
    return rng.choice(TEXTS)


def answer(program: str, flags: dict[str, Any]) -> Answer:
    """Hand the flags to the program, which stops where it would begin to write."""
    module = importlib.import_module(program)
    # The run of a program may be in the library, or in the skeleton of comparisons.
    engines = [x for name, x in sys.modules.items() if name.startswith(ENGINES)]
    with contextlib.ExitStack() as stack:
        for place, name in itertools.product(engines, ("owned", "make_folder")):
            if hasattr(place, name):
                stack.enter_context(mock.patch.object(place, name, side_effect=Begun))
        began = time.monotonic()
        try:
            config = fields.understood(module.Config(**flags))
            module.run(config)
        except Begun:
            pass
        except UserError as error:
            return judged(str(error))
        except Exception as error:
            return Answer("fault", f"{type(error).__name__}: {str(error)[:300]}")
        if time.monotonic() - began > SECONDS:
            return Answer("fault", f"took over {SECONDS:.0f} s")
    return Answer("understood")


def judged(sentence: str) -> Answer:
    """A refusal, if it is one sentence that every terminal can show."""
    if "\n" in sentence or len(sentence) > LONGEST or not sentence.isprintable():
        return Answer("fault", f"no sentence to show: {sentence[:300]!r}")
    return Answer("refused", sentence)


def faults(count: int, first: int = 0) -> tuple[Counter, list[str]]:
    """What became of `count` sets from a seed on, and every fault with its flags."""
    kinds: Counter = Counter()
    told = []
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as cache,
        mock.patch.dict(os.environ, JAXDD_CACHE=cache),
    ):
        for seed in range(first, first + count):
            program, flags = draw(seed, Path(folder))
            found = answer(program, flags)
            kinds[found.kind] += 1
            if found.kind == "fault":
                told.append(f"{seed}: {program} {flags!r:.300}: {found.text}")
            left = list(Path(folder).iterdir())
            if left:
                told.append(f"{seed}: {program} {flags!r:.300}: left {left[0].name}")
                return kinds, told
    return kinds, told


if __name__ == "__main__":
    counted, lines = faults(int(sys.argv[1]), *map(int, sys.argv[2:]))
    print(*lines, dict(counted), sep="\n")
