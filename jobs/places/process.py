"""A process of this machine that ends with everything it started: its parent is a warden."""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jobs.places import warden
from jobs.places.place import Command

STOP_SECONDS = warden.GRACE_SECONDS + 10.0  # the warden asks, waits and kills within this time


class Supervised:
    """A running command, its output in a log.

    Args:
        env: its environment, to which that of the command is added.
    """

    def __init__(self, command: Command, log: Path, *, python: Path, env: Mapping[str, str] = os.environ) -> None:
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [str(python), "-I", "-S", warden.__file__, *command.argv],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                env={**env, **command.env},
                # Ctrl-C is for the driver alone: it ends the stage in order.
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        """The exit code; None where the command still runs after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def stop(self) -> None:
        """End the command and all that it started, and return when they have ended."""
        assert self._process.stdin is not None
        # The end of its input is the warden's sign to end the command.
        self._process.stdin.close()
        if self.wait(STOP_SECONDS) is None:
            self._process.kill()
            self._process.wait()
