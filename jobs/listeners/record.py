"""The record of a run: run.json, rewritten whole after every event that changes it."""

from pathlib import Path

from jobs.listeners.events import Event, Note, StageProgress, advance
from pipelines.durable import write_atomically
from pipelines.run_folder import RunState


class Record:
    """Keeps the state of the run on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.state: RunState | None = None  # None before the run has started

    def __call__(self, event: Event) -> None:
        """Write the state after an event; progress and notes are not part of it."""
        if isinstance(event, StageProgress | Note):
            return
        self.state = advance(self.state, event)
        if self.state is not None:
            write_atomically(self._path, self.state.model_dump_json(indent=1).encode() + b"\n")
