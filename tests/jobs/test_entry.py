"""A job alone: from run.yaml to an exit code."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.entry import JobContext, run_job
from jobs.faults.fault import Fault, read_fault
from jobs.places.settings import LocalSettings, PlaceSettings, SingleSettings, TorchrunSettings
from jobs.planning import plan
from jobs.settings import RunSettings, freeze
from jobs.stages import Stage
from pipelines.manifest import clear, describe, is_done, read
from pipelines.settings import UserError


def mill_model() -> type[RunSettings]:
    """The settings of the test river, importable once its fixture ran."""
    from mill_settings import MillSettings

    return MillSettings


Build = Callable[..., RunSettings]


@pytest.fixture
def frozen(settings_of: Build, river: tuple[Stage, ...]) -> RunSettings:
    settings = settings_of()
    prints = {one.name: one.fingerprint or "0" * 16 for one in plan(settings, river)}
    settings = settings.model_copy(update={"fingerprints": prints})
    freeze(settings, settings.folder / "run.yaml")
    return settings


@pytest.fixture
def run(frozen: RunSettings, river: tuple[Stage, ...]) -> Callable[[Callable[[JobContext], None]], int]:
    return lambda work: run_job(
        "grind", work, argv=["--run", str(frozen.folder / "run.yaml")], stages=river, model=mill_model()
    )


Run = Callable[[Callable[[JobContext], None]], int]


def finish(context: JobContext) -> None:
    clear(context.folder)
    context.finish(counts={"rows": 1}, files=[])


def test_a_finished_job_leaves_a_manifest_that_says_where_it_came_from(run: Run, frozen: RunSettings) -> None:
    assert run(finish) == 0
    manifest = read(frozen.store / "flour" / frozen.fingerprints["grind"])
    assert manifest.fingerprint == frozen.fingerprints["grind"]
    assert manifest.settings == {"grind": {"rows": 3, "fault": "", "notes": []}}


def test_a_job_of_a_copied_run_folder_writes_into_the_copy(
    frozen: RunSettings, river: tuple[Stage, ...], tmp_path: Path
) -> None:
    copy = tmp_path / "archive" / "loaf (copy)"
    shutil.copytree(frozen.folder, copy)
    seen: list[JobContext] = []
    argv = ["--run", str(copy / "run.yaml")]
    assert run_job("grind", lambda context: seen.append(context), argv=argv, stages=river, model=mill_model()) == 0
    assert seen[0].run_folder == copy
    assert (copy / "logs").is_dir()
    assert not (frozen.folder / "logs").exists()


def test_a_job_refuses_a_run_yaml_that_was_changed(run: Run, frozen: RunSettings) -> None:
    path = frozen.folder / "run.yaml"
    path.write_text(path.read_text().replace("rows: 3", "rows: 4"))
    assert run(finish) == 2
    assert not (frozen.store / "flour" / frozen.fingerprints["grind"] / "manifest.json").exists()


def test_a_job_whose_artefact_is_there_does_nothing(run: Run) -> None:
    run(finish)
    assert run(lambda context: pytest.fail("worked again")) == 0


def test_a_mistake_of_the_user_is_exit_code_2_and_one_line(
    run: Run, frozen: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(context: JobContext) -> None:
        raise UserError("x=1 is wrong; take 2")

    assert run(work) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "ringmill: x=1 is wrong; take 2"
    fault = json.loads(frozen.log_file("grind").with_suffix(".fault").read_text())
    assert (fault["is_users"], fault["line"]) == (True, "x=1 is wrong; take 2")


def test_a_fault_of_ours_is_exit_code_1(run: Run, frozen: RunSettings) -> None:
    def work(context: JobContext) -> None:
        raise ZeroDivisionError("by nothing\nat all")

    assert run(work) == 1
    fault = json.loads(frozen.log_file("grind").with_suffix(".fault").read_text())
    assert (fault["is_users"], fault["line"]) == (False, "ZeroDivisionError: by nothing")


def test_the_mistake_of_the_user_outweighs_the_ranks_that_fail_in_its_wake(run: Run, frozen: RunSettings) -> None:
    def mistake(context: JobContext) -> None:
        raise UserError("mine")

    def wake(context: JobContext) -> None:
        raise ConnectionError("rank 0 left")

    run(mistake)
    run(wake)
    assert read_fault(frozen.log_file("grind")) == Fault(True, "mine")


def test_a_stage_whose_parent_is_missing_names_the_stage_to_run(
    frozen: RunSettings, river: tuple[Stage, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run_job("press", finish, argv=["--run", str(frozen.folder / "run.yaml")], stages=river, model=mill_model()) == 2
    )
    assert "run the stage grind first" in capsys.readouterr().err


def test_a_stage_that_only_some_runs_have_names_the_setting(
    real_settings: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(real_settings, real_settings.folder / "run.yaml")
    assert run_job("export", finish, argv=["--run", str(real_settings.folder / "run.yaml")]) == 2
    said = "the run r has no stage export, which only some runs have: those with curate.rounds above 1; it has ingest,"
    assert said in capsys.readouterr().err


def test_a_missing_run_yaml_is_exit_code_2(
    tmp_path: Path, river: tuple[Stage, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job("grind", finish, argv=["--run", str(tmp_path / "run.yaml")], stages=river, model=mill_model()) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "place", "launcher", "rank"),
    [
        ("HOROVOD_RANK", LocalSettings(), "ranks", 3),
        ("RANK", TorchrunSettings(), "ranks", 3),
        # Of a launcher that is not the place's own, under which the job may have been started.
        ("RANK", LocalSettings(), "ranks", 0),
        ("RANK", SingleSettings(), "ranks", 0),
        ("HOROVOD_RANK", TorchrunSettings(), "ranks", 0),
        ("RANK", TorchrunSettings(), "local", 0),
    ],
)
def test_only_stages_of_ranks_have_one_and_by_the_launcher_of_the_place(
    variable: str,
    place: PlaceSettings,
    launcher: Literal["ranks", "local"],
    rank: int,
    frozen: RunSettings,
    river: tuple[Stage, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, "3")
    freeze(frozen.model_copy(update={"place": place}), frozen.folder / "run.yaml")
    stages = (dataclasses.replace(river[0], launcher=launcher),)
    seen = []
    run_job(
        "grind",
        lambda context: seen.append(context.rank),
        argv=["--run", str(frozen.folder / "run.yaml")],
        stages=stages,
        model=mill_model(),
    )
    assert seen == [rank]


@pytest.mark.parametrize(("asked", "done"), [((), "rye"), (("--stage", "grind.wheat"), "wheat")])
def test_a_job_does_the_first_of_its_instances_unless_another_is_named(
    asked: tuple[str, ...], done: str, frozen: RunSettings, river: tuple[Stage, ...]
) -> None:
    stages = (dataclasses.replace(river[0], instances=lambda settings: ("rye", "wheat")),)
    prints = {f"grind.{name}": name for name in ("rye", "wheat")}
    freeze(frozen.model_copy(update={"fingerprints": prints}), frozen.folder / "run.yaml")
    seen = []
    argv = ["--run", str(frozen.folder / "run.yaml"), *asked]
    code = run_job("grind", lambda context: seen.append(context.instance), argv=argv, stages=stages, model=mill_model())
    assert code == 0
    assert seen == [done]


def test_a_summary_that_cannot_be_told_leaves_no_artefact(run: Run, frozen: RunSettings) -> None:
    """The driver would call a failed stage cached."""

    def full(done: int, total: int, text: str = "") -> None:
        raise OSError(28, "No space left on device")

    def work(context: JobContext) -> None:
        clear(context.folder)
        dataclasses.replace(context, progress=full).finish(counts={}, files=[], summary="3 rows")

    assert run(work) == 1
    assert not is_done(frozen.store / "flour" / frozen.fingerprints["grind"])


@pytest.fixture
def press(frozen: RunSettings, river: tuple[Stage, ...], run: Run) -> Run:
    """Run the second stage, for which the first has ground."""

    def grind(context: JobContext) -> None:
        clear(context.folder)
        for name in ("rows/a.txt", "rows/b.txt"):
            (context.folder / name).parent.mkdir(exist_ok=True)
            (context.folder / name).write_text(f"flour of {name}")
        files = [describe(context.folder, context.folder / name) for name in ("rows/a.txt", "rows/b.txt")]
        context.finish(counts={"rows": 2}, files=files)

    assert run(grind) == 0
    argv = ["--run", str(frozen.folder / "run.yaml")]
    return lambda work: run_job("press", work, argv=argv, stages=river, model=mill_model())


def _flour(frozen: RunSettings) -> Path:
    return frozen.store / "flour" / frozen.fingerprints["grind"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed", "replaced"])
def test_a_damaged_parent_is_named_and_never_used(
    press: Run, frozen: RunSettings, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _flour(frozen) / "rows/b.txt"
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        damaged = {"flipped": b"F" + content[1:], "cut": content[:-1], "replaced": content.replace(b"b.txt", b"a.txt")}
        path.write_bytes(damaged[damage])
    assert press(lambda context: pytest.fail("worked with it")) == 2
    line = f"{path} is missing or was altered since it was written; remove {_flour(frozen)}, and the next run makes it"
    assert line in capsys.readouterr().err
    path.write_bytes(content)
    assert press(finish) == 0


def test_damage_that_a_library_comes_upon_is_named(
    press: Run, frozen: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a table that is too large to be compared beforehand."""
    path = _flour(frozen) / "rows/b.txt"

    def work(context: JobContext) -> None:
        path.write_text("altered")
        raise OSError(f"FAILED_READ_FILE Encountered error while reading file file://{path}. CRC\n\tat org.apache")

    assert press(work) == 2
    assert f"ringmill: {path} is missing or was altered" in capsys.readouterr().err


def test_an_error_that_names_a_sound_file_is_no_damage(
    press: Run, frozen: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(context: JobContext) -> None:
        raise OSError(f"{_flour(frozen)}/rows/b.txt: the network is down")

    assert press(work) == 1
    assert "the network is down" in capsys.readouterr().err


@pytest.mark.spark
def test_a_mistake_that_an_executor_finds_is_a_mistake(
    press: Run, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        raise UserError("the picture 7 is not the one; remove it")

    def work(context: JobContext) -> None:
        spark.range(3).mapInArrow(fail, "id long").collect()

    assert press(work) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "ringmill: the picture 7 is not the one; remove it"
