"""A river of tiny stages in real processes, and a small conf/ for the settings."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from jobs.entry import JobContext
from jobs.place import PlaceSettings
from jobs.run import drive
from jobs.screen import Screen
from jobs.settings import PROJECT, RunSettings
from jobs.stages import STAGES, Stage

MILL = Path(__file__).parent / "mill"


@pytest.fixture
def share_session(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give jobs the session of all tests, instead of one more JVM to each."""

    @contextlib.contextmanager
    def shared(context: JobContext, **options: Any) -> Iterator[SparkSession]:
        yield spark

    def share(*jobs: ModuleType) -> None:
        for job in jobs:
            monkeypatch.setattr(job, "spark_session", shared)

    return share


@pytest.fixture
def river(monkeypatch: pytest.MonkeyPatch) -> tuple[Stage, ...]:
    """The stages of mill/, importable here and in the processes that are started."""
    monkeypatch.syspath_prepend(str(MILL))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(MILL), str(PROJECT)]))
    from mill_stages import STAGES

    stages: tuple[Stage, ...] = STAGES
    return stages


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., RunSettings]:
    """Settings of a run of the river; keywords change the section of grind, ``place`` the place."""

    def build(place: dict[str, Any] | None = None, **grind: Any) -> RunSettings:
        return RunSettings(
            name="loaf",
            store=tmp_path / "store",
            runs=tmp_path / "runs",
            place=PlaceSettings(**{"retries": 0, **(place or {})}),
            sections={
                "grind": {"rows": 3, "fault": "", "pids": str(tmp_path / "pids"), **grind},
                "press": {"loaves": 2},
            },
        )

    return build


@pytest.fixture
def grind(river: tuple[Stage, ...]) -> Callable[[RunSettings], str]:
    """Drives the river and returns what was on the screen."""

    def run(settings: RunSettings) -> str:
        console = Console(file=io.StringIO(), width=200)
        with Screen([stage.name for stage in river], console) as screen:
            drive(settings, screen, river)
        shown = console.file
        assert isinstance(shown, io.StringIO)
        return shown.getvalue()

    return run


@pytest.fixture
def real_settings(tmp_path: Path) -> RunSettings:
    """Settings as of a real run over two files, written out by hand."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"a" * 100)
    (images / "b.jpg").write_bytes(b"b" * 50)
    source = {"kind": "folder", "path": str(images), "chunk_bytes": 1 << 20, "chunk_images": 10}
    sections: dict[str, dict[str, Any]] = {name: {} for stage in STAGES for name in (*stage.reads, *stage.checks_only)}
    del sections["seed"]
    sections |= {
        "source": source,
        "feed": {"threads": 1, "augment": {"flip": 0.5}},
        "recipe": {"epochs": 4, "batch_size": 256},
        "evaluate": {"path": None, "num_pairs": 6000},
        "embed": {"model": None},
    }
    return RunSettings(name="r", store=tmp_path / "store", runs=tmp_path / "runs", sections=sections)
