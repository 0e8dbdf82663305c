"""The driver's screen: a live table of the stages on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.listeners.events import AttemptEnded, Event, Note, StageEnded, StageProgress, StageStarted, advance
from jobs.progress import Reached
from pipelines.run_folder import RunState, StageState, StageStatus

PLAIN_SECONDS = 30.0  # between two plain lines on the progress of a stage
BAR_WIDTH = 24

_STYLES: dict[StageStatus, str] = {
    "waiting": "dim",
    "running": "bold cyan",
    "done": "green",
    "cached": "dim green",
    "failed": "bold red",
    "stopped": "yellow",
}


class Screen:
    """Shows the stages of a run on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._state: RunState | None = None
        self._latest: StageProgress | None = None  # of the running stage
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._state = advance(self._state, event)
        match event:
            case Note():
                self._say(event.line)
            case AttemptEnded() if event.fault and not event.fault.is_users:
                self._say(f"{event.stage}: attempt {event.attempt} of {event.attempts} failed: {event.fault.line}")
            case StageProgress():
                self._latest = event
            case StageStarted() | StageEnded():
                self._latest = None
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            self._show_plainly(event)

    def _show_plainly(self, event: Event) -> None:
        if isinstance(event, StageStarted | StageEnded):
            stage = self._stages()[event.stage]
            self._line(f"{event.stage}: {stage.status}{_seconds(stage.seconds)}{_after(stage.summary)}")
        elif isinstance(event, StageProgress) and event.reached and time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._line(f"{event.stage}: {_count(event.reached)}{_seconds(event.seconds)}{_after(event.reached.text)}")

    def _stages(self) -> dict[str, StageState]:
        return self._state.stages if self._state else {}

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._say(text)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("stage", "state", "progress", "seconds", ""):
            table.add_column(title, justify="right" if title == "seconds" else "left")
        for name, stage in self._stages().items():
            latest = self._latest if self._latest and self._latest.stage == name else None
            reached = latest.reached if latest else None
            seconds = latest.seconds if latest else stage.seconds
            table.add_row(
                name,
                Text(stage.status, _STYLES[stage.status]),
                _bar(stage.status, reached),
                f"{seconds:.1f}" if seconds else "",
                Text(reached.text if reached else stage.summary),
            )
        return table


def _bar(status: StageStatus, reached: Reached | None) -> ProgressBar | str:
    if status != "running":
        return ""
    if reached is None or not reached.total:
        return ProgressBar(total=None, width=BAR_WIDTH, pulse=True)
    return ProgressBar(total=reached.total, completed=reached.done, width=BAR_WIDTH)


def _count(reached: Reached) -> str:
    return f"{reached.done:,} of {reached.total:,}" if reached.total else f"{reached.done:,}"


def _seconds(seconds: float) -> str:
    return f", {seconds:.1f} s" if seconds else ""


def _after(text: str) -> str:
    return f", {text}" if text else ""
