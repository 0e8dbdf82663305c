"""Real processes."""

import sys
import time
from pathlib import Path

from jobs.places.place import Command
from jobs.places.process import Supervised

PYTHON = Path(sys.executable)


def test_a_command_that_still_runs_has_no_exit_code_and_can_be_stopped(tmp_path: Path) -> None:
    running = Supervised(Command(("sleep", "600"), {}), tmp_path / "log", python=PYTHON)
    assert running.wait(0.2) is None
    start = time.monotonic()
    running.stop()
    assert time.monotonic() - start < 20
    assert running.wait(0) == 128 + 15


def test_stopping_what_has_ended_does_nothing(tmp_path: Path) -> None:
    script = "import os, sys; print(os.environ['WORD']); sys.exit(3)"
    running = Supervised(Command((sys.executable, "-c", script), {"WORD": "said"}), tmp_path / "log", python=PYTHON)
    assert running.wait(30) == 3
    running.stop()
    assert running.wait(0) == 3
    assert (tmp_path / "log").read_text() == "said\n"
