"""The referee: sets beside real data, with every kind of labels, by one protocol.

Rows are distilled sets, random and selected real samples of the same size, and all
training data. Columns are the labels that networks learn from: those of the classes,
those that came with the set, and a teacher's, so that what labels bring is told apart
from what images bring. Per architecture there is one learning rate for all.

Source: ours; asked for by "Hard Truths about Soft Labels" (arXiv 2604.18811) and
DD-Ranking (arXiv 2505.13300).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.opening import Opened, open_referee
from jaxdd.evaluation.tables import read_tables
from jaxdd.evaluation.verdict import Verdict
from jaxdd.evaluation.work import Work
from jaxdd.progress import say
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown

FILE, PAGE = "referee.json", "referee.html"


def run(config: Any) -> Verdict:
    """Measure a table and collect it in `referee.json`, network by network.

    A table that was stopped goes on where it was. Tables by other flags stay in the
    file; `referee.html` shows the one that was asked for.

    Args:
        config: an `options.Config`.

    Raises:
        UserError: bad input, named; another program writes to the folder.
        signals.Interrupted: a signal stopped it; measured networks are kept.
    """
    opened = open_referee(config)
    with owned(opened.folder, ".evaluation.lock") as folder:
        path = folder / FILE
        tables = read_tables(path)
        same = [x for x in tables if x["identity"] == opened.identity]
        others = [x for x in tables if x["identity"] != opened.identity]
        table: dict[str, Any] = {}
        for latest in measure(opened, folder, same[0] if same else None):
            write_atomically(path, to_json({"tables": [latest, *others]}))
            table = latest
        asked = {net: table["networks"][net] for net in opened.protocols}
        verdict = Verdict({**table, "networks": asked})
        write_atomically(folder / PAGE, verdict.page())
        say(f"{shown(folder)}: {FILE}, {PAGE}")
        return verdict


def measure(
    opened: Opened, folder: Path | None = None, known: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Measure architecture by architecture.

    Args:
        opened: the table.
        folder: for what is measured of an architecture that is not finished; None to
            write nothing.
        known: the table as far as it is measured.

    Yields:
        The table as `referee.json` has it, after every architecture.
    """
    work = Work(opened)
    networks = dict({} if known is None else known["networks"])
    for net, protocol in opened.protocols.items():
        if networks.get(net, {}).get("network") == protocol.network:
            say(f"{net}: measured before")
            table = {**known, "networks": networks} if known else work.table(networks)
            yield table
            continue
        names = "referee.rates.part.npz", "referee.part.npz"
        parts = [
            Hits(folder and folder / name, f"{opened.identity} {protocol.network}")
            for name in names
        ]
        networks[net] = work.entry(net, protocol, parts)
        yield work.table(networks)
        for part in parts:
            part.remove()
