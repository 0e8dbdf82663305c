"""The driver: composes the settings, looks at the place, and runs the stages that are due, each as a process."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from jobs.child import run_command
from jobs.deliveries import with_deliveries
from jobs.faults.fault import Fault
from jobs.faults.surroundings import Surroundings
from jobs.launch import command
from jobs.listeners.events import (
    AttemptEnded,
    Note,
    RunEnded,
    RunStarted,
    StageEnded,
    StageProgress,
    StagesPlanned,
    StageStarted,
    now,
)
from jobs.listeners.fan_out import FanOut, Listener
from jobs.listeners.record import Record
from jobs.places.checks import check_writable
from jobs.places.place import Place, open_place
from jobs.planning import PlannedStage, plan
from jobs.preflight import check_run
from jobs.progress import read_progress
from jobs.reuse import describe_reuse
from jobs.settings import PROJECT, RunSettings, freeze, was_altered
from jobs.stage_states import first_state, outcome
from jobs.stages import STAGES, Stage
from pipelines.locks import exclusive
from pipelines.manifest import is_done
from pipelines.run_folder import RunFolder, RunState, StageState, progress_file
from pipelines.settings import UserError
from pipelines.sources.listing import SourceListing

PYTHON = Path(sys.executable)


class StageFailedError(Exception):
    """A stage failed, and not by a mistake of the user; the log knows more."""


@dataclass
class _Run:
    """A run under way, and its plan, which grows as tables are made that fingerprints follow."""

    settings: RunSettings
    stages: Sequence[Stage]
    place: Place
    tell: Listener
    before: RunState | None = None  # the last record of a run of this name
    planned: dict[str, PlannedStage] = field(default_factory=dict)
    _listings: dict[str, SourceListing | None] = field(default_factory=dict)

    def plan(self) -> list[PlannedStage]:
        """Plan, or plan again without listing the sources again; return what was not known before.

        Raises:
            UserError: a finished artefact is damaged.
        """
        found = plan(self.settings, self.stages, finished=_finished(self.before), listings=self._listings)
        known = {name for name, one in self.planned.items() if one.fingerprint is not None}
        fresh = [one for one in found if one.name not in known]
        for one in fresh:
            one.verify(self.settings)
        self.planned |= {one.name: one for one in fresh}
        return fresh

    def freeze(self) -> None:
        """Write run.yaml with the fingerprints that are known."""
        prints = {one.name: one.fingerprint for one in self.planned.values() if one.fingerprint is not None}
        listed = {one.name: one.listing.digest for one in self.planned.values() if one.listing is not None}
        freeze(self.settings.model_copy(update={"fingerprints": prints, "listed": listed}), self.folder.settings)

    def states(self, planned: Sequence[PlannedStage]) -> dict[str, StageState]:
        """The records of stages that have just been planned."""
        before = self.before.stages if self.before else {}
        return {one.name: first_state(self.settings, one, before.get(one.name)) for one in planned}

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.settings.folder)


def drive(settings: RunSettings, listeners: Sequence[Listener] = (), stages: Sequence[Stage] = STAGES) -> Path:
    """Run every stage that is due; return the report.

    Args:
        listeners: hear every event of the run; a fault of theirs does not end it.

    Raises:
        UserError: a setting, the place or the data is at fault.
        StageFailedError: a stage failed at every attempt.
    """
    check_writable(settings.folder, setting="runs")
    tell = FanOut([Record(RunFolder(settings.folder).record)], listeners)

    def say_waiting(holder: str) -> None:
        tell(Note(f"waiting for {holder}, which drives {settings.folder}"))

    with exclusive(settings.folder, "driver", on_wait=say_waiting):
        settings = with_deliveries(settings)
        place = open_place(settings.place, python=PYTHON)
        run = _Run(settings, stages, place, tell, RunFolder(settings.folder).read_state())
        due = [one for one in run.plan() if not one.is_done]
        for warning in check_run(settings, due, place, env=os.environ):
            tell(Note(f"note: {warning}"))
        if was_altered(run.folder.settings):
            tell(Note(f"note: {run.folder.settings} was changed after it was frozen; the settings given now count"))
        run.freeze()
        tell(RunStarted(_first_state(run)))
        with _terminated_like_interrupted():
            _run_all(run)
        # Again, since a long run has shown much since.
        for one in run.planned.values():
            _tell_notes(run, one)
    return run.folder.report


def plan_run(settings: RunSettings, stages: Sequence[Stage] = STAGES) -> list[PlannedStage]:
    """The plan, in the light of the run's last record."""
    return plan(settings, stages, finished=_finished(RunFolder(settings.folder).read_state()))


def _finished(state: RunState | None) -> Mapping[str, str]:
    """Stage -> fingerprint of what a record says was done."""
    stages = state.stages if state else {}
    return {name: one.fingerprint for name, one in stages.items() if one.is_over and one.fingerprint is not None}


def _run_all(run: _Run) -> None:
    name = ""
    try:
        for name in run.planned:
            if run.planned[name].is_done:
                run.tell(StageEnded(name, "cached"))
                if run.planned[name].other_code:
                    run.tell(Note(f"note: {name}: cached, {run.planned[name].other_code}; code=fingerprint redoes it"))
            else:
                _run_stage(run, run.planned[name])
                _tell_notes(run, run.planned[name])
                _plan_on(run, name)
        run.tell(RunEnded("done", now()))
    except (UserError, StageFailedError):
        run.tell(StageEnded(name, "failed"))
        run.tell(RunEnded("failed", now()))
        raise
    except BaseException:
        run.tell(StageEnded(name, "stopped"))
        run.tell(RunEnded("stopped", now()))
        raise


def _tell_notes(run: _Run, planned: PlannedStage) -> None:
    for note in planned.manifest().facts.get("notes", []) if planned.stage.makes else []:
        run.tell(Note(f"note: {planned.name}: {note}"))


def _plan_on(run: _Run, finished: str) -> None:
    """Plan what had to wait for a stage that has just been finished, and say what it means."""
    if all(one.fingerprint is not None for one in run.planned.values()):
        return
    fresh = run.plan()
    run.freeze()
    run.tell(StagesPlanned(run.states(fresh)))
    for note in describe_reuse(run.settings, run.before, run.planned, finished):
        run.tell(Note(f"note: {note}"))


def _run_stage(run: _Run, planned: PlannedStage) -> None:
    """Make the artefact of a stage, unless another process makes it meanwhile."""
    with _building(run, planned):
        if planned.stage.makes is not None and planned.folder is not None and is_done(planned.folder):
            summary, counts = outcome(planned)
            run.tell(StageEnded(planned.name, "cached", summary, counts))
        else:
            _try_stage(run, planned)


def _try_stage(run: _Run, planned: PlannedStage) -> None:
    log = run.settings.log_file(planned.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    attempts = run.settings.place.retries + 1
    fault = None
    for attempt in range(1, attempts + 1):
        run.tell(StageStarted(planned.name, attempt, now()))
        start = time.monotonic()
        fault = _attempt(run, planned)
        run.tell(AttemptEnded(planned.name, attempt, attempts, round(time.monotonic() - start, 3), fault))
        if fault is None:
            summary, counts = outcome(planned)
            run.tell(StageEnded(planned.name, "done", _summary(run, planned.name) or summary, counts))
            return
        if fault.is_users:
            raise UserError(fault.line)
        if fault.is_final:
            raise StageFailedError(f"{planned.name} failed, and would again: {fault.line}; see {log}")
    assert fault is not None, "retries are not negative, so there was an attempt"
    raise StageFailedError(f"{planned.name} failed at its last attempt, number {attempts}: {fault.line}; see {log}")


def _attempt(run: _Run, planned: PlannedStage) -> Fault | None:
    log = run.settings.log_file(planned.name)
    progress = progress_file(log)
    progress.unlink(missing_ok=True)

    def tick(seconds: float) -> None:
        run.tell(StageProgress(planned.name, seconds, read_progress(progress)))

    what = command(planned.stage, run.place, run.folder.settings, project=PROJECT)
    timeout_seconds = run.settings.place.stage_timeout_seconds
    around = Surroundings.of(run.settings, planned.stage.launcher)
    fault = run_command(run.place, what, log, around=around, timeout_seconds=timeout_seconds, on_tick=tick)
    if fault is None and planned.folder and planned.stage.makes is not None and not is_done(planned.folder):
        return Fault(False, f"it ended without an artefact in {planned.folder}")
    return fault


@contextlib.contextmanager
def _building(run: _Run, planned: PlannedStage) -> Iterator[None]:
    """Keep other drivers from a stage, from before it is looked at until it has ended.

    Waits for another driver, and for a job without one: it was started by hand, or its driver was killed.
    """
    if planned.stage.makes is None:
        yield
        return
    assert planned.folder is not None, f"{planned.name} is run before its fingerprint is known"

    def say_waiting(holder: str) -> None:
        run.tell(Note(f"{planned.name}: waiting for {holder}, which makes the same artefact"))

    by = f"run {run.settings.name}"
    with exclusive(planned.folder, "driver", by=by, on_wait=say_waiting):
        with exclusive(planned.folder, by=by, on_wait=say_waiting):
            pass
        yield


def _summary(run: _Run, name: str) -> str:
    """The last report of the job itself."""
    reached = read_progress(progress_file(run.settings.log_file(name)))
    return reached.text if reached else ""


def _first_state(run: _Run) -> RunState:
    planned = list(run.planned.values())
    return RunState(
        name=run.settings.name,
        pid=os.getpid(),
        started=now(),
        source=next((one.listing for one in planned if one.listing), None),
        ranks=run.settings.place.num_ranks,
        stages=run.states(planned),
    )


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: the stage first, then a true record."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
