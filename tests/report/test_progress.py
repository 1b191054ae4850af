"""The bar in a terminal, the line in a notebook, and lines elsewhere."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from jaxdd.progress import Ended, Message, Progress, Stage, Started, listening, say
from jaxdd.report import progress
from tests.helpers import refused

ROOT = Path(__file__).parents[2]
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


@pytest.fixture
def screen(monkeypatch):
    """What rich draws; call it with the options of the console."""

    def install(**options) -> io.StringIO:
        file = io.StringIO()
        console = Console(file=file, width=200, emoji=True, **options)
        monkeypatch.setattr(progress, "Console", lambda **_: console)
        return file

    return install


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("terminal", [True, False])
def test_names_from_data_are_no_markup(screen, capsys, name, terminal):
    drawn = screen(force_terminal=terminal)
    bar = progress.Bar()
    title = f"dm on folder:{name}"
    with listening(bar), Stage(title, 3, f"{name}/metrics.jsonl") as stage:
        assert (bar.live is not None) == terminal
        stage(1, 0.5, 0.1)
        stage.count(2, 4, 0.1)
        if terminal:
            bar.live.refresh()
    assert bar.live is None
    visible = name.encode("unicode_escape", "surrogatepass").decode()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"dm on folder:{visible}: writing {visible}/metrics.jsonl"
    if terminal:
        assert f"dm on folder:{visible}" in drawn.getvalue()
    else:
        assert lines[1] == f"dm on folder:{visible}: step 1/3, loss 0.5, " + (
            "0.1 s/step, 0 s left"
        )


def test_a_notebook_has_one_line_per_stage(screen, capsys, monkeypatch):
    screen(force_jupyter=True)
    monkeypatch.setattr(progress, "NOTEBOOK_SECONDS", 0.0)
    with listening(progress.Bar()):
        with Stage("dm on digits", 4) as stage:
            stage(1, 0.25, 2.0)
            stage(4, 0.125, 2.0)
        say("evaluating")
    lines = capsys.readouterr().err.split("\n")
    assert lines[0] == "dm on digits"
    begin, first, last = lines[1].split("\r")
    assert begin == ""
    assert first.startswith("█████░░░░░░░░░░░░░░░ dm on digits: step 1/4, loss 0.25")
    assert last.startswith("█" * 20 + " dm on digits: step 4/4, loss 0.125, 2 s/step")
    assert len(last) >= len(first)  # nothing of the longer line stays
    assert lines[2:] == ["evaluating", ""]


def test_the_end_is_drawn_though_a_line_came_just_before(screen, capsys):
    screen(force_terminal=False)
    with listening(progress.Bar()), Stage("mlp", 3, unit="network") as stage:
        for done in (1, 2, 3):
            stage.count(done, 3, 0.1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [
        "mlp: network 1/3",
        "mlp: network 3/3",
    ]


def test_without_a_listener_nothing_is_printed(capfd):
    say("training")
    with Stage("mlp", 3) as stage:
        stage(1, 0.5, 0.1)
    assert capfd.readouterr() == ("", "")


def test_events_reach_the_innermost_listener():
    outer, inner = [], []
    with listening(outer.append):
        say("a")
        with listening(inner.append), Stage("dsa", 2, "x.npz") as stage:
            stage(1, 0.5, 0.1)
        with listening(None):  # as a function does whose caller gave no callback
            say("b")
    say("c")
    assert outer == [Message("a"), Message("b")]
    assert inner == [
        Started("dsa", 2, "step", "x.npz"),
        Progress("dsa", 1, 2, "step", 0.1, 0.5),
        Ended("dsa"),
    ]
    assert str(inner[0]) == "dsa: writing x.npz"


def test_what_a_listener_raises_reaches_its_caller():
    """Also where the same listener fails again as the stage ends."""
    calls = []

    def stop(event):
        calls.append(event)
        if not isinstance(event, Started):
            raise RuntimeError(f"call {len(calls)}")

    with pytest.raises(RuntimeError, match="call 2"):  # noqa: SIM117
        with listening(stop), Stage("dsa", 2) as stage:
            stage(1, 0.5, 0.1)
    assert len(calls) == 3


def test_one_of_several_processes_speaks(monkeypatch):
    events = []
    monkeypatch.setattr("jaxdd.devices.hosts.primary", lambda: False)
    with listening(events.append):
        say("training")
        with Stage("dsa", 2) as stage:
            stage(1, 0.5, 0.1)
    assert events == []


def test_the_library_is_imported_without_what_draws():
    """They would make `import jaxdd` a third longer."""
    code = (
        "import sys, jaxdd; "
        "assert not {'matplotlib', 'rich.progress'} & sys.modules.keys(); "
        "assert callable(jaxdd.report.bar)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_cannot_be_called_is_no_progress():
    with refused(None, "progress must be a function"), listening(3):
        pass
