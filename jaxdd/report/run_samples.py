"""The samples in a run's report: its set, and the easiest and hardest real ones."""

import numpy as np

from jaxdd.report import page, samples
from jaxdd.report.run_values import KINDS, DifficultyPart, Run
from jaxdd.report.tiles import grid, shrunk, tiles

EACH = 3  # synthetic images of a class between the easiest and the hardest real ones
# The heading of the set by the number of its axes.
SECTIONS = {5: "Images", 4: "Sequences", 3: "Rows"}


def images(run: Run) -> str:
    """The set, class by class: pictures, lines over time, or rows of a table."""
    if run.images.ndim == 5:
        body, left_out = grid(run.images, run.class_names)
        return body + (page.paragraph(left_out, "note") if left_out else "")
    named = [
        samples.numbered(name, group)
        for name, group in zip(run.class_names, run.images, strict=True)
    ]
    if run.images.ndim == 4:
        return samples.sequences(dict(zip(run.class_names, named, strict=True)))
    return samples.vectors(
        {k: x for group in named for k, x in group.items()}, run.columns
    )


def extremes(run: Run, kept: DifficultyPart) -> str:
    """Rows of classes: the easiest real samples, synthetic ones, the hardest."""
    if run.images.ndim != kept.extremes.ndim + 1:
        return ""
    from_set = {int(k): run.images[k] for k in np.unique(kept.classes)}
    if not from_set:
        return ""
    sorted_by = (
        f"Of the {kept.of_real.shape[1]} real samples above, by GraDN for "
        f"{KINDS.get(kept.kinds[0], '')}; the first synthetic ones between them."
    )
    if run.images.ndim < 5:
        title = "Easiest and hardest real samples"
        note = page.paragraph(sorted_by, "note")
        return page.heading(title) + note + _other_extremes(run, kept)
    heads = ("class", "easiest real", "synthetic", "hardest real")
    cells = [f'<div class="head">{head}</div>' for head in heads]
    for k, group in from_set.items():
        name = run.class_names[k]
        mine = kept.classes == k
        easy, hard = kept.extremes[mine & ~kept.hard], kept.extremes[mine & kept.hard]
        cells += [
            f'<div class="name">{page.escaped(name)}</div>',
            tiles(easy, f"easiest real images of the class {name}"),
            tiles(shrunk(group[:EACH]), f"synthetic images of the class {name}"),
            tiles(hard, f"hardest real images of the class {name}"),
        ]
    return (
        page.heading("Easiest and hardest real images")
        + page.paragraph(
            f"Of the {kept.of_real.shape[1]} real samples above, by GraDN for "
            f"{KINDS.get(kept.kinds[0], '')}; the first synthetic images between "
            "them.",
            "note",
        )
        + f'<div class="rows columns">{"".join(cells)}</div>'
    )


def _other_extremes(run: Run, kept: DifficultyPart) -> str:
    """The same as lines over time, or as one table for every class."""
    body, charts = "", {}
    for k in np.unique(kept.classes):
        mine, name = kept.classes == k, run.class_names[k]
        named = {
            **samples.numbered("easiest", kept.extremes[mine & ~kept.hard][:1]),
            **samples.numbered("synthetic", run.images[k][:1]),
            **samples.numbered("hardest", kept.extremes[mine & kept.hard][:1]),
        }
        charts[name] = named
        if run.images.ndim == 3:
            body += page.details(name, samples.vectors(named, run.columns))
    return body if run.images.ndim == 3 else samples.sequences(charts)
