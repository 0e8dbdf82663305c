"""The forecast takes measured rates where there are any."""

import os
from pathlib import Path

import pytest

from jobs.cost import DEFAULT_RATES, START_SECONDS, forecast, measured_rates
from jobs.settings import RunSettings
from jobs.stages import STAGES, plan
from jobs.state import RunRecord, RunState, StageState
from pipelines.sources import SourceListing


def record(runs: Path, name: str, *, images: int, **seconds: float) -> None:
    (runs / name).mkdir(parents=True)
    stages = {
        stage: StageState(status="done", fingerprint="", folder="", seconds=taken, passes=10 if stage == "train" else 1)
        for stage, taken in seconds.items()
    }
    source = SourceListing(num_files=images, num_bytes=1, digest="")
    RunRecord(runs / name / "run.json", RunState(name=name, pid=1, started="", source=source, ranks=1, stages=stages))


def test_rates_are_images_of_all_passes_per_second(tmp_path: Path) -> None:
    record(tmp_path, "a", images=100, ingest=2.0, train=50.0)
    assert measured_rates(tmp_path) == {"ingest": 50.0, "train": 20.0}


def test_the_newest_run_wins_and_a_broken_one_is_no_hindrance(tmp_path: Path) -> None:
    record(tmp_path, "z", images=100, ingest=2.0)
    record(tmp_path, "a", images=100, ingest=4.0)
    os.utime(tmp_path / "z" / "run.json", (1, 1))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert measured_rates(tmp_path) == {"ingest": 25.0}


def test_a_stage_costs_its_passes_over_the_images(real_settings: RunSettings) -> None:
    record(real_settings.runs, "before", images=1000, train=100.0)
    expected = forecast(real_settings, plan(real_settings))
    assert expected["train"].seconds == pytest.approx(2 * 4 / 100.0)
    assert expected["train"].is_measured
    assert expected["ingest"].seconds == pytest.approx(START_SECONDS + 2 / DEFAULT_RATES["ingest"])
    assert not expected["ingest"].is_measured
    assert expected["ingest"].num_bytes == 150


def test_every_stage_has_a_default_rate() -> None:
    assert DEFAULT_RATES.keys() == {stage.name for stage in STAGES}
