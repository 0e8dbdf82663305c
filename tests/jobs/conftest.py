"""A river of tiny stages in real processes, and a small conf/ for the settings."""

import contextlib
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession
from rich.console import Console

from jobs.entry import JobContext
from jobs.listeners.screen import Screen
from jobs.places.settings import LocalSettings
from jobs.planning import PlannedStage, plan
from jobs.run import drive
from jobs.settings import PROJECT, RunSettings
from jobs.stages import Stage
from pipelines.manifest import Manifest, describe, write
from pipelines.sources.settings import FolderSettings
from training.settings import RecipeSettings

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
def settings_of(river: tuple[Stage, ...], tmp_path: Path) -> Callable[..., RunSettings]:
    """Settings of a run of the river; keywords change the section of grind, ``place`` the place."""
    from mill_settings import GrindSettings, MillSettings

    def build(place: dict[str, Any] | None = None, **grind: Any) -> RunSettings:
        return MillSettings(
            name="loaf",
            store=tmp_path / "store",
            runs=tmp_path / "runs",
            place=LocalSettings(**{"retries": 0, **(place or {})}),
            grind=GrindSettings(**{"pids": str(tmp_path / "pids"), **grind}),
        )

    return build


@pytest.fixture
def grind(river: tuple[Stage, ...]) -> Callable[[RunSettings], str]:
    """Drives the river and returns what was on the screen."""

    def run(settings: RunSettings) -> str:
        console = Console(file=io.StringIO(), width=200)
        with Screen(console) as screen:
            drive(settings, [screen], river)
        shown = console.file
        assert isinstance(shown, io.StringIO)
        return shown.getvalue()

    return run


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """The folder of a model with its first weights, in a store."""
    import torch

    from training.feed.settings import DecodeSettings
    from training.model_file import ModelCard, write_model
    from training.models.backbones import build_backbone
    from training.models.settings import ModelSettings

    torch.manual_seed(0)
    model = ModelSettings(name="mobilefacenet", width=0.25, input_size_px=32)
    decode = DecodeSettings(size_px=32)
    folder = tmp_path / "store" / "model" / "m"
    folder.mkdir(parents=True)
    card = ModelCard(model=model, decode=decode, dataset="d", num_classes=3, num_steps=1)
    write_model(folder, build_backbone(model).eval(), card)
    return folder


@pytest.fixture
def write_pack() -> Callable[[Path, list[bool]], None]:
    """Write a verification pack of noise; pairs of one person are the same picture twice."""
    import cv2

    def write(path: Path, is_same: list[bool]) -> None:
        rng = np.random.default_rng(0)
        images: list[bytes] = []
        for same in is_same:
            pictures = [cv2.imencode(".png", rng.integers(0, 256, (40, 40, 3), np.uint8))[1].tobytes() for _ in "ab"]
            images += [pictures[0], pictures[0] if same else pictures[1]]
        path.write_bytes(pickle.dumps((images, is_same)))

    return write


@pytest.fixture
def real_settings(tmp_path: Path) -> RunSettings:
    """Settings of a real run over two files."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"a" * 100)
    (images / "b.jpg").write_bytes(b"b" * 50)
    return RunSettings(
        name="r",
        store=tmp_path / "store",
        runs=tmp_path / "runs",
        source=FolderSettings(path=str(images), chunk_bytes=1 << 20, chunk_images=10),
        recipe=RecipeSettings(epochs=4, batch_size=256),
    )


@pytest.fixture
def change() -> Callable[..., RunSettings]:
    """Settings of a run with other values in some sections, each given as a dict; checked like any. A section that is
    given a name becomes another kind and keeps nothing.
    """

    def changed(settings: RunSettings, **sections: dict[str, Any]) -> RunSettings:
        whole = settings.model_dump(mode="json")
        for name, values in sections.items():
            whole[name] = values if "name" in values else {**whole[name], **values}
        return type(settings).model_validate(whole)

    return changed


def _plant(planned: PlannedStage, *, content: str, **counts: int) -> None:
    """Let the artefact of a stage appear, with one table; artefacts of the same content have equal tables."""
    assert planned.folder is not None
    assert planned.fingerprint is not None
    planned.folder.mkdir(parents=True, exist_ok=True)
    if planned.stage.makes is None:
        (planned.folder / "report.html").touch()
        return
    table = planned.folder / "rows" / "0.parquet"
    table.parent.mkdir(exist_ok=True)
    table.write_text(content)
    made = Manifest(
        kind=planned.stage.makes,
        fingerprint=planned.fingerprint,
        parents={},
        settings={},
        code_version="",
        counts={"rows": 1, **counts},
        files=(describe(planned.folder, table, rows=1),),
    )
    write(planned.folder, made)


@pytest.fixture
def plant() -> Callable[..., None]:
    """Lets the artefact of a planned stage appear; `content` says what is in its table."""
    return _plant


PlanThrough = Callable[..., list[PlannedStage]]


@pytest.fixture
def plan_through() -> PlanThrough:
    """Plans a run to its end, making the artefacts that fingerprints follow; `content` says what is in each of them."""

    def planned(
        settings: RunSettings, *, content: Callable[[str], str] = lambda fingerprint: fingerprint, **options: Any
    ) -> list[PlannedStage]:
        found = plan(settings, **options)
        for _ in found:
            if all(one.fingerprint is not None for one in found):
                return found
            for one in found:
                if one.stage.makes == "decisions" and one.fingerprint is not None and not one.is_done:
                    _plant(one, content=content(one.fingerprint))
            found = plan(settings, **options)
        raise AssertionError("the plan of the run came to no end")

    return planned
