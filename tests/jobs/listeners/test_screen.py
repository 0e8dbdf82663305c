"""A terminal gets a table, everything else gets lines."""

import io

import pytest
from rich.console import Console

from jobs.faults.fault import Fault
from jobs.listeners.events import AttemptEnded, Note, RunStarted, StageEnded, StageProgress, StageStarted
from jobs.listeners.screen import Screen
from jobs.progress import Reached
from pipelines.run_folder import RunState, StageState

READING = StageProgress("ingest", 1.5, Reached(1200, 4000, "[bold]reading"))


def started() -> RunStarted:
    stages = {name: StageState(fingerprint="", folder="") for name in ("ingest", "curate")}
    return RunStarted(RunState(name="r", pid=1, started="", source=None, ranks=1, stages=stages))


def show(*, is_terminal: bool) -> str:
    file = io.StringIO()
    with Screen(Console(file=file, force_terminal=is_terminal, width=100)) as screen:
        screen(Note("[bold]before it starts"))
        screen(started())
        screen(StageStarted("ingest", 1, "now"))
        screen(READING)
        screen(AttemptEnded("ingest", 1, 2, 2.0, Fault(False, "it broke")))
        screen(AttemptEnded("ingest", 2, 2, 2.0, None))
        screen(StageEnded("ingest", "done", summary="rows 4,000"))
    return file.getvalue()


def test_without_a_terminal_there_are_plain_lines() -> None:
    assert show(is_terminal=False).splitlines() == [
        "[bold]before it starts",
        "ingest: running",
        "ingest: attempt 1 of 2 failed: it broke",
        "ingest: done, 2.0 s, rows 4,000",
    ]


def test_a_mistake_of_the_user_is_left_to_the_end_of_the_run() -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file, width=100))
    screen(started())
    screen(AttemptEnded("ingest", 1, 2, 2.0, Fault(True, "no such folder")))
    assert file.getvalue() == ""


def test_long_stages_say_now_and_then_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file, width=100))
    screen(started())
    for now in (1000.0, 1029.0, 1031.0):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        screen(READING)
    assert file.getvalue() == "ingest: 1,200 of 4,000, 1.5 s, [bold]reading\n" * 2


def test_a_terminal_shows_the_table_with_texts_as_they_are() -> None:
    shown = show(is_terminal=True)
    assert "[bold]reading" in shown
    assert "rows 4,000" in shown
    assert "waiting" in shown
