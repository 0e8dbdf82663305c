"""The record of a run, run.json, rewritten whole after every change."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.manifest import write_atomically
from pipelines.run_folder import RunState, RunStatus, StageState


class RunRecord:
    """The run.json that a driver keeps."""

    def __init__(self, path: Path, state: RunState) -> None:
        self._path = path
        self.state = state
        self._write()

    def update(self, stage: str, **changes: Any) -> StageState:
        """Change fields of one stage."""
        return self.replace({stage: self.state.stages[stage].model_copy(update=changes)})[stage]

    def replace(self, stages: dict[str, StageState]) -> dict[str, StageState]:
        """Put other states in the place of those of some stages."""
        self.state = self.state.model_copy(update={"stages": {**self.state.stages, **stages}})
        self._write()
        return stages

    def end(self, status: RunStatus) -> None:
        """Close the record."""
        self.state = self.state.model_copy(update={"status": status, "ended": now()})
        self._write()

    def _write(self) -> None:
        write_atomically(self._path, self.state.model_dump_json(indent=1).encode() + b"\n")


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
