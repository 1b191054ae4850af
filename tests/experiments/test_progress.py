"""The bar in a terminal: names from data are shown as they are."""

import io

import pytest
from rich.console import Console

from jaxdd import progress

NAMES = [
    "[/b]",
    "[bold red]",
    "[link=x]",
    "a\nb",
    "\udcff",
    "{task.id}",
    "\x1b[2J",
    ":x:",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("terminal", [True, False])
def test_names_from_data_are_no_markup(monkeypatch, capsys, name, terminal):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=200, emoji=True)
    monkeypatch.setattr(progress, "Console", lambda **options: console)
    with progress.Bar(f"dm on folder:{name}", 3, f"{name}/metrics.jsonl") as bar:
        assert bar.live == terminal
        bar(1, 0.5, 0.1)
        bar.count(2, 4, 0.1)
        if terminal:
            bar.progress.refresh()
    visible = name.encode("unicode_escape", "surrogatepass").decode()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"dm on folder:{visible}: writing {visible}/metrics.jsonl"
    if terminal:
        assert f"dm on folder:{visible}" in screen.getvalue()
    else:
        assert lines[1] == f"dm on folder:{visible}: step 1/3, loss 0.5, " + (
            "0.1 s/step, 0 s left"
        )
