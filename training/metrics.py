"""metrics.jsonl: one JSON object per logged step, cut back to the checkpoint from which a run resumes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pipelines.durable import write_atomically
from training.feed.batch import Batch


class MetricsListener(Protocol):
    """A receiver of the rows of metrics, on rank 0; the log is one, a tracker of experiments another."""

    def truncate(self, step: int) -> None:
        """Forget the rows after a step, from which the training goes on."""

    def append(self, row: dict[str, Any]) -> None:
        """Take a row: ``step`` and finite numbers by name."""


class MetricsLog:
    """The file, written by one rank."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def truncate(self, step: int) -> None:
        """Forget what happened after a step, and a last line that was cut off."""
        text = self._path.read_text() if self._path.exists() else ""
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, "".join(kept).encode())

    def append(self, row: dict[str, Any]) -> None:
        """Add a row, whose numbers are finite."""
        with self._path.open("a") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")


class Clock:
    """Images, steps and seconds of one rank since the last row."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._start = time.perf_counter()
        self._num_images = 0
        self._num_steps = 0
        self._wait_seconds = 0.0

    def next_batch(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, its images counted and the wait for it measured."""
        asked = time.perf_counter()
        batch = next(batches)
        self._wait_seconds += time.perf_counter() - asked
        self._num_images += batch.num_pictures
        return batch

    def count_step(self) -> None:
        self._num_steps += 1

    def rates(self, *, size: int) -> dict[str, float]:
        """Means since the last restart: images per second of all ``size`` ranks, seconds per step of this one."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return {
            "images_per_second": self._num_images * size / seconds,
            "feed_wait_seconds": self._wait_seconds / self._num_steps,
            "step_seconds": seconds / self._num_steps,
        }
