"""One attempt at a stage: a real process under a warden, its output in a log, its mistakes in a small file."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs import warden
from jobs.launch import Command
from pipelines.manifest import write_atomically
from pipelines.run_folder import fault_file

POLL_SECONDS = 0.2
STOP_SECONDS = warden.GRACE_SECONDS + 10.0  # the warden asks, waits and kills within this time

USER_EXIT_CODE = 2


@dataclass(frozen=True)
class Fault:
    """Why a job ended."""

    is_users: bool  # and so never tried again
    line: str


def run_command(
    command: Command, log: Path, *, python: Path, timeout_seconds: float | None, on_tick: Callable[[float], None]
) -> Fault | None:
    """Run a command to its end; None when it went well. Whatever it started has ended too when this returns or raises.

    Args:
        log: takes the command's output, after what is there.
        on_tick: told the seconds since the start, a few times a second.
    """
    fault_file(log).unlink(missing_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(python), "-I", "-S", warden.__file__, *command.argv],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **command.env},
            # Ctrl-C is for the driver alone: it ends the stage in order.
            start_new_session=True,
        )
    start = time.monotonic()
    try:
        while process.poll() is None:
            seconds = time.monotonic() - start
            if timeout_seconds is not None and seconds > timeout_seconds:
                return Fault(False, f"took longer than place.stage_timeout_seconds={timeout_seconds:g}")
            on_tick(seconds)
            _wait(process, POLL_SECONDS)
    finally:
        _stop(process)
    return None if process.returncode == 0 else _fault(log, process.returncode)


def write_fault(log: Path, fault: Fault) -> None:
    """Keep why a job ended, for a driver that sees only the launcher's exit code; a user's mistake outweighs the rest,
    since the other ranks fail in its wake."""
    path = fault_file(log)
    if fault.is_users or not path.exists():
        write_atomically(path, json.dumps({"is_users": fault.is_users, "line": fault.line}).encode())


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    # The end of its input tells the warden to end the stage.
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _fault(log: Path, code: int) -> Fault:
    path = fault_file(log)
    if path.exists():
        return Fault(**json.loads(path.read_text()))
    if code == USER_EXIT_CODE:
        # Said by the launcher itself, which knows nothing of our file.
        lines = log.read_text(errors="replace").strip().splitlines()
        return Fault(True, lines[-1] if lines else f"exit code {code}")
    return Fault(False, f"exit code {code}")
