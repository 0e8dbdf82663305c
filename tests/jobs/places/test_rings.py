"""The whole command lines stand in tests/golden/launch.txt."""

from pathlib import Path

import pytest

from jobs.places.rings import RINGS, Ring, ring_command
from jobs.places.settings import LocalSettings, SingleSettings


def test_every_rank_is_started_on_its_host() -> None:
    settings = LocalSettings(hosts="a:4,b:4", ranks=6, threads_per_rank=3)
    command = ring_command(settings, Path("/venv/bin/python"), "jobs.train", ["--run", "x"])
    assert " ".join(command.argv[1:5]) == "-np 6 -H a:4,b:4"
    assert command.env["OMP_NUM_THREADS"] == "3"


def test_another_launcher_registers_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    mpi = Ring(lambda settings, python: ("mpirun", str(settings.num_ranks)), env={"A": "1"})
    monkeypatch.setitem(RINGS, "local", mpi)
    command = ring_command(SingleSettings(), Path("/python"), "jobs.train", [])
    assert command.argv == ("mpirun", "1", "jobs.train")
    assert command.env == {"A": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
