"""The events of a run, and the state that follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from jobs.faults.fault import Fault
from jobs.progress import Reached
from pipelines.run_folder import RunState, RunStatus, StageState


@dataclass(frozen=True)
class RunStarted:
    """The run is planned and begins."""

    state: RunState


@dataclass(frozen=True)
class StagesPlanned:
    """More has become known of stages that have not begun."""

    stages: Mapping[str, StageState]  # by the name of the stage


@dataclass(frozen=True)
class StageStarted:
    """An attempt at a stage begins."""

    stage: str
    attempt: int  # counted from 1
    started: str  # UTC, ISO 8601


@dataclass(frozen=True)
class StageProgress:
    """A running stage has come so far; emitted a few times a second."""

    stage: str
    seconds: float  # since the attempt began
    reached: Reached | None  # None before the first report of the job


@dataclass(frozen=True)
class AttemptEnded:
    """An attempt at a stage is over."""

    stage: str
    attempt: int
    attempts: int  # that the stage has in all
    seconds: float
    fault: Fault | None  # None where it went well


@dataclass(frozen=True)
class StageEnded:
    """A stage is over, or was found done."""

    stage: str
    status: Literal["done", "cached", "failed", "stopped"]
    summary: str | None = None  # None = as it was
    counts: Mapping[str, int] | None = None  # from the manifest of its artefact; None = as they were


@dataclass(frozen=True)
class Note:
    """A line for people."""

    line: str


@dataclass(frozen=True)
class RunEnded:
    """The run is over."""

    status: RunStatus
    ended: str  # UTC, ISO 8601


Event = RunStarted | StagesPlanned | StageStarted | StageProgress | AttemptEnded | StageEnded | Note | RunEnded


def advance(state: RunState | None, event: Event) -> RunState | None:
    """The state of the run after an event; None before the run has started."""
    if isinstance(event, RunStarted):
        return event.state
    return None if state is None else _advance(state, event)


def _advance(state: RunState, event: Event) -> RunState:
    match event:
        case StagesPlanned():
            return state.model_copy(update={"stages": {**state.stages, **event.stages}})
        case StageStarted():
            return _change(state, event.stage, status="running", attempts=event.attempt, started=event.started)
        case AttemptEnded():
            return _change(state, event.stage, seconds=event.seconds)
        case StageEnded():
            outcome = {"summary": event.summary, "counts": event.counts}
            known = {name: value for name, value in outcome.items() if value is not None}
            return _change(state, event.stage, status=event.status, **known)
        case RunEnded():
            return state.model_copy(update={"status": event.status, "ended": event.ended})
    return state


def _change(state: RunState, stage: str, **values: Any) -> RunState:
    changed = state.stages[stage].model_copy(update=values)
    return state.model_copy(update={"stages": {**state.stages, stage: changed}})


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
