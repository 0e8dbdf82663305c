"""One attempt at a stage: a command at a place, its output in a log, its fault in a small file."""

import time
from collections.abc import Callable
from pathlib import Path

from jobs.faults.causes import suspect_limits
from jobs.faults.explain import explain_log
from jobs.faults.fault import Fault, forget_faults, read_fault
from jobs.faults.kills import explain_kill, memory_kills
from jobs.faults.surroundings import Surroundings
from jobs.places.place import Command, Place

POLL_SECONDS = 0.2
USER_EXIT_CODE = 2
_MAX_OUTPUT = 1 << 18  # bytes of the end of a log that are looked at for the cause of a failure


def run_command(
    place: Place,
    command: Command,
    log: Path,
    *,
    around: Surroundings,
    timeout_seconds: float | None = None,
    on_tick: Callable[[float], None] = lambda seconds: None,
) -> Fault | None:
    """Run a command to its end; None when it went well. All that it started has ended when this returns or raises.

    Args:
        log: takes the command's output, after what is there.
        around: explains a fault.
        on_tick: called with the seconds since the start, a few times a second.
    """
    forget_faults(log)
    log_bytes, kills = (log.stat().st_size if log.exists() else 0), memory_kills()
    running = place.start(command, log)
    start = time.monotonic()
    code = None
    try:
        while code is None:
            seconds = time.monotonic() - start
            if timeout_seconds is not None and seconds > timeout_seconds:
                return Fault(False, f"took longer than place.stage_timeout_seconds={timeout_seconds:g}")
            on_tick(seconds)
            code = running.wait(POLL_SECONDS)
    finally:
        running.stop()
    if code == 0:
        return None
    return _fault(log, code, _output(log, log_bytes), around, for_memory=(memory_kills() or 0) > (kills or 0))


def _fault(log: Path, code: int, output: str, around: Surroundings, *, for_memory: bool) -> Fault:
    """The fault that counts: that of the job; that of a killed process, which can write none; what the log tells of."""
    written = read_fault(log)
    if written is not None and (written.is_users or written.is_final):
        return written
    # A launcher names the process that ended first, so the faults of the others follow from its end.
    if fault := explain_kill(code, output, around, for_memory=for_memory):
        return fault
    if written is not None:
        return written
    if fault := explain_log(output, around):
        return fault
    if fault := suspect_limits(around):
        return fault
    lines = output.strip().splitlines()
    if code == USER_EXIT_CODE:
        # Said by the launcher itself, which writes no fault.
        return Fault(True, lines[-1] if lines else f"exit code {code}")
    return Fault(False, f"exit code {code}" + (f", after {lines[-1].strip()[:200]!r}" if lines else ""))


def _output(log: Path, start: int) -> str:
    """The end of what this attempt has written to its log."""
    with log.open("rb") as stream:
        end = stream.seek(0, 2)
        stream.seek(max(start, end - _MAX_OUTPUT))
        return stream.read().decode(errors="replace")
