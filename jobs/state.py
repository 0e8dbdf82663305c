"""run.json: what became of each stage of a run, rewritten whole after every change."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipelines.manifest import write_atomically
from pipelines.settings import Settings, UserError
from pipelines.sources.listing import SourceListing

RUN_JSON = "run.json"

StageStatus = Literal["waiting", "running", "done", "cached", "failed", "stopped"]
RunStatus = Literal["running", "done", "failed", "stopped"]


class StageState(Settings):
    """What became of one stage."""

    status: StageStatus = "waiting"
    fingerprint: str
    folder: str
    attempts: int = Field(default=0, ge=0)  # retries + 1
    started: str | None = None  # UTC, ISO 8601
    seconds: float = Field(default=0.0, ge=0)  # of the last attempt
    workers: int = Field(default=1, ge=1)  # cores or ranks that shared it
    passes: int = Field(default=1, ge=1)  # over the images: epochs of training
    summary: str = ""
    counts: dict[str, int] = Field(default={})  # from the artefact's manifest


class RunState(Settings):
    """What became of a run."""

    name: str
    status: RunStatus = "running"
    pid: int  # of the driver
    started: str
    ended: str | None = None
    source: SourceListing | None  # the raw images, as they were listed
    ranks: int = Field(ge=1)
    stages: dict[str, StageState]

    @property
    def is_alive(self) -> bool:
        """Whether the driver that wrote this still runs on this machine."""
        return self.status == "running" and Path(f"/proc/{self.pid}").exists()


class RunRecord:
    """The run.json that a driver keeps."""

    def __init__(self, path: Path, state: RunState) -> None:
        self._path = path
        self.state = state
        self._write()

    def update(self, stage: str, **changes: Any) -> StageState:
        """Change fields of one stage."""
        changed = self.state.stages[stage].model_copy(update=changes)
        self.state = self.state.model_copy(update={"stages": {**self.state.stages, stage: changed}})
        self._write()
        return changed

    def end(self, status: RunStatus) -> None:
        """Close the record."""
        self.state = self.state.model_copy(update={"status": status, "ended": now()})
        self._write()

    def _write(self) -> None:
        write_atomically(self._path, self.state.model_dump_json(indent=1).encode() + b"\n")


def read_state(run_folder: Path) -> RunState | None:
    """The run's record; None where it never ran.

    Raises:
        UserError: run.json is not one of ours.
    """
    path = run_folder / RUN_JSON
    try:
        return RunState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(
            f"{path} is no record of a run ({error.errors()[0]['msg']}); remove it, or choose another name"
        ) from None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
