"""One attempt at a stage: a command at a place, its output in a log, its mistakes in a small file."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.places.place import Command, Place
from pipelines.durable import write_atomically
from pipelines.run_folder import fault_file

POLL_SECONDS = 0.2
USER_EXIT_CODE = 2


@dataclass(frozen=True)
class Fault:
    """The reason for which a job ended."""

    is_users: bool  # a mistake of the user's, so that it is never tried again
    line: str


def run_command(
    place: Place, command: Command, log: Path, *, timeout_seconds: float | None, on_tick: Callable[[float], None]
) -> Fault | None:
    """Run a command to its end; None when it went well. All that it started has ended when this returns or raises.

    Args:
        log: takes the command's output, after what is there.
        on_tick: called with the seconds since the start, a few times a second.
    """
    fault_file(log).unlink(missing_ok=True)
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
    return None if code == 0 else _fault(log, code)


def write_fault(log: Path, fault: Fault) -> None:
    """Keep why a job ended, for a driver that sees only the launcher's exit code; a user's mistake outweighs the rest,
    since the other ranks fail in its wake."""
    path = fault_file(log)
    if fault.is_users or not path.exists():
        write_atomically(path, json.dumps({"is_users": fault.is_users, "line": fault.line}).encode())


def _fault(log: Path, code: int) -> Fault:
    path = fault_file(log)
    if path.exists():
        return Fault(**json.loads(path.read_text()))
    if code == USER_EXIT_CODE:
        # Said by the launcher itself, which knows nothing of our file.
        lines = log.read_text(errors="replace").strip().splitlines()
        return Fault(True, lines[-1] if lines else f"exit code {code}")
    return Fault(False, f"exit code {code}")
