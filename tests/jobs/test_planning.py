"""Fingerprints: what changes them, what does not, what that redoes, and when they are known."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.places.settings import LocalSettings
from jobs.planning import PlannedStage, parents_of, plan
from jobs.settings import Delivery, RunSettings
from jobs.stages import STAGES, Stage
from pipelines.manifest import Parent, content_digest
from pipelines.settings import UserError
from pipelines.sources.listing import SourceListing

Prints = Callable[[RunSettings], dict[str, str]]
Redone = Callable[[RunSettings, RunSettings], list[str]]
PlanThrough = Callable[..., list[PlannedStage]]
Plant = Callable[..., None]
Finish = Callable[[RunSettings], dict[str, str]]


def changed(settings: RunSettings, section: str, **values: Any) -> RunSettings:
    whole = settings.model_dump(mode="json")
    whole[section] = values if "name" in values else {**whole[section], **values}
    return type(settings).model_validate(whole)


@pytest.fixture
def prints(plan_through: PlanThrough) -> Prints:
    """The fingerprints of a run in which everything that is decided on changes the decisions."""
    return lambda settings: {one.name: str(one.fingerprint) for one in plan_through(settings)}


@pytest.fixture
def redone(prints: Prints) -> Redone:
    def names(before: RunSettings, after: RunSettings) -> list[str]:
        old, new = prints(before), prints(after)
        return [name for name in new if new[name] != old[name]]

    return names


@pytest.fixture
def finish(plan_through: PlanThrough, plant: Plant) -> Finish:
    """Lets every artefact of a run appear; what its record says afterwards."""

    def everything(settings: RunSettings) -> dict[str, str]:
        planned = plan_through(settings)
        for one in planned:
            plant(one, content=str(one.fingerprint))
        return {one.name: str(one.fingerprint) for one in planned}

    return everything


# Of a run that asks for nothing special.
ALL = ["ingest", "pairs", "curate", "shard", "train", "evaluate.val", "report"]


@pytest.mark.parametrize(
    ("section", "values", "first"),
    [
        ("pixels", {"max_scans": 99}, "ingest"),
        ("faces", {"detector": "haar"}, "ingest"),
        ("dedup", {"max_distance": 16}, "pairs"),
        ("dedup", {"max_residual": 0.2}, "curate"),
        ("curate", {"min_images_per_identity": 3}, "curate"),
        ("shard", {"rows_per_group": 7}, "shard"),
        ("feed", {"shuffle_row_groups": 7}, "train"),
        ("model", {"width": 0.5}, "train"),
        ("objective", {"name": "arcface", "margin": 0.3, "scale": 64.0}, "train"),
        ("strategy", {"bucket_mib": 1.0}, "train"),
        ("recipe", {"epochs": 5}, "train"),
        ("evaluate", {"batch_size": 60}, "evaluate.val"),
    ],
)
def test_a_section_redoes_its_stage_and_what_lies_downstream(
    real_settings: RunSettings, section: str, values: dict[str, Any], first: str, redone: Redone
) -> None:
    assert redone(real_settings, changed(real_settings, section, **values)) == ALL[ALL.index(first) :]


def test_a_second_round_and_what_it_asks_redo_nothing_of_the_first(
    real_settings: RunSettings, prints: Prints, redone: Redone
) -> None:
    one = real_settings
    two = changed(one, "curate", rounds=2)
    asked = changed(two, "curate", identities={"min_margin": 0.1})
    assert [name for name, mark in prints(one).items() if prints(two)[name] != mark] == ["report"]
    assert [name for name in redone(two, asked) if name != "report"] == [
        "curate-2",
        "shard-2",
        "train-2",
        "evaluate.val-2",
    ]


def test_the_pictures_of_an_evaluation_are_kept_out_unless_that_is_refused(
    real_settings: RunSettings, tmp_path: Path, prints: Prints, redone: Redone
) -> None:
    (tmp_path / "lfw").mkdir()
    (tmp_path / "lfw" / "a.jpg").write_bytes(b"a")
    lfw = {"pairs": "pairs_txt", "path": str(tmp_path / "lfw")}
    judged = changed(real_settings, "evaluate", sets={"lfw": lfw, "val": {}})
    assert "reference" in prints(judged)
    assert "reference" not in prints(changed(judged, "reference", with_evaluation=False))
    assert redone(
        judged, changed(judged, "reference", sources=[{"kind": "folder", "path": str(tmp_path / "lfw")}])
    ) == [name for name in prints(judged) if name != "ingest"]


def test_a_missing_reference_is_named_before_anything_is_planned(real_settings: RunSettings) -> None:
    with pytest.raises(UserError, match=r"^reference\.sources.*nowhere"):
        plan(changed(real_settings, "reference", sources=[{"kind": "tar", "path": "nowhere.tar"}]))


def test_an_earlier_delivery_redoes_what_reads_it_and_spares_the_records(
    real_settings: RunSettings, redone: Redone
) -> None:
    earlier = (Delivery(run="before", fingerprints={"records": "a" * 16, "pairs": "b" * 16}),)
    assert redone(real_settings, real_settings.model_copy(update={"earlier": earlier})) == ALL[1:]


def test_another_cut_of_the_source_redoes_everything(real_settings: RunSettings, redone: Redone) -> None:
    assert redone(real_settings, changed(real_settings, "source", chunk_images=11)) == ALL


def test_what_may_only_stop_a_stage_redoes_nothing(real_settings: RunSettings, redone: Redone) -> None:
    assert redone(real_settings, changed(real_settings, "ingest", max_broken_fraction=0.5)) == []


def test_the_seed_spares_the_records_and_the_pairs(real_settings: RunSettings, redone: Redone) -> None:
    assert redone(real_settings, real_settings.model_copy(update={"seed": 1})) == ALL[ALL.index("curate") :]


def test_the_place_and_the_names_redo_nothing(real_settings: RunSettings, tmp_path: Path, redone: Redone) -> None:
    elsewhere = real_settings.model_copy(
        update={
            "place": LocalSettings(hosts="a:8", threads_per_rank=4),
            "name": "other",
            "store": tmp_path / "elsewhere",
        }
    )
    assert redone(real_settings, elsewhere) == []


def test_settings_that_only_change_the_time_redo_nothing(real_settings: RunSettings, redone: Redone) -> None:
    for change in (
        {"threads": 8},
        {"location": "s3://faces/set", "remote": {"tries": 9}, "max_stall_seconds": 9.0},
        {"keep": "encoded", "keep_bytes": 2**40, "cache_dir": "/cache", "cache_bytes": 2**40},
    ):
        assert redone(real_settings, changed(real_settings, "feed", **change)) == []
    sharded = changed(real_settings, "objective", name="cosface", centres={"kind": "sharded"})
    assert redone(sharded, changed(sharded, "objective", centres={"kind": "sharded", "bank": "host"})) == []
    pool = changed(real_settings, "objective", name="class_pool")
    assert redone(pool, changed(pool, "objective", pool={"check_every_steps": 5})) == []
    assert redone(pool, changed(pool, "objective", pool={"slots": 11}))[0] == "train"


def test_a_new_image_redoes_everything(real_settings: RunSettings, prints: Prints) -> None:
    before = prints(real_settings)
    Path(real_settings.source.path, "c.jpg").write_bytes(b"c")
    assert not set(before.values()) & set(prints(real_settings).values())


def test_another_model_under_the_same_name_redoes_everything(
    real_settings: RunSettings, tmp_path: Path, prints: Prints
) -> None:
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"1")
    settings = changed(real_settings, "faces", model=str(model))
    before = prints(settings)
    model.write_bytes(b"22")
    assert not set(before.values()) & set(prints(settings).values())


def test_a_missing_model_is_named_before_anything_is_planned(real_settings: RunSettings) -> None:
    with pytest.raises(UserError, match=r"^faces\.model=nowhere\.onnx does not exist"):
        plan(changed(real_settings, "faces", model="nowhere.onnx"))


def test_other_pairs_redo_the_evaluation(real_settings: RunSettings, tmp_path: Path, prints: Prints) -> None:
    pairs = tmp_path / "lfw.bin"
    pairs.write_bytes(b"1")
    settings = changed(real_settings, "evaluate", sets={"lfw": {"pairs": "bin", "path": str(pairs)}, "val": {}})
    settings = changed(settings, "reference", with_evaluation=False)
    before = prints(settings)
    pairs.write_bytes(b"22")
    after = prints(settings)
    assert [name for name in after if after[name] != before[name]] == ["evaluate.lfw", "report"]


def test_artefacts_lie_in_the_store_under_kind_and_fingerprint(
    real_settings: RunSettings, plan_through: PlanThrough
) -> None:
    planned = plan_through(real_settings)
    assert [one.folder.parent.name for one in planned[:-1]] == [
        "records",
        "pairs",
        "decisions",
        "dataset",
        "model",
        "evaluation",
    ]
    assert all(
        one.folder.name == one.fingerprint and one.folder.parents[1] == real_settings.store for one in planned[:-1]
    )
    assert planned[-1].folder == real_settings.folder


def test_the_listing_of_the_source_comes_with_the_plan(real_settings: RunSettings) -> None:
    listing = plan(real_settings)[0].listing
    assert listing is not None
    assert (listing.num_files, listing.num_bytes) == (2, 150)


def test_a_folder_with_a_manifest_is_done(real_settings: RunSettings, finish: Finish) -> None:
    assert not any(one.is_done for one in plan(real_settings))
    finished = finish(real_settings)
    assert all(one.is_done for one in plan(real_settings, finished=finished))


def test_a_report_of_other_work_is_not_this_report(real_settings: RunSettings, finish: Finish) -> None:
    finish(real_settings)
    assert [one.name for one in plan(real_settings, finished={"report": "of another"}) if not one.is_done] == ["report"]


def test_a_missing_page_is_written_again(real_settings: RunSettings, finish: Finish) -> None:
    finished = finish(real_settings)
    (real_settings.folder / "report.html").unlink()
    assert [one.name for one in plan(real_settings, finished=finished) if not one.is_done] == ["report"]


def test_a_report_is_redone_when_an_artefact_is_missing(real_settings: RunSettings, finish: Finish) -> None:
    finished = finish(real_settings)
    forget(plan(real_settings)[ALL.index("train")])
    due = [one.name for one in plan(real_settings, finished=finished) if not one.is_done]
    assert due == ["train", "report"]


def forget(planned: PlannedStage) -> None:
    """Let an artefact disappear."""
    assert planned.folder is not None
    (planned.folder / "manifest.json").unlink()


def test_what_follows_the_decisions_is_not_known_before_they_are_made(real_settings: RunSettings) -> None:
    planned = plan(real_settings)
    unknown = [one.name for one in planned if one.fingerprint is None]
    assert unknown == ["shard", "train", "evaluate.val", "report"]
    assert not any(one.is_done for one in planned)
    assert all(one.folder is None for one in planned[ALL.index("shard") : -1])


def test_equal_decisions_give_equal_datasets_whatever_they_were_made_of(
    real_settings: RunSettings, plan_through: PlanThrough
) -> None:
    def marks(settings: RunSettings) -> dict[str, str | None]:
        planned = plan_through(settings, content=lambda fingerprint: "the same decisions")
        return {one.name: one.fingerprint for one in planned}

    before = marks(real_settings)
    after = marks(changed(real_settings, "curate", min_images_per_identity=9))
    assert [name for name in after if after[name] != before[name]] == ["curate", "report"]


def test_decisions_that_are_gone_leave_open_what_follows_them(real_settings: RunSettings, finish: Finish) -> None:
    finished = finish(real_settings)
    forget(plan(real_settings)[ALL.index("curate")])
    again = plan(real_settings, finished=finished)
    assert [one.name for one in again if one.is_done] == ["ingest", "pairs"]
    assert [one.name for one in again if one.fingerprint is None] == ["shard", "train", "evaluate.val", "report"]


def test_the_second_round_is_known_once_that_of_the_first_is_over(real_settings: RunSettings, plant: Plant) -> None:
    settings = changed(real_settings, "curate", rounds=2)
    plant(next(one for one in plan(settings) if one.name == "curate"), content="first")
    unknown = [one.name for one in plan(settings) if one.fingerprint is None]
    assert unknown == ["shard-2", "train-2", "evaluate.val-2", "report"]


def test_a_plan_that_is_made_again_lists_nothing_again(real_settings: RunSettings) -> None:
    listings: dict[str, SourceListing | None] = {}
    before = plan(real_settings, listings=listings)
    shutil.rmtree(real_settings.source.path)
    assert plan(real_settings, listings=listings) == before


def test_an_instance_is_fingerprinted_by_its_own_settings_and_not_by_its_name(real_settings: RunSettings) -> None:
    folds = {"lfw": 10, "cfp": 7, "twin": 10}
    judge = Stage("judge", "evaluation", (), ("sets.{instance}",), "ranks", "judge", instances=lambda _: list(folds))

    def marks(**others: int) -> dict[str, str | None]:
        settings = SeveralSets(**dict(real_settings), sets={**folds, **others})
        return {one.stage.instance: one.fingerprint for one in plan(settings, (judge,))}

    before, after = marks(), marks(cfp=8)
    assert [name for name in folds if before[name] != after[name]] == ["cfp"]
    assert before["lfw"] == before["twin"] != before["cfp"]


class SeveralSets(RunSettings):
    """A run that is judged on several sets, each with its number of folds."""

    sets: dict[str, int]


def test_a_manifest_names_what_was_read_and_the_content_where_that_alone_counts(
    real_settings: RunSettings, plan_through: PlanThrough
) -> None:
    earlier = (Delivery(run="before", fingerprints={"records": "a" * 16, "pairs": "b" * 16}),)
    settings = real_settings.model_copy(update={"earlier": earlier})
    planned = {one.name: one for one in plan_through(settings)}
    prints = {name: str(one.fingerprint) for name, one in planned.items()}
    settings = settings.model_copy(update={"fingerprints": prints})
    stages = {name: one.stage for name, one in planned.items()}
    content = content_digest(planned["curate"].manifest(), "rows")
    assert parents_of(settings, stages, stages["shard"]) == {
        "records": Parent(kind="records", fingerprint=prints["ingest"]),
        "decisions": Parent(kind="decisions", fingerprint=prints["curate"], content=content),
        "records of delivery 1": Parent(kind="records", fingerprint="a" * 16),
    }


def test_a_stage_of_a_new_version_is_redone_with_what_lies_downstream(
    real_settings: RunSettings, finish: Finish
) -> None:
    finish(real_settings)
    newer = [replace(stage, version=stage.version + (stage.verb == "shard")) for stage in STAGES]
    due = [one.name for one in plan(real_settings, newer) if not one.is_done]
    assert due == ALL[ALL.index("shard") :]


def test_a_further_set_is_judged_alone_and_one_that_changes_redoes_its_own_evaluation(
    real_settings: RunSettings, plan_through: PlanThrough
) -> None:
    def marks(**sets: dict[str, Any]) -> dict[str, str | None]:
        settings = changed(real_settings, "evaluate", sets=sets)
        planned = plan_through(settings, content=lambda fingerprint: "the same decisions")
        return {one.name: one.fingerprint for one in planned if one.stage.makes is not None}

    one = marks(val={"num_pairs": 60})
    two = marks(val={"num_pairs": 60}, other={"num_pairs": 80})
    assert two == {**one, "evaluate.other": two["evaluate.other"]}
    changed_one = marks(val={"num_pairs": 60}, other={"num_pairs": 90})
    assert [name for name in two if two[name] != changed_one[name]] == ["evaluate.other"]


def _damage(planned: PlannedStage) -> None:
    assert planned.folder is not None
    (planned.folder / "rows" / "0.parquet").write_text("altered")


def test_a_planned_artefact_is_verified_if_it_is_there(
    real_settings: RunSettings, plan_through: PlanThrough, plant: Plant
) -> None:
    planned = plan_through(real_settings)
    for one in planned[:-1]:
        one.verify(real_settings)  # made are only the decisions, whose content the others follow
        if one.name != "curate":
            plant(one, content=one.name)
    for one in plan(real_settings)[:-1]:
        one.verify(real_settings)
        _damage(one)
        with pytest.raises(UserError, match=rf"{one.folder}/rows/0\.parquet is missing or was altered"):
            one.verify(real_settings)


def test_a_dataset_that_is_read_from_elsewhere_may_be_gone_from_the_store(
    real_settings: RunSettings, plan_through: PlanThrough, plant: Plant
) -> None:
    planned = {one.name: one for one in plan_through(real_settings)}
    elsewhere = changed(real_settings, "feed", location="s3://faces/copy")
    for name in ("ingest", "shard"):
        plant(planned[name], content=name)
        _damage(planned[name])
    found = {one.name: one for one in plan(elsewhere)}
    found["shard"].verify(elsewhere)
    with pytest.raises(UserError, match="is missing or was altered"):
        found["ingest"].verify(elsewhere)
