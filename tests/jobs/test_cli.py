"""The command line: exit codes, and one line for each mistake."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs import cli
from jobs.run import StageFailedError
from jobs.settings import PROJECT, RunSettings
from pipelines.run_folder import RunState, StageState
from pipelines.settings import UserError
from pipelines.sources.listing import SourceListing


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "plan" in capsys.readouterr().out


def test_the_version_is_that_of_the_installed_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ringmill {version('ringmill')}\n"


def test_installing_the_ring_without_torch_names_the_extra_and_ends_with_code_2(tmp_path: Path) -> None:
    command = ["bash", str(PROJECT / "jobs" / "install_ring.sh"), "/bin/false", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "torch is not installed; run: pip install 'ringmill[train]'\n")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["grind"], "ringmill: No such command 'grind'; see `ringmill --help`"),
        (["run", "--fast"], "ringmill: No such option: --fast; see `ringmill --help`"),
        (
            ["status", "never", "--runs", "nowhere"],
            "ringmill: there is no run never in nowhere; `ringmill run` makes one",
        ),
        (
            ["report", "never", "--runs", "nowhere"],
            "ringmill: there is no run never in nowhere; `ringmill run` makes one",
        ),
        (
            ["run", "objective=tripel"],
            "ringmill: objective=tripel: there is no conf/objective/tripel.yaml; choose one of ",
        ),
        (["sample", "nowhere", "--photos", "0"], "ringmill: --photos=0: must be at least 1"),
        (["status", "../../x"], "ringmill: '../../x' is no name of a run; give that of its folder below runs: "),
        (["report", "../x"], "ringmill: '../x' is no name of a run; give that of its folder below "),
        (["evaluate", "--run", "a/../../b"], "ringmill: 'a/../../b' is no name of a run; give that of its folder "),
        (["status", "a" * 300], "ringmill: 'aaa"),
        (["report", "a" * 5000], "ringmill: 'aaa"),
        (["run", "source.path=.", f"name={'a' * 255}"], "ringmill: name=aaa"),
        (["plan", "source.path=.", f"store={'a' * 300}"], "ringmill: store=aaa"),
        (["plan", "source.path=.", "extends=../x"], "ringmill: '../x' is no name of a run; give that of its folder "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 2
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


@pytest.fixture(autouse=True)
def crash_logs_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def raising(error: BaseException) -> object:
    def raise_it(overrides: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), 2),
        (StageFailedError("train failed"), 1),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("by nothing\nat all"), 1),
    ],
)
def test_each_end_has_its_exit_code_and_one_line(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "compose", raising(error))
    assert cli.main(["run"]) == code
    told = capsys.readouterr().err
    # After ^C there is a line break first, since the cursor stands behind it.
    assert told.lstrip("\n").startswith("ringmill: ")
    assert told.strip("\n").count("\n") == 0


def test_the_traceback_of_our_fault_is_in_the_named_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "compose", raising(ZeroDivisionError("by nothing")))
    cli.main(["run"])
    log = Path(capsys.readouterr().err.strip().rpartition("see ")[2])
    assert "Traceback" in log.read_text()


def test_a_plan_shows_every_stage_and_runs_none(
    real_settings: RunSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "compose", lambda overrides: real_settings)
    assert cli.main(["plan"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name}" in shown for name in ("ingest", "pairs", "curate", "shard", "train", "evaluate", "report"))
    assert not real_settings.store.exists()
    assert not real_settings.runs.exists()


@pytest.mark.parametrize(("pid", "word"), [(os.getpid(), "x: running"), (2**22 + 1, "x: died")])
def test_status_tells_a_running_driver_from_a_dead_one(
    pid: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    stages = {"ingest": StageState(status="done", fingerprint="", folder="", seconds=3.0, summary="rows 4,000")}
    source = SourceListing(num_files=1, num_bytes=1, digest="")
    state = RunState(name="x", pid=pid, started="", source=source, ranks=1, stages=stages)
    (tmp_path / "x" / "run.json").write_text(state.model_dump_json())
    assert cli.main(["status", "x", "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert word in shown
    assert "rows 4,000" in shown


def test_the_command_starts_without_torch_and_pyspark() -> None:
    code = "import sys, jobs.cli; print({'torch', 'pyspark', 'hydra', 'petastorm', 'cv2'} & sys.modules.keys())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert told.stdout.strip() == "set()"


def test_a_sample_is_drawn_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sample", str(tmp_path / "set"), "--identities", "12", "--photos", "4"]) == 0
    assert "files of 12 people" in capsys.readouterr().out
    assert (tmp_path / "set" / "truth.csv").exists()
