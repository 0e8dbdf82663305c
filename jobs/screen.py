"""What the driver shows: a live table of the stages on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.progress import Reached
from pipelines.run_folder import StageState, StageStatus

PLAIN_SECONDS = 30.0  # between two plain lines about the same stage
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
    """Shows stages; told of every change, it decides how to show it."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._console = console
        self._states: dict[str, StageState | None] = dict.fromkeys(names)
        self._reached: dict[str, Reached] = {}
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

    def change(self, name: str, state: StageState) -> None:
        """A stage has begun, ended, or been found done."""
        self._states[name] = state
        if state.status != "running":
            self._reached.pop(name, None)
        if self._live:
            self._live.update(self._table(), refresh=True)
        elif state.status != "waiting":
            self._line(f"{name}: {state.status}{_seconds(state)}{_after(state.summary)}")

    def progress(self, name: str, state: StageState, reached: Reached | None) -> None:
        """A running stage has come so far, after so many seconds."""
        self._states[name] = state
        if reached:
            self._reached[name] = reached
        if self._live:
            self._live.update(self._table(), refresh=True)
        elif reached and time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._line(f"{name}: {_count(reached)}{_seconds(state)}{_after(reached.text)}")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self.say(text)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("stage", "state", "progress", "seconds", ""):
            table.add_column(title, justify="right" if title == "seconds" else "left")
        for name, state in self._states.items():
            status: StageStatus = state.status if state else "waiting"
            reached = self._reached.get(name)
            text = reached.text if reached else state.summary if state else ""
            seconds = f"{state.seconds:.1f}" if state and state.seconds else ""
            table.add_row(name, Text(status, _STYLES[status]), _bar(status, reached), seconds, Text(text))
        return table


def _bar(status: StageStatus, reached: Reached | None) -> ProgressBar | str:
    if status != "running":
        return ""
    if reached is None or not reached.total:
        return ProgressBar(total=None, width=BAR_WIDTH, pulse=True)
    return ProgressBar(total=reached.total, completed=reached.done, width=BAR_WIDTH)


def _count(reached: Reached) -> str:
    return f"{reached.done:,} of {reached.total:,}" if reached.total else f"{reached.done:,}"


def _seconds(state: StageState) -> str:
    return f", {state.seconds:.1f} s" if state.seconds else ""


def _after(text: str) -> str:
    return f", {text}" if text else ""
