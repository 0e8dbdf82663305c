"""What a run adds to: found by name, complete, and measured alike, or refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.deliveries import with_deliveries
from jobs.planning import PlannedStage, plan
from jobs.settings import RunSettings, freeze, load
from pipelines.settings import UserError

Change = Callable[..., RunSettings]

Finish = Callable[[RunSettings], RunSettings]


@pytest.fixture
def finish(plan_through: Callable[..., list[PlannedStage]], plant: Callable[..., None]) -> Finish:
    """Freezes a run as the driver does, and lets its artefacts appear."""

    def frozen(settings: RunSettings) -> RunSettings:
        settings = with_deliveries(settings)
        planned = plan_through(settings)
        for one in planned:
            plant(one, content=str(one.fingerprint))
        settings = settings.model_copy(update={"fingerprints": {one.name: one.fingerprint for one in planned}})
        freeze(settings, settings.folder / "run.yaml")
        return settings

    return frozen


def more(settings: RunSettings, name: str, extends: str) -> RunSettings:
    return settings.model_copy(update={"name": name, "extends": extends, "fingerprints": {}})


def test_a_run_that_extends_nothing_has_nothing_earlier(real_settings: RunSettings) -> None:
    assert with_deliveries(real_settings) is real_settings


def test_deliveries_come_oldest_first(real_settings: RunSettings, finish: Finish) -> None:
    first = finish(real_settings)
    second = finish(more(real_settings, "second", "r"))
    third = with_deliveries(more(real_settings, "third", "second"))
    assert [delivery.run for delivery in third.earlier] == ["r", "second"]
    assert [delivery.fingerprints["pairs"] for delivery in third.earlier] == [
        first.fingerprints["pairs"],
        second.fingerprints["pairs"],
    ]
    assert first.fingerprints["pairs"] != second.fingerprints["pairs"]
    assert first.fingerprints["ingest"] == second.fingerprints["ingest"]


def test_what_is_extended_survives_the_run_yaml(real_settings: RunSettings, finish: Finish) -> None:
    finish(real_settings)
    second = finish(more(real_settings, "second", "r"))
    assert load(second.folder / "run.yaml").earlier == second.earlier


def test_a_run_that_is_not_there_is_named(real_settings: RunSettings) -> None:
    with pytest.raises(UserError, match=r"^extends=gone: .*run\.yaml does not exist; name a run"):
        with_deliveries(more(real_settings, "second", "gone"))


def test_a_run_cannot_extend_itself(real_settings: RunSettings) -> None:
    with pytest.raises(UserError, match=r"^extends=r is this run itself"):
        with_deliveries(more(real_settings, "r", "r"))


@pytest.mark.parametrize(
    ("section", "key", "ours", "theirs"),
    [("pixels", "max_scans", 99, 100), ("faces", "min_side_px", 33, 32), ("dedup", "max_distance", 16, 31)],
)
def test_what_measured_otherwise_is_not_put_together(
    real_settings: RunSettings, finish: Finish, change: Change, section: str, key: str, ours: int, theirs: int
) -> None:
    finish(real_settings)
    other = change(more(real_settings, "second", "r"), **{section: {key: ours}})
    with pytest.raises(
        UserError, match=rf"^{section}\.{key}={ours} here and {theirs} in the run r .*set {section}\.{key}={theirs}"
    ):
        with_deliveries(other)


def test_what_changes_no_record_and_no_pair_may_differ(
    real_settings: RunSettings, finish: Finish, change: Change
) -> None:
    finish(real_settings)
    other = change(more(real_settings, "second", "r"), dedup={"max_residual": 0.2})
    assert [delivery.run for delivery in with_deliveries(other).earlier] == ["r"]


def test_a_run_without_its_records_cannot_be_extended(real_settings: RunSettings, finish: Finish) -> None:
    first = finish(real_settings)
    Path(plan(first)[0].folder, "manifest.json").unlink()
    with pytest.raises(UserError, match=r"^extends=r: its stage ingest has no finished artefact"):
        with_deliveries(more(real_settings, "second", "r"))
