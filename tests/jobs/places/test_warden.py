"""The warden takes everything down that its command left behind."""

import subprocess
import sys
import time
from pathlib import Path

from jobs.places import warden


def test_a_daemon_in_a_session_of_its_own_ends_with_the_command(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys;"
        "left = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(left.pid)); sys.exit(7)"
    )
    held = subprocess.Popen(
        [sys.executable, "-I", "-S", warden.__file__, sys.executable, "-c", code], stdin=subprocess.PIPE
    )
    assert held.wait(30) == 7
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_the_end_of_its_input_ends_the_command() -> None:
    held = subprocess.Popen([sys.executable, "-I", "-S", warden.__file__, "sleep", "600"], stdin=subprocess.PIPE)
    time.sleep(0.3)
    assert held.poll() is None
    assert held.stdin is not None
    held.stdin.close()
    assert held.wait(20) == 128 + 15


def test_a_killed_warden_takes_the_command_along(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    held = subprocess.Popen(
        [sys.executable, "-I", "-S", warden.__file__, sys.executable, "-c", code], stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    held.kill()
    held.wait()
    command = Path("/proc", (tmp_path / "pid").read_text())
    while command.exists() and "Z" not in (command / "stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
