"""What is said when the pictures that must not be trained on are others than before."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.planning import PlannedStage, plan
from jobs.reuse import describe_reuse
from jobs.settings import RunSettings
from pipelines.leak import LEAK
from pipelines.records import REJECTED
from pipelines.run_folder import RunState, StageState
from pipelines.sources.settings import FolderSettings, ReferenceSettings

Plant = Callable[..., None]
LEAKS = f"{REJECTED}:{LEAK}"


def judged_by(settings: RunSettings, *folders: Path) -> RunSettings:
    reference = ReferenceSettings(sources=tuple(FolderSettings(path=str(folder)) for folder in folders))
    return settings.model_copy(update={"reference": reference})


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two sets of pictures."""
    found = [tmp_path / "lfw", tmp_path / "cfp"]
    for folder in found:
        folder.mkdir()
        (folder / "a.jpg").write_bytes(folder.name.encode())
    return found


def state_of(planned: list[PlannedStage]) -> RunState:
    stages = {
        one.name: StageState(status="done", fingerprint=one.fingerprint, folder=str(one.folder)) for one in planned
    }
    return RunState(name="r", pid=1, started="", source=None, ranks=1, stages=stages)


def decided(settings: RunSettings, plant: Plant, **how: Any) -> dict[str, PlannedStage]:
    """The plan once the decisions are there."""
    planned = {one.name: one for one in plan(settings)}
    plant(planned["curate"], **how)
    return {one.name: one for one in plan(settings)}


def test_other_decisions_are_counted_and_what_runs_again_is_named(
    real_settings: RunSettings, folders: list[Path], plant: Plant
) -> None:
    before = state_of(list(decided(judged_by(real_settings, folders[0]), plant, content="a", **{LEAKS: 3}).values()))
    settings = judged_by(real_settings, *folders)
    now = decided(settings, plant, content="b", **{LEAKS: 1200})
    # As the driver planned it before it ran.
    now["curate"] = dataclasses.replace(now["curate"], is_done=False)
    assert describe_reuse(settings, before, now, "curate") == [
        "the references changed and so did the decisions: 1,200 pictures are now excluded as leaks, 3 before; "
        "shard, train and evaluate.val run again; "
        "name sets that are known beforehand under reference.sources"
    ]


def test_the_first_references_of_a_run_are_a_change(
    real_settings: RunSettings, folders: list[Path], plant: Plant
) -> None:
    before = state_of(list(decided(real_settings, plant, content="a").values()))
    settings = judged_by(real_settings, *folders)
    (line,) = describe_reuse(settings, before, decided(settings, plant, content="b", **{LEAKS: 1}), "curate")
    assert ": 1 picture is now excluded as leaks, 0 before" in line


def test_equal_decisions_are_said_to_be_equal(real_settings: RunSettings, folders: list[Path], plant: Plant) -> None:
    before = state_of(list(decided(judged_by(real_settings, folders[0]), plant, content="a").values()))
    settings = judged_by(real_settings, *folders)
    assert describe_reuse(settings, before, decided(settings, plant, content="a"), "curate") == [
        "the references changed and the decisions did not: what was made of these stays"
    ]


def test_nothing_is_said_of_decisions_that_something_else_changed(
    real_settings: RunSettings, folders: list[Path], plant: Plant
) -> None:
    settings = judged_by(real_settings, *folders)
    before = state_of(list(decided(settings, plant, content="a").values()))
    other = settings.model_copy(update={"seed": 1})
    assert describe_reuse(other, before, decided(other, plant, content="b"), "curate") == []


def test_nothing_is_said_of_a_first_run_or_of_what_is_gone(
    real_settings: RunSettings, folders: list[Path], plant: Plant
) -> None:
    settings = judged_by(real_settings, folders[0])
    first = decided(settings, plant, content="a")
    assert describe_reuse(settings, None, first, "curate") == []
    (Path(str(first["curate"].folder)) / "manifest.json").unlink()
    both = judged_by(real_settings, *folders)
    assert describe_reuse(both, state_of(list(first.values())), decided(both, plant, content="b"), "curate") == []
