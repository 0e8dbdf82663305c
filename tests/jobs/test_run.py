"""The driver over a river of tiny stages, each a real process; faults are caused, not imagined."""

import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.listeners.events import Event, RunEnded
from jobs.planning import plan
from jobs.run import StageFailedError, drive
from jobs.settings import RunSettings, freeze, load
from jobs.stages import Stage
from pipelines.locks import exclusive
from pipelines.manifest import Manifest, clear, describe, write
from pipelines.settings import UserError

Change = Callable[..., RunSettings]

Build = Callable[..., RunSettings]
Grind = Callable[[RunSettings], str]


def stages_of(settings: RunSettings) -> dict[str, Any]:
    stages: dict[str, Any] = json.loads((settings.folder / "run.json").read_text())["stages"]
    return stages


def test_all_stages_run_in_order_and_the_report_is_written(settings_of: Build, grind: Grind) -> None:
    settings = settings_of()
    shown = grind(settings)
    assert (settings.folder / "report.html").read_text() == "6"
    assert [line.split(":")[0] for line in shown.splitlines() if "done" in line] == ["grind", "press", "tell"]
    assert "3 rows of flour" in shown
    assert stages_of(settings)["press"]["counts"] == {"rows": 3}


def test_listeners_hear_the_run_in_order_and_one_that_fails_does_not_end_it(
    settings_of: Build, river: tuple[Stage, ...]
) -> None:
    heard: list[Event] = []

    def failing(event: Event) -> None:
        raise ConnectionError("no tracker here")

    settings = settings_of()
    drive(settings, [failing, heard.append], river)
    names = [type(event).__name__ for event in heard]
    stage = ["StageStarted", "AttemptEnded", "StageEnded"]
    kept = [name for name in names if name not in ("StageProgress", "Note", "StagesPlanned")]
    assert kept == ["RunStarted", *stage, *stage, *stage, "RunEnded"]
    assert isinstance(heard[-1], RunEnded)
    assert "no tracker here" in str(heard[0])
    assert stages_of(settings)["tell"]["status"] == "done"


def test_a_second_run_does_nothing_and_is_quick(settings_of: Build, grind: Grind) -> None:
    settings = settings_of()
    grind(settings)
    before = (settings.folder / "report.html").stat().st_mtime_ns
    # Processor time, since a busy machine says nothing of the driver.
    start = time.process_time()
    shown = grind(settings)
    assert time.process_time() - start < 1.0
    assert [line.split(",")[0] for line in shown.splitlines()] == ["grind: cached", "press: cached", "tell: cached"]
    assert (settings.folder / "report.html").stat().st_mtime_ns == before


def test_what_a_stage_has_to_note_is_said_at_the_end_of_every_run(settings_of: Build, grind: Grind) -> None:
    settings = settings_of(notes=["mill.tar is broken from byte 512", "and 3 more"])
    expected = ["note: grind: mill.tar is broken from byte 512", "note: grind: and 3 more"]
    assert grind(settings).splitlines()[-2:] == expected
    assert grind(settings).splitlines()[-2:] == expected


def test_what_a_stage_has_to_note_is_said_before_the_next_one_starts(settings_of: Build, grind: Grind) -> None:
    lines = grind(settings_of(notes=["mill.tar is broken from byte 512"])).splitlines()
    first = lines.index("note: grind: mill.tar is broken from byte 512")
    assert [line.split(",")[0] for line in lines[first - 1 : first + 2 : 2]] == ["grind: done", "press: running"]


def test_a_changed_setting_redoes_only_what_lies_downstream(settings_of: Build, grind: Grind, change: Change) -> None:
    settings = settings_of()
    grind(settings)
    changed = change(settings, press={"loaves": 5})
    grind(changed)
    assert {name: stage["status"] for name, stage in stages_of(changed).items()} == {
        "grind": "cached",
        "press": "done",
        "tell": "done",
    }
    assert (changed.folder / "report.html").read_text() == "15"


def test_a_table_that_came_out_the_same_redoes_nothing_of_what_reads_it(settings_of: Build, grind: Grind) -> None:
    grind(settings_of(notes=["the first"]))
    before = load_prints(settings_of())
    shown = grind(settings_of(notes=["the second"]))
    assert ends(shown)[:3] == ["grind: done", "press: cached", "tell: done"]
    after = load_prints(settings_of())
    assert [name for name in before if before[name] != after[name]] == ["grind", "tell"]
    # How long it took and how often it was tried stay known.
    assert stages_of(settings_of())["press"]["attempts"] == 1


def test_a_table_that_came_out_otherwise_redoes_what_reads_it(settings_of: Build, grind: Grind) -> None:
    grind(settings_of(rows=3))
    shown = grind(settings_of(rows=4))
    assert ends(shown) == ["grind: done", "press: done", "tell: done"]
    assert (settings_of().folder / "report.html").read_text() == "8"


def test_a_run_yaml_that_was_changed_by_hand_is_named_and_the_given_settings_count(
    settings_of: Build, grind: Grind
) -> None:
    grind(settings_of())
    path = settings_of().folder / "run.yaml"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"rows: 3", b"rows: 5").replace(b"seed: 0", b"seed: 1"))
    shown = grind(settings_of())
    assert f"note: {path} was changed after it was frozen; the settings given now count" in shown
    assert ends(shown) == ["grind: cached", "press: cached", "tell: cached"]
    assert path.read_bytes() == before
    assert "was changed" not in grind(settings_of())


def test_what_is_not_known_yet_is_waiting_and_in_no_run_yaml(settings_of: Build, grind: Grind) -> None:
    settings = settings_of(fault="user")
    with pytest.raises(UserError):
        grind(settings)
    assert load_prints(settings).keys() == {"grind"}
    press = stages_of(settings)["press"]
    assert (press["status"], press["fingerprint"], press["folder"]) == ("waiting", None, None)


def test_a_new_stage_takes_a_line_of_the_table_and_its_job(
    settings_of: Build, river: tuple[Stage, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bread, made of the first: the report gets the newer one, and both stay."""
    table = Path(str(pkgutil.resolve_name("mill_stages").__file__)).read_text()
    line = '    Stage("toast", "bread", ("press",), (), launcher="local", job="mill_toast"),\n'
    last = table.index('    Stage("tell"')
    (tmp_path / "mill_stages.py").write_text(table[:last] + line + table[last:])
    (tmp_path / "mill_toast.py").write_text(MILL_TOAST)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    stages = runpy.run_path(str(tmp_path / "mill_stages.py"))["STAGES"]
    settings = settings_of()
    report = drive(settings, [], stages)
    made = {one.name: one for one in plan(settings, stages)}
    assert made["toast"].manifest().parents["press"].fingerprint == made["press"].fingerprint
    assert [(Path(str(made[name].folder)) / "bread.txt").read_text() for name in ("press", "toast")] == [
        "6",
        "toasted 6",
    ]
    assert report.read_text() == "toasted 6"


MILL_TOAST = """
import sys
from mill_settings import MillSettings
from mill_stages import STAGES
from jobs.entry import run_job
from pipelines.manifest import clear, describe


def work(context):
    clear(context.folder)
    path = context.folder / "bread.txt"
    path.write_text("toasted " + (context.parents["press"] / "bread.txt").read_text())
    context.finish(counts={"rows": 1}, files=[describe(context.folder, path)])


sys.exit(run_job("toast", work, stages=STAGES, model=MillSettings))
"""


def ends(shown: str) -> list[str]:
    lines = [line.split(",")[0] for line in shown.splitlines()]
    return [line for line in lines if line.endswith((": done", ": cached"))]


def load_prints(settings: RunSettings) -> dict[str, str]:
    return load(settings.folder / "run.yaml", type(settings)).fingerprints


def test_going_back_to_old_settings_redoes_the_report_alone(settings_of: Build, grind: Grind, change: Change) -> None:
    settings = settings_of()
    grind(settings)
    grind(change(settings, press={"loaves": 5}))
    grind(settings)
    assert [stage["status"] for stage in stages_of(settings).values()] == ["cached", "cached", "done"]
    assert (settings.folder / "report.html").read_text() == "6"


def test_a_stage_that_crashes_once_is_tried_again(settings_of: Build, grind: Grind) -> None:
    settings = settings_of(fault="crash once", place={"retries": 1})
    shown = grind(settings)
    assert "attempt 1 of 2 failed: RuntimeError: the stone broke" in shown
    assert stages_of(settings)["grind"]["attempts"] == 2


def test_a_stage_that_always_crashes_fails_with_its_log(settings_of: Build, grind: Grind) -> None:
    settings = settings_of(fault="crash", place={"retries": 1})
    with pytest.raises(StageFailedError, match=r"number 2: RuntimeError: the stone broke; see .*grind\.log$"):
        grind(settings)
    assert "Traceback" in settings.log_file("grind").read_text()
    record = json.loads((settings.folder / "run.json").read_text())
    assert record["status"] == "failed"
    assert [stage["status"] for stage in record["stages"].values()] == ["failed", "waiting", "waiting"]


def test_a_mistake_of_the_user_is_shown_again_and_never_retried(settings_of: Build, grind: Grind) -> None:
    settings = settings_of(fault="user", place={"retries": 3})
    with pytest.raises(UserError, match=r"^grind.grain=gravel cannot be ground; give it wheat$"):
        grind(settings)
    assert stages_of(settings)["grind"]["attempts"] == 1
    assert "Traceback" not in settings.log_file("grind").read_text()


def test_a_stage_without_an_artefact_has_failed(settings_of: Build, grind: Grind) -> None:
    with pytest.raises(StageFailedError, match="ended without an artefact"):
        grind(settings_of(fault="no manifest"))


def test_a_stage_that_takes_too_long_is_ended(settings_of: Build, grind: Grind, tmp_path: Path) -> None:
    settings = settings_of(fault="hang deaf", place={"stage_timeout_seconds": 6.0})
    with pytest.raises(StageFailedError, match=r"longer than place.stage_timeout_seconds=6"):
        grind(settings)
    assert not alive(tmp_path / "pids")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_driver_however_it_dies(
    signum: signal.Signals, settings_of: Build, river: object, tmp_path: Path
) -> None:
    settings = settings_of(fault="hang")
    freeze(settings, settings.folder / "run.yaml")
    driver = start_driver(settings)
    wait_for((tmp_path / "pids").exists)
    driver.send_signal(signum)
    driver.wait(20)
    wait_for(lambda: not alive(tmp_path / "pids"))
    record = json.loads((settings.folder / "run.json").read_text())
    assert record["status"] == ("running" if signum == signal.SIGKILL else "stopped")


def test_an_artefact_that_another_process_builds_is_waited_for(
    settings_of: Build, grind: Grind, river: tuple[Stage, ...]
) -> None:
    settings = settings_of()
    planned = plan(settings, river)[0]
    assert planned.folder is not None
    assert planned.fingerprint is not None
    begun = threading.Event()

    def build_slowly() -> None:
        with exclusive(planned.folder, by="run other"):
            begun.set()
            time.sleep(1.0)
            clear(planned.folder)
            path = planned.folder / "rows" / "flour.txt"
            path.parent.mkdir()
            path.write_text("flour\n" * 7)
            manifest = Manifest(
                kind="flour",
                fingerprint=planned.fingerprint,
                parents={},
                settings={},
                code_version="",
                counts={"rows": 7},
                files=(describe(planned.folder, path),),
            )
            write(planned.folder, manifest)

    orphan = threading.Thread(target=build_slowly)
    orphan.start()
    begun.wait()
    shown = grind(settings)
    orphan.join()
    assert "grind: waiting for run other (process" in shown
    assert stages_of(settings)["grind"]["status"] == "cached"
    assert (settings.folder / "report.html").read_text() == "14"


def start_driver(settings: RunSettings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mill_drive", str(settings.folder / "run.yaml")],
        # A shell that puts the test run into the background makes it, and so its children, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def alive(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split() if is_running(int(pid))]


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_the_frozen_settings_name_the_artefacts(settings_of: Build, grind: Grind) -> None:
    settings = settings_of()
    grind(settings)
    prints = load(settings.folder / "run.yaml", type(settings)).fingerprints
    assert (settings.store / "flour" / prints["grind"] / "manifest.json").exists()
    assert (settings.store / "bread" / prints["press"] / "manifest.json").exists()
