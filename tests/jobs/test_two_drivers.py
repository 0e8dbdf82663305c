"""Two drivers of two runs on one store, and two launches of ranks: each artefact is made once, and all end well."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.planning import plan
from jobs.settings import RunSettings, freeze
from jobs.stages import Stage

Build = Callable[..., RunSettings]


def start(settings: RunSettings, name: str) -> subprocess.Popen[str]:
    """A driver of a run of its own."""
    mine = settings.model_copy(update={"name": name})
    freeze(mine, mine.folder / "run.yaml")
    command = [sys.executable, "-m", "mill_drive", str(mine.folder / "run.yaml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def statuses(settings: RunSettings, name: str) -> list[str]:
    record = json.loads((settings.runs / name / "run.json").read_text())
    return [stage["status"] for stage in record["stages"].values()]


def artefacts(settings: RunSettings) -> list[str]:
    return sorted(path.relative_to(settings.store).as_posix() for path in settings.store.glob("*/*/manifest.json"))


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def check_two(settings: RunSettings, *, delay: float) -> None:
    first = start(settings, "first")
    time.sleep(delay)
    second = start(settings, "second")
    said = [driver.communicate(timeout=60)[0] for driver in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert len(artefacts(settings)) == 2
    assert len(list(settings.store.parent.glob("worked-*"))) == 1, "only one of them has worked"
    made = [statuses(settings, name)[:2] for name in ("first", "second")]
    assert sorted(row[0] for row in made) == ["cached", "done"], made
    assert sorted(row[1] for row in made) == ["cached", "done"], made
    reports = [(settings.runs / name / "report.html").read_text() for name in ("first", "second")]
    assert reports == ["6", "6"]


def test_two_drivers_at_once_make_each_artefact_once(settings_of: Build) -> None:
    check_two(settings_of(seconds=1.0), delay=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_two_drivers_make_each_artefact_once_whenever_the_second_comes(
    delay: float, seconds: float, settings_of: Build
) -> None:
    check_two(settings_of(seconds=seconds), delay=delay)


def test_the_second_takes_over_from_a_driver_that_was_killed(settings_of: Build, tmp_path: Path) -> None:
    settings = settings_of(fault="hang once")
    first = start(settings, "first")
    wait_for((tmp_path / "pids").exists)
    second = start(settings, "second")
    time.sleep(1.0)
    first.send_signal(signal.SIGKILL)
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 0, said
    assert f"grind: waiting for run first (process {first.pid} on " in said
    assert statuses(settings, "second") == ["done", "done", "done"]
    assert len(artefacts(settings)) == 2


RANK_JOB = """
import os, sys, time
from mill_settings import MillSettings
from jobs.entry import run_job
from jobs.rank_work import on_all_ranks
from jobs.stages import Stage
from pipelines.manifest import clear, describe

STAGES = (Stage("grind", "flour", (), ("grind",), launcher="ranks", job="mill_turn"),)


def work(context, comm):
    comm.barrier()
    time.sleep(2)
    return comm.size


def finish(context, size):
    clear(context.folder)
    path = context.folder / "rows.txt"
    path.write_text(str(size))
    (context.run_folder / f"worked-{os.getpid()}").touch()
    context.finish(counts={"rows": size}, files=[describe(context.folder, path)])


if __name__ == "__main__":
    sys.exit(run_job("grind", lambda context: on_all_ranks(context, work, finish), stages=STAGES, model=MillSettings))
"""


@pytest.mark.parallel
@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 2.0, 12.0])
def test_two_launches_of_ranks_by_hand_end_well_and_one_of_them_works(
    delay: float, settings_of: Build, river: tuple[Stage, ...], tmp_path: Path
) -> None:
    settings = settings_of()
    prints = {one.name: one.fingerprint or "0" * 16 for one in plan(settings, river)}
    freeze(settings.model_copy(update={"fingerprints": prints}), settings.folder / "run.yaml")
    (tmp_path / "mill_turn.py").write_text(RANK_JOB)
    launcher = [str(Path(sys.executable).parent / "horovodrun"), "-np", "2", "-H", "localhost:2", "--gloo"]
    command = [*launcher, sys.executable, "-m", "mill_turn", "--run", str(settings.folder / "run.yaml")]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"}
    ranks = []
    for number in range(2):
        time.sleep(delay * number)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        ranks.append(subprocess.Popen(command, text=True, env=env, start_new_session=True, **pipes))
    said = [one.communicate(timeout=120)[0] for one in ranks]
    assert [one.returncode for one in ranks] == [0, 0], said
    assert (settings.store / "flour" / prints["grind"] / "rows.txt").read_text() == "2"
    assert len(list(settings.folder.glob("worked-*"))) == 1
