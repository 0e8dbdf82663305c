"""The progress of a stage: a small JSON file that its job writes and the driver reads."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIN_SECONDS_BETWEEN_WRITES = 0.5


@dataclass(frozen=True)
class Reached:
    """The content of the file."""

    done: int
    total: int  # 0 = not known yet
    text: str  # for people; when all is done, the summary


class Progress:
    """Reports the progress of a stage to the driver; cheap enough to be called for every row."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._last_write = -MIN_SECONDS_BETWEEN_WRITES

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Report; one report too soon after another is left out, unless it is the last."""
        now = self._clock()
        if now - self._last_write < MIN_SECONDS_BETWEEN_WRITES and done < total:
            return
        self._last_write = now
        staged = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        staged.write_text(json.dumps({"done": done, "total": total, "text": text}))
        staged.replace(self._path)


def silent(done: int, total: int, text: str = "") -> None:
    """The progress of a rank other than 0."""


def read_progress(path: Path) -> Reached | None:
    """The last report of the job; None before its first."""
    try:
        return Reached(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
