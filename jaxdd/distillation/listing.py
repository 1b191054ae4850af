"""`jaxdd.keywords`: what can be said of a run, and what holds where nothing is."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jaxdd.calling import called
from jaxdd.distillation.options import FLAGS, Config, run_of
from jaxdd.fields import flat
from jaxdd.fields.keywords import in_keywords
from jaxdd.methods.recipe import Recipe
from jaxdd.report import notebook

# The widest column of values, in characters.
_WIDEST = 24


class Keyword(NamedTuple):
    """A keyword of `jaxdd.distill`.

    Attributes:
        name: of the keyword, and of the flag of `experiments.distill`.
        value: what holds where it is not given; None for what follows from the data.
        choice: what it belongs to, such as "sdc" or "images".
        help: what it means.
        acts: whether the run makes that choice: a mask has a ratio once there is one.
    """

    name: str
    value: Any
    choice: str
    help: str
    acts: bool

    @property
    def shown(self) -> str:
        """The value as a text, "-" where it does not act."""
        return str(self.value) if self.acts else "-"


class Keywords(Sequence[Keyword]):
    """A table of keywords, which shows itself as text and in notebooks.

    Args:
        rows: the keywords.
    """

    def __init__(self, rows: Sequence[Keyword]):
        self._rows = tuple(rows)

    def __getitem__(self, place: Any) -> Any:
        return self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def about(self, text: str) -> "Keywords":
        """Those whose name, choice or help has a text in it.

        Example:
            >>> [row.name for row in keywords("dsa").about("GSAM")]
            ['gsam_rho', 'gsam_alpha']
        """
        words = text.lower()
        rows = self._rows
        return Keywords(
            [x for x in rows if words in f"{x.name} {x.choice} {x.help}".lower()]
        )

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        names = max((len(row.name) for row in self._rows), default=0)
        values = max((len(row.shown) for row in self._rows), default=0)
        values = min(values, _WIDEST)
        for row in self._rows:
            yield f"{row.name:{names}}  {row.shown:{values}}  {row.help}"

    def _repr_html_(self) -> str:
        rows = [[row.name, row.shown, row.choice, row.help] for row in self._rows]
        return notebook.table(["keyword", "value", "of", "meaning"], rows)


def keywords(method: str | Recipe = "dsa", **flags: Any) -> Keywords:
    """What `jaxdd.distill` takes as keywords, and the values that hold without them.

    Args:
        method: a name in `METHODS`, or a recipe of your own.
        flags: keywords that others depend on, such as `dataset="cifar10"`, by which
            published values go, `ipc=10` or `mask="depth"`.

    Returns:
        A table of all keywords. Those of choices that the method does without have no
        value.

    Raises:
        UserError: a keyword does not exist or cannot be used.

    Source: ours.

    Example:
        >>> table = keywords("dsa", dataset="cifar10", ipc=10)
        >>> next(row.value for row in table if row.name == "image_lr")
        0.1
        >>> table.about("log_every")
        log_every  10  steps between lines of metrics.jsonl
    """
    with called(Config):
        values = flat(run_of(method, flags))
    rows = [
        Keyword(
            name, values.get(name), flag.group, _help(flag.field), acts=name in values
        )
        for name, flag in FLAGS.items()
        if name != "dataset"  # the first argument
    ]
    return Keywords(rows)


def _help(field: Any) -> str:
    text = str(field.metadata.get("help") or field.metadata.get("text"))
    return in_keywords(text, Config)
