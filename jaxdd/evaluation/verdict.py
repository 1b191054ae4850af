"""The result of a referee: a table of sets and labels for every architecture."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdd.evaluation.rows import COLUMNS
from jaxdd.report import notebook, page
from jaxdd.report.page import Section
from jaxdd.statistics import Gain, Statistics
from jaxdd.storage.paths import shown


class Verdict:
    """A referee's table; as a text it is what `experiments.evaluate` prints.

    Args:
        table: as `referee.json` has it: "about" is all that the accuracies depend on,
            "rows" are the sets, and "networks" has the accuracies and the learning
            rate by architecture.
    """

    def __init__(self, table: Mapping[str, Any]):
        self.table = table
        self.rows: dict[str, Mapping[str, Any]] = {x["name"]: x for x in table["rows"]}
        self._cells = {
            net: {(x["row"], x["column"]): x for x in entry["cells"]}
            for net, entry in table["networks"].items()
        }

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(self._cells)

    def accuracy(self, net: str, row: str, column: str = "hard") -> Statistics | None:
        """Accuracy in percent over networks; None where the cell is empty.

        Args:
            net: architecture.
            row: name of a set.
            column: "hard", "own" or "teacher", the labels that networks learn from.
        """
        entry = self._cells[net].get((row, column), {}).get("accuracy")
        return None if entry is None else Statistics.of(entry)

    def gains(self, net: str, row: str) -> dict[str, dict[str, Gain]]:
        """{other row: {column: gain}} of a set over random subsets of its size and over
        the whole training data.

        With labels that the other row cannot have, it has those of the classes.
        """
        gains: dict[str, dict[str, Gain]] = {}
        for name, other in self.rows.items():
            of_its_size = other["kind"] == "random" and (
                other["ipc"] == self.rows[row]["ipc"]
            )
            if not of_its_size and other["kind"] != "full":
                continue
            for column in COLUMNS:
                ours = self.accuracy(net, row, column)
                theirs = self.accuracy(net, name, column)
                theirs = theirs or self.accuracy(net, name)
                if ours is not None and theirs is not None:
                    gains.setdefault(name, {})[column] = Gain.of(ours, theirs)
        return gains

    def __str__(self) -> str:
        parts = [self.lead]
        for net in self.networks:
            table = [("set", "per class", *self.columns), *self.cells(net)]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines = [self.title(net)]
            for row in table:
                cells = zip(row, widths, strict=True)
                lines.append("  ".join(f"{x:>{width}}" for x, width in cells))
            parts.append("\n".join([*lines, *self.sentences(net)]))
        if self.table["notes"]:
            parts.append("\n".join(f"note: {x}" for x in self.table["notes"]))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return f"Verdict({', '.join(self.rows)} on {', '.join(self.networks)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in which some set has labels."""
        filled = {
            column
            for cells in self._cells.values()
            for (_, column), cell in cells.items()
            if "accuracy" in cell
        }
        return tuple(column for column in COLUMNS if column in filled)

    @property
    def lead(self) -> str:
        """The protocol of all rows, in sentences."""
        about = self.table["about"]
        training = about["training"]
        sentences = [
            f"accuracy in percent on {about['test']['samples']} test samples of "
            f"{shown(self.table['data'])}, mean ± standard deviation over "
            f"{about['num_eval']} networks (random: one on each of "
            f"{about['num_random']} subsets)",
            f"each is measured once, after the last of {training['epochs']} epochs "
            f"({training['optimizer']}, {training['loss']}, batch "
            f"{training['batch_size']}, augmentation {about['augmentation']}, seed "
            f"{about['seed']})",
        ]
        if any(row["kind"] == "full" for row in self.rows.values()):
            sentences.append(
                f"full: all training data for {about['real_epochs']} epochs in smaller "
                "batches"
            )
        teacher = self.table["teacher"]
        if teacher is not None:
            how = teacher["training"]
            sentences.append(
                f"teacher: {teacher['network']['name']}, {teacher['source']}, "
                f"{how['epochs']} epochs of {how['optimizer']} at "
                f"{how['learning_rate']:g}, batch {how['batch_size']}, augmentation "
                f"{teacher['augmentation']}, {teacher['accuracy']:.2f} % on the test "
                "samples" + (", for every view anew" if about.get("views") else "")
            )
        return "\n".join(sentences)

    def title(self, net: str) -> str:
        """An architecture with its learning rate, and how that was chosen."""
        entry = self.table["networks"][net]
        chosen = entry["chosen"]
        if chosen is None:
            why = "the protocol's"
        else:
            tried = ", ".join(f"{rate:g} {x:.2f}" for rate, x in chosen["accuracies"])
            why = f"chosen on {chosen['samples']} validation samples: {tried}"
        return f"{net}, learning rate {entry['learning_rate']:g} ({why})"

    def cells(self, net: str) -> list[tuple[str, ...]]:
        """The rows of an architecture's table as texts."""
        rows = []
        for name, row in self.rows.items():
            accuracies = (self.accuracy(net, name, x) for x in self.columns)
            cells = ("-" if x is None else str(x) for x in accuracies)
            size = "all" if row["ipc"] is None else str(row["ipc"])
            rows.append((shown(name), size, *cells))
        return rows

    def sentences(self, net: str) -> list[str]:
        """The gains of the sets, and why cells are empty."""
        lines = []
        for name, row in self.rows.items():
            if row["kind"] == "distilled":
                for other, gains in self.gains(net, name).items():
                    points = ", ".join(
                        f"{x} {gain}"
                        if self.accuracy(net, other, x) is not None
                        else f"{x} over hard {gain}"
                        for x, gain in gains.items()
                    )
                    lines.append(f"gain of {shown(name)} over {other}: {points}")
        if lines:
            lines[-1] += " (± standard error over networks)"
        return lines + [f"- {where}: {why}" for where, why in self.reasons(net)]

    def reasons(self, net: str) -> list[tuple[str, str]]:
        """(which cells, why they are empty), of columns that are shown and of sets."""
        grouped: dict[tuple[str, str], list[str]] = {}
        for (name, column), cell in self._cells[net].items():
            is_set = self.rows[name]["kind"] == "distilled"
            if "lacking" in cell and (is_set or column in self.columns):
                key = column, cell["lacking"]
                grouped.setdefault(key, []).append(shown(name))
        return [(f"{x} of {', '.join(who)}", why) for (x, why), who in grouped.items()]

    def page(self) -> str:
        """The same as one HTML file that reads nothing from elsewhere."""
        header = ("set", "images per class", *self.columns)
        sections = [
            Section(
                net,
                page.paragraph(self.title(net))
                + page.table(header, self.cells(net))
                + page.bullets([x.removeprefix("- ") for x in self.sentences(net)]),
            )
            for net in self.networks
        ]
        sections.append(Section("Notes", page.bullets(self.table["notes"])))
        lead = page.paragraph(f"{'. '.join(_capitals(self.lead))}.", "lead")
        return page.document("Referee's table", lead, sections)

    def _repr_html_(self) -> str:
        header = ("set", "per class", *self.columns)
        return "".join(
            f"<p>{page.escaped(self.title(net))}</p>"
            + notebook.table(header, self.cells(net))
            for net in self.networks
        )


def _capitals(text: str) -> Sequence[str]:
    return [line[:1].upper() + line[1:] for line in text.splitlines()]
