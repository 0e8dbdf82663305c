"""The driver: composes the settings, looks at the place, and runs the stages that are due, each as a process."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from jobs.child import Fault, run_command
from jobs.cost import passes, workers
from jobs.deliveries import with_deliveries
from jobs.launch import command
from jobs.preflight import check_place, check_writable
from jobs.progress import progress_file, read_progress
from jobs.screen import Screen
from jobs.settings import PROJECT, RUN_YAML, RunSettings, freeze
from jobs.stages import REPORT_NAME, STAGES, PlannedStage, Stage, plan
from jobs.state import RUN_JSON, RunRecord, RunState, StageState, now, read_state
from pipelines.manifest import exclusive, is_done, read
from pipelines.settings import UserError

PYTHON = Path(sys.executable)


class StageFailedError(Exception):
    """A stage failed, and not by a mistake of the user; the log knows more."""


@dataclass(frozen=True)
class _Run:
    """What every step of the driver needs."""

    settings: RunSettings
    record: RunRecord
    screen: Screen

    @property
    def run_yaml(self) -> Path:
        return self.settings.folder / RUN_YAML


def drive(settings: RunSettings, screen: Screen, stages: Sequence[Stage] = STAGES) -> Path:
    """Run every stage that is due; return the report.

    Raises:
        UserError: a setting, the place or the data is at fault.
        StageFailedError: a stage failed at every attempt.
    """
    check_writable(settings.folder, setting="runs")
    with exclusive(settings.folder, on_wait=lambda: screen.say(f"waiting for another driver of {settings.folder}")):
        settings = with_deliveries(settings)
        planned = plan_run(settings, stages)
        due = [one for one in planned if not one.is_done]
        for warning in check_place(settings, due, python=PYTHON, env=os.environ):
            screen.say(f"note: {warning}")
        settings = settings.model_copy(update={"fingerprints": {one.name: one.fingerprint for one in planned}})
        freeze(settings, settings.folder / RUN_YAML)
        run = _Run(settings, RunRecord(settings.folder / RUN_JSON, _first_state(settings, planned)), screen)
        with _terminated_like_interrupted():
            _run_all(run, planned)
        for one in planned:
            for note in read(one.folder).facts.get("notes", []) if one.stage.kind else []:
                screen.say(f"note: {one.name}: {note}")
    return settings.folder / REPORT_NAME


def plan_run(settings: RunSettings, stages: Sequence[Stage] = STAGES) -> list[PlannedStage]:
    """The plan, in the light of the run's last record."""
    state = read_state(settings.folder)
    done = {name: one.fingerprint for name, one in state.stages.items() if _is_over(one)} if state else {}
    return plan(settings, stages, finished=done)


def _run_all(run: _Run, planned: list[PlannedStage]) -> None:
    name = ""
    try:
        for one in planned:
            name = one.name
            if one.is_done:
                run.screen.change(name, run.record.state.stages[name])
            else:
                _run_stage(run, one)
        run.record.end("done")
    except (UserError, StageFailedError):
        run.screen.change(name, run.record.update(name, status="failed"))
        run.record.end("failed")
        raise
    except BaseException:
        run.screen.change(name, run.record.update(name, status="stopped"))
        run.record.end("stopped")
        raise


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

    what = command(planned.stage, place, run.run_yaml, python=PYTHON, project=PROJECT)
    start = time.monotonic()
    fault = run_command(what, log, python=PYTHON, timeout_seconds=place.stage_timeout_seconds, on_tick=tick)
    run.record.update(planned.name, seconds=round(time.monotonic() - start, 3))
    if fault is None and planned.stage.kind is not None and not is_done(planned.folder):
        return Fault(False, f"it ended without an artefact in {planned.folder}")
    return fault


def _finished_by_another(run: _Run, planned: PlannedStage) -> bool:
    """Wait for whoever builds this artefact now, such as the orphan of a driver that was killed."""
    if planned.stage.kind is None:
        return False
    with exclusive(
        planned.folder, on_wait=lambda: run.screen.say(f"{planned.name}: waiting for another process that builds it")
    ):
        return is_done(planned.folder)


def _outcome(planned: PlannedStage) -> dict[str, object]:
    if planned.stage.kind is None:
        return {}
    counts = read(planned.folder).counts
    # "rejected:blurry" is a part of "rejected"; the report has room for both, a line of the screen has not.
    told = [f"{name} {count:,}" for name, count in counts.items() if ":" not in name]
    return {"counts": counts, "summary": ", ".join(told)}


def _summary(run: _Run, name: str) -> dict[str, str]:
    reached = read_progress(progress_file(run.settings.log_file(name)))
    return {"summary": reached.text} if reached and reached.text else {}


def _first_state(settings: RunSettings, planned: list[PlannedStage]) -> RunState:
    before = read_state(settings.folder)
    stages = {one.name: _first_stage(settings, one, before.stages.get(one.name) if before else None) for one in planned}
    return RunState(
        name=settings.name,
        pid=os.getpid(),
        started=now(),
        source=next((one.listing for one in planned if one.listing), None),
        ranks=settings.place.num_ranks,
        stages=stages,
    )


def _first_stage(settings: RunSettings, planned: PlannedStage, before: StageState | None) -> StageState:
    if planned.is_done and before is not None and _is_over(before) and before.fingerprint == planned.fingerprint:
        # How long it took and how it went stay known.
        return before.model_copy(update={"status": "cached"})
    fresh = StageState(
        fingerprint=planned.fingerprint,
        folder=str(planned.folder),
        workers=workers(planned.stage, settings.place),
        passes=passes(settings, planned.stage.role),
    )
    return fresh.model_copy(update={"status": "cached", **_outcome(planned)}) if planned.is_done else fresh


def _is_over(state: StageState) -> bool:
    return state.status in ("done", "cached")


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
