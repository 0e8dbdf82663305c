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

from jobs.child import Fault, run_command
from jobs.cost import passes, workers
from jobs.deliveries import with_deliveries
from jobs.launch import command
from jobs.planning import PlannedStage, plan
from jobs.preflight import check_place, check_writable
from jobs.progress import read_progress
from jobs.reuse import describe_reuse
from jobs.screen import Screen
from jobs.settings import PROJECT, RunSettings, freeze
from jobs.stages import STAGES, Stage
from jobs.state import RunRecord, now
from pipelines.manifest import exclusive, is_done
from pipelines.run_folder import RunFolder, RunState, StageState, progress_file
from pipelines.settings import UserError
from pipelines.sources.listing import SourceListing

PYTHON = Path(sys.executable)


class StageFailedError(Exception):
    """A stage failed, and not by a mistake of the user; the log knows more."""


@dataclass
class _Run:
    """A run under way: its plan, which grows as tables are made that fingerprints follow, and its record."""

    settings: RunSettings
    stages: Sequence[Stage]
    screen: Screen
    before: RunState | None = None  # the last record of a run of this name
    planned: dict[str, PlannedStage] = field(default_factory=dict)
    record: RunRecord = field(init=False)
    _listings: dict[str, SourceListing | None] = field(default_factory=dict)

    def plan(self) -> list[PlannedStage]:
        """Plan, or plan again without looking at the sources again; return what has become known."""
        found = plan(self.settings, self.stages, finished=_finished(self.before), listings=self._listings)
        known = {name for name, one in self.planned.items() if one.fingerprint is not None}
        fresh = [one for one in found if one.name not in known and (one.fingerprint is not None or not self.planned)]
        self.planned |= {one.name: one for one in fresh}
        return fresh

    def freeze(self) -> None:
        """Write run.yaml with the fingerprints that are known."""
        prints = {one.name: one.fingerprint for one in self.planned.values() if one.fingerprint is not None}
        freeze(self.settings.model_copy(update={"fingerprints": prints}), self.folder.settings)

    def states(self, planned: Sequence[PlannedStage]) -> dict[str, StageState]:
        """What is to be written down of stages that have just been planned."""
        before = self.before.stages if self.before else {}
        return {one.name: _first_stage(self.settings, one, before.get(one.name)) for one in planned}

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.settings.folder)


def drive(settings: RunSettings, screen: Screen, stages: Sequence[Stage] = STAGES) -> Path:
    """Run every stage that is due; return the report.

    Raises:
        UserError: a setting, the place or the data is at fault.
        StageFailedError: a stage failed at every attempt.
    """
    check_writable(settings.folder, setting="runs")
    with exclusive(settings.folder, on_wait=lambda: screen.say(f"waiting for another driver of {settings.folder}")):
        settings = with_deliveries(settings)
        run = _Run(settings, stages, screen, RunFolder(settings.folder).read_state())
        due = [one for one in run.plan() if not one.is_done]
        for warning in check_place(settings, due, python=PYTHON, env=os.environ):
            screen.say(f"note: {warning}")
        run.freeze()
        run.record = RunRecord(run.folder.record, _first_state(run))
        with _terminated_like_interrupted():
            _run_all(run)
        for one in run.planned.values():
            for note in one.manifest().facts.get("notes", []) if one.stage.makes else []:
                screen.say(f"note: {one.name}: {note}")
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
                run.screen.change(name, run.record.state.stages[name])
            else:
                _run_stage(run, run.planned[name])
                _plan_on(run, name)
        run.record.end("done")
    except (UserError, StageFailedError):
        run.screen.change(name, run.record.update(name, status="failed"))
        run.record.end("failed")
        raise
    except BaseException:
        run.screen.change(name, run.record.update(name, status="stopped"))
        run.record.end("stopped")
        raise


def _plan_on(run: _Run, finished: str) -> None:
    """Plan what had to wait for a stage that has just been finished, and say what it means."""
    if all(one.fingerprint is not None for one in run.planned.values()):
        return
    fresh = run.plan()
    if fresh:
        run.freeze()
        run.record.replace(run.states(fresh))
        for note in describe_reuse(run.settings, run.before, run.planned, finished):
            run.screen.say(f"note: {note}")


def _run_stage(run: _Run, planned: PlannedStage) -> None:
    if _finished_by_another(run, planned):
        run.screen.change(planned.name, run.record.update(planned.name, status="cached", **_outcome(planned)))
        return
    log = run.settings.log_file(planned.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    attempts = run.settings.place.retries + 1
    fault = None
    for attempt in range(1, attempts + 1):
        running = run.record.update(planned.name, status="running", attempts=attempt, started=now())
        run.screen.change(planned.name, running)
        fault = _attempt(run, planned)
        if fault is None:
            outcome = {**_outcome(planned), **_summary(run, planned.name)}
            run.screen.change(planned.name, run.record.update(planned.name, status="done", **outcome))
            return
        if fault.is_users:
            raise UserError(fault.line)
        run.screen.say(f"{planned.name}: attempt {attempt} of {attempts} failed: {fault.line}")
    assert fault is not None, "retries are not negative, so there was an attempt"
    raise StageFailedError(f"{planned.name} failed at its last attempt, number {attempts}: {fault.line}; see {log}")


def _attempt(run: _Run, planned: PlannedStage) -> Fault | None:
    place, log = run.settings.place, run.settings.log_file(planned.name)
    progress = progress_file(log)
    progress.unlink(missing_ok=True)
    state = run.record.state.stages[planned.name]

    def tick(seconds: float) -> None:
        run.screen.progress(planned.name, state.model_copy(update={"seconds": seconds}), read_progress(progress))

    what = command(planned.stage, place, run.folder.settings, python=PYTHON, project=PROJECT)
    start = time.monotonic()
    fault = run_command(what, log, python=PYTHON, timeout_seconds=place.stage_timeout_seconds, on_tick=tick)
    run.record.update(planned.name, seconds=round(time.monotonic() - start, 3))
    if fault is None and planned.folder and planned.stage.makes is not None and not is_done(planned.folder):
        return Fault(False, f"it ended without an artefact in {planned.folder}")
    return fault


def _finished_by_another(run: _Run, planned: PlannedStage) -> bool:
    """Wait for whoever builds this artefact now, such as the orphan of a driver that was killed."""
    if planned.stage.makes is None:
        return False
    assert planned.folder is not None, f"{planned.name} is run before its fingerprint is known"
    with exclusive(
        planned.folder, on_wait=lambda: run.screen.say(f"{planned.name}: waiting for another process that builds it")
    ):
        return is_done(planned.folder)


def _outcome(planned: PlannedStage) -> dict[str, object]:
    if planned.stage.makes is None:
        return {}
    counts = planned.manifest().counts
    # "rejected:blurry" is a part of "rejected"; the report has room for both, a line of the screen has not.
    told = [f"{name} {count:,}" for name, count in counts.items() if ":" not in name]
    return {"counts": counts, "summary": ", ".join(told)}


def _summary(run: _Run, name: str) -> dict[str, str]:
    reached = read_progress(progress_file(run.settings.log_file(name)))
    return {"summary": reached.text} if reached and reached.text else {}


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


def _first_stage(settings: RunSettings, planned: PlannedStage, before: StageState | None) -> StageState:
    if planned.is_done and before is not None and before.is_over and before.fingerprint == planned.fingerprint:
        # How long it took and how it went stay known.
        return before.model_copy(update={"status": "cached"})
    fresh = StageState(
        fingerprint=planned.fingerprint,
        folder=None if planned.folder is None else str(planned.folder),
        workers=workers(planned.stage, settings.place),
        passes=passes(settings, planned.stage.verb),
    )
    return fresh.model_copy(update={"status": "cached", **_outcome(planned)}) if planned.is_done else fresh


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
