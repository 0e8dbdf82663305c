"""The folder of a run: the names of its files, and the contract of its record."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipelines.settings import Settings, UserError
from pipelines.sources.listing import SourceListing

MAX_NAME_BYTES = 200  # names of locks, logs and staged files around it are longer, and 255 are a file system's limit
SETTINGS_NAME = "run.yaml"
RECORD_NAME = "run.json"
LOSS_TERM_PREFIX = "loss_"  # of the keys of metrics.jsonl that hold the terms of the loss
METRICS_NAME = "metrics.jsonl"  # in the folder of a model, too
REPORT_NAME = "report.html"
RESULT_NAME = "result.json"  # in the folder of an evaluation

StageStatus = Literal["waiting", "running", "done", "cached", "failed", "stopped"]
RunStatus = Literal["running", "done", "failed", "stopped"]


class StageState(Settings):
    """The state of one stage."""

    status: StageStatus = "waiting"
    fingerprint: str | None  # None = not known before the stages above it are done
    folder: str | None
    attempts: int = Field(default=0, ge=0)  # retries + 1
    started: str | None = None  # UTC, ISO 8601
    seconds: float = Field(default=0.0, ge=0)  # of the last attempt
    workers: int = Field(default=1, ge=1)  # cores or ranks that shared it
    passes: int = Field(default=1, ge=1)  # over the images: epochs of training
    summary: str = ""
    counts: dict[str, int] = Field(default={})  # from the artefact's manifest

    @property
    def is_over(self) -> bool:
        """True if the artefact of the stage exists."""
        return self.status in ("done", "cached")


class RunState(Settings):
    """The state of a run: the content of run.json."""

    name: str
    status: RunStatus = "running"
    pid: int  # of the driver
    started: str
    ended: str | None = None
    source: SourceListing | None  # the raw images, as they were listed
    ranks: int = Field(ge=1)
    stages: dict[str, StageState]  # by the stage's name in the run, in the order of the run

    @property
    def is_alive(self) -> bool:
        """True while the driver of the run is alive on this machine."""
        return self.status == "running" and Path(f"/proc/{self.pid}").exists()


class RunFolder:
    """The paths in a run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def settings(self) -> Path:
        """The frozen settings, which every job reads."""
        return self.path / SETTINGS_NAME

    @property
    def record(self) -> Path:
        """The state of each stage, a `RunState`."""
        return self.path / RECORD_NAME

    @property
    def metrics(self) -> Path:
        """The metrics of the newest training, a JSON object per line."""
        return self.path / METRICS_NAME

    @property
    def report(self) -> Path:
        """The report, an HTML page."""
        return self.path / REPORT_NAME

    def log(self, stage: str) -> Path:
        """The output of a stage."""
        return self.path / "logs" / f"{stage}.log"

    def read_state(self) -> RunState | None:
        """The run's record; None where it never ran.

        Raises:
            UserError: run.json is not one of ours.
        """
        try:
            return RunState.model_validate_json(self.record.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{self.record} cannot be read ({error.strerror}); name the folder of a run") from None
        except ValidationError as error:
            raise UserError(
                f"{self.record} is no record of a run ({error.errors()[0]['msg']}); remove it, the next run writes it"
            ) from None


def named_folder(runs: Path, name: str) -> RunFolder:
    """The folder of a run, by a name that a person typed; whether it exists is not asked.

    Raises:
        UserError: the name is none of one folder, such as one that leads out of `runs`.
    """
    is_plain = name not in ("", ".", "..") and name[0] not in ".-" and "/" not in name and name.isprintable()
    if not is_plain or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise UserError(
            f"{name[:MAX_NAME_BYTES]!r} is no name of a run; give that of its folder below {runs}: one part of a path, "
            f"at most {MAX_NAME_BYTES} bytes, without a dot or dash at its beginning (--runs names another folder)"
        )
    return RunFolder(runs / name)


def progress_file(log: Path) -> Path:
    """The file with the progress of a job, beside the log of its stage."""
    return log.with_suffix(".progress")


def fault_file(log: Path) -> Path:
    """The file with the error that ended a job, beside the log of its stage."""
    return log.with_suffix(".fault")
