"""The forecast takes measured rates where there are any."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.cost import COSTS, START_SECONDS, forecast, measured_costs, passes
from jobs.planning import hypothetical, plan
from jobs.settings import RunSettings
from jobs.stages import STAGES
from pipelines.run_folder import RunState, StageState
from pipelines.sources.listing import SourceListing
from pipelines.sources.settings import FolderSettings

Change = Callable[..., RunSettings]


def record(runs: Path, name: str, *, images: int, image_bytes: int = 75, **seconds: float) -> None:
    (runs / name).mkdir(parents=True)
    stages = {
        stage: StageState(
            status="done", fingerprint="", folder="", seconds=taken, workers=4, passes=10 if stage == "train" else 1
        )
        for stage, taken in seconds.items()
    }
    source = SourceListing(num_files=images, num_bytes=images * image_bytes, digest="")
    state = RunState(name=name, pid=1, started="", source=source, ranks=1, stages=stages)
    (runs / name / "run.json").write_text(state.model_dump_json())


def test_a_cost_is_what_all_cores_took_for_one_image_and_pass(tmp_path: Path) -> None:
    record(tmp_path, "a", images=100, ingest=2.0, train=50.0)
    assert measured_costs(tmp_path, 75) == {"ingest": 2.0 * 4 / 100, "train": 50.0 * 4 / 1000}


def test_pictures_of_another_size_tell_nothing(tmp_path: Path) -> None:
    record(tmp_path, "small", images=100, image_bytes=5_000, ingest=2.0)
    assert measured_costs(tmp_path, 9_000)
    assert not measured_costs(tmp_path, 100_000)


def test_the_newest_run_wins_and_a_broken_one_is_no_hindrance(tmp_path: Path) -> None:
    record(tmp_path, "z", images=100, ingest=2.0)
    record(tmp_path, "a", images=100, ingest=4.0)
    os.utime(tmp_path / "z" / "run.json", (1, 1))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert measured_costs(tmp_path, 75) == {"ingest": 4.0 * 4 / 100}


def test_a_stage_costs_its_passes_over_the_images_shared_by_its_workers(real_settings: RunSettings) -> None:
    record(real_settings.runs, "before", images=1000, train=100.0)
    expected = forecast(real_settings, plan(real_settings), image_px=500)
    assert expected["train"].seconds == pytest.approx(2 * 4 * (100.0 * 4 / 10_000) / real_settings.place.num_ranks)
    assert expected["train"].is_measured
    alone = COSTS["ingest"].per_image + COSTS["ingest"].per_megapixel * 0.25
    assert expected["ingest"].seconds == pytest.approx(START_SECONDS + 2 * alone / real_settings.place.num_cores)
    assert not expected["ingest"].is_measured
    assert expected["ingest"].num_bytes > 150


def test_a_feed_of_two_streams_shows_three_pictures_for_each(real_settings: RunSettings, change: Change) -> None:
    pool = change(real_settings, objective={"name": "class_pool", "margin": 0.4, "scale": 32.0})
    assert passes(real_settings, "train") == 4
    assert passes(pool, "train") == 12
    assert passes(pool, "evaluate") == 1


def test_a_billion_pictures_that_are_not_here_are_planned_by_the_cores_of_the_place(real_settings: RunSettings) -> None:
    listing = SourceListing(10**9, 10**14, digest="", is_exact=False)
    source = FolderSettings(path=real_settings.source.path)
    real_settings = real_settings.model_copy(update={"source": source})
    few, many = (
        forecast(
            real_settings.model_copy(update={"place": real_settings.place.model_copy(update={"cores": cores})}),
            plan(real_settings, hypothetical(listing)),
            image_px=640,
        )["ingest"]
        for cores in (10, 1000)
    )
    assert few.seconds - START_SECONDS == pytest.approx(100 * (many.seconds - START_SECONDS))
    # 512 MiB a task: far fewer tasks than pictures, and none that could not be repeated.
    assert 10**14 // 2**29 < many.tasks < 10**14 // 2**28


def test_every_stage_has_a_stated_cost() -> None:
    assert COSTS.keys() == {stage.verb for stage in STAGES}


def test_a_drawn_set_counts_its_pairs_and_no_more_pictures_than_there_are(
    real_settings: RunSettings, change: Callable[..., RunSettings]
) -> None:
    def images(num_pairs: int, num_files: int) -> int:
        settings = change(real_settings, evaluate={"sets": {"drawn": {"num_pairs": num_pairs}}})
        listing = SourceListing(num_files, 10**6, digest="", is_exact=False)
        return forecast(settings, plan(settings, hypothetical(listing)))["evaluate.drawn"].images

    assert (images(70, 1000), images(70, 100)) == (140, 100)
