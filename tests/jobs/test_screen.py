"""A terminal gets a table, everything else gets lines."""

import io

from rich.console import Console

from jobs.progress import Reached
from jobs.screen import Screen
from pipelines.run_folder import StageState, StageStatus


def state(status: StageStatus, **values: object) -> StageState:
    return StageState.model_validate({"status": status, "fingerprint": "", "folder": "", **values})


def show(*, is_terminal: bool) -> str:
    file = io.StringIO()
    with Screen(["ingest", "curate"], Console(file=file, force_terminal=is_terminal, width=100)) as screen:
        screen.change("ingest", state("running"))
        screen.progress("ingest", state("running", seconds=1.5), Reached(1200, 4000, "[bold]reading"))
        screen.change("ingest", state("done", seconds=2.0, summary="rows 4,000"))
    return file.getvalue()


def test_without_a_terminal_there_are_plain_lines() -> None:
    assert show(is_terminal=False).splitlines() == ["ingest: running", "ingest: done, 2.0 s, rows 4,000"]


def test_long_stages_say_now_and_then_how_far_they_are() -> None:
    file = io.StringIO()
    screen = Screen(["ingest"], Console(file=file, width=100))
    screen._last_line = -1e9
    screen.progress("ingest", state("running", seconds=1.5), Reached(1200, 4000, "[bold]reading"))
    assert file.getvalue() == "ingest: 1,200 of 4,000, 1.5 s, [bold]reading\n"


def test_a_terminal_shows_the_table_with_texts_as_they_are() -> None:
    shown = show(is_terminal=True)
    assert "[bold]reading" in shown
    assert "rows 4,000" in shown
    assert "waiting" in shown
