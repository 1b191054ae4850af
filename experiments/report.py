"""Make a run's report again from its folder, or compare several runs on one page.

    python -m experiments.report --workdirs=runs/dsa,runs/dm --out=runs/both.html

A page is one file that needs no network and no script. Of one workdir the report is
made that its run wrote; of several the page has a table of accuracies with their
differences from the first, curves over each other, the images, and what differs in the
configurations. Nothing is computed but what the folders hold.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.distillation import reporting
from jaxdd.errors import UserError
from jaxdd.report.page import PAGE
from jaxdd.report.run_page import run_page
from jaxdd.report.runs_page import Named, runs_page
from jaxdd.storage.files import make_folder, output_file, write_atomically
from jaxdd.storage.paths import local_path, shown


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of `experiments.report`."""

    workdirs: str = option(
        ..., "workdirs of finished runs, separated by commas", often=True
    )
    out: str | None = option(
        None,
        "HTML file to write; default: report.html of the workdir, where there is one",
        kind="path",
        often=True,
    )


def run(config: Config) -> Path:
    """Write the page and return its path.

    Raises:
        UserError: a workdir is missing, unfinished, damaged or named twice, there is
            none, or several without --out.
    """
    fields.check(config)
    folders = [x for x in config.workdirs.split(",") if x]
    if not folders:
        raise UserError("--workdirs names no folder: give that of one run or more")
    if len(folders) > 1 and config.out is None:
        raise UserError("--out has to name the page that compares several --workdirs")
    runs = [reporting.read(folder) for folder in folders]
    if config.out is None:
        target = local_path(folders[0], "--workdirs") / reporting.FILE
    else:
        target = output_file(config.out, "--out", ".html", ".htm", kind=PAGE)
    make_folder(target.parent, "--out")
    if len(runs) == 1:
        page = run_page(runs[0])
    else:
        places = [local_path(x, "--workdirs") for x in folders]
        links = [link_to(x / reporting.FILE, target) for x in places]
        named = zip(names_of(places), runs, links, strict=True)
        page = runs_page([Named(*x) for x in named])
    write_atomically(target, page)
    return target


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths by which all of them differ.

    Raises:
        UserError: a folder is named twice.
    """
    whole = [x.absolute().parts for x in folders]
    for length in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            return names
    raise UserError("--workdirs names a folder twice: give each run once")


def link_to(report: Path, target: Path) -> str:
    """The way from a page to a run's own report; empty where that is not there."""
    if not report.exists():
        return ""
    return Path(os.path.relpath(report, target.parent)).as_posix()


def show(path: Path) -> None:
    print(f"report: {shown(path)}")


if __name__ == "__main__":
    main(Config, run, show)
