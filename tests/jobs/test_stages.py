"""Fingerprints: what changes them, what does not, and what that redoes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.place import PlaceSettings
from jobs.settings import Delivery, RunSettings
from jobs.stages import STAGES, plan, river
from jobs.wording import known_keys, models_of
from pipelines.settings import UserError


def prints(settings: RunSettings) -> dict[str, str]:
    return {planned.name: planned.fingerprint for planned in plan(settings)}


def changed(settings: RunSettings, section: str, **values: Any) -> RunSettings:
    whole = settings.model_dump(mode="json")
    whole[section] = values if "name" in values else {**whole[section], **values}
    return RunSettings.model_validate(whole)


def redone(before: RunSettings, after: RunSettings) -> list[str]:
    old, new = prints(before), prints(after)
    return [name for name in new if new[name] != old[name]]


SECTIONS = {name for name, field in RunSettings.model_fields.items() if models_of(field)} - {"place"}
# Of a run that asks for nothing special.
ALL = ["ingest", "pairs", "curate", "shard", "train", "evaluate", "report"]


@pytest.mark.parametrize(
    ("section", "values", "first"),
    [
        ("pixels", {"max_scans": 99}, "ingest"),
        ("faces", {"detector": "haar"}, "ingest"),
        ("dedup", {"max_distance": 16}, "pairs"),
        ("curate", {"min_images_per_identity": 3}, "curate"),
        ("shard", {"rows_per_group": 7}, "shard"),
        ("feed", {"shuffle_row_groups": 7}, "train"),
        ("model", {"width": 0.5}, "train"),
        ("objective", {"name": "arcface", "margin": 0.3, "scale": 64.0}, "train"),
        ("strategy", {"bucket_mib": 1.0}, "train"),
        ("recipe", {"epochs": 5}, "train"),
        ("evaluate", {"batch_size": 60}, "evaluate"),
    ],
)
def test_a_section_redoes_its_stage_and_what_lies_downstream(
    real_settings: RunSettings, section: str, values: dict[str, Any], first: str
) -> None:
    assert redone(real_settings, changed(real_settings, section, **values)) == ALL[ALL.index(first) :]


def names(settings: RunSettings) -> list[str]:
    return [stage.name for stage in river(settings)]


def test_a_plain_run_has_the_plain_stages(real_settings: RunSettings) -> None:
    assert names(real_settings) == ALL


def test_references_embeddings_and_rounds_add_their_stages(real_settings: RunSettings, tmp_path: Path) -> None:
    model = tmp_path / "face.onnx"
    model.write_bytes(b"1")
    images = real_settings.source.path
    settings = changed(real_settings, "reference", sources=[{"kind": "folder", "path": images}])
    settings = changed(changed(settings, "embed", model=str(model)), "curate", rounds=3)
    first = ["ingest", "reference", "pairs", "embed", "score", "curate", "shard", "train", "evaluate"]
    again = ["export", "embed", "score", "curate", "shard", "train", "evaluate"]
    rounds = [f"{name}-{number}" for number in (2, 3) for name in again]
    assert names(settings) == [*first, *rounds, "report"]


def test_a_later_round_reads_the_nearest_artefact_of_every_role(real_settings: RunSettings) -> None:
    stages = {stage.name: dict(stage.lineage) for stage in river(changed(real_settings, "curate", rounds=3))}
    assert stages["embed-2"] == {"ingest": "ingest", "export": "export-2"}
    assert stages["export-3"] == {"train": "train-2"}
    assert stages["curate-3"] == {"ingest": "ingest", "pairs": "pairs", "score": "score-3"}
    assert stages["evaluate"] == {"shard": "shard", "train": "train"}
    assert stages["report"]["train"] == "train-3"


def test_a_second_round_and_what_it_asks_redo_nothing_of_the_first(real_settings: RunSettings) -> None:
    one = real_settings
    two = changed(one, "curate", rounds=2)
    asked = changed(two, "curate", identities={"min_margin": 0.1})
    assert [name for name, mark in prints(one).items() if prints(two)[name] != mark] == ["report"]
    assert [name for name in redone(two, asked) if name != "report"] == ["curate-2", "shard-2", "train-2", "evaluate-2"]


def test_the_pictures_of_an_evaluation_are_kept_out_unless_that_is_refused(
    real_settings: RunSettings, tmp_path: Path
) -> None:
    (tmp_path / "lfw").mkdir()
    (tmp_path / "lfw" / "a.jpg").write_bytes(b"a")
    lfw = {"pairs": "pairs_txt", "path": str(tmp_path / "lfw")}
    judged = changed(real_settings, "evaluate", sets={"lfw": lfw})
    assert "reference" in names(judged)
    assert names(changed(judged, "reference", with_evaluation=False)) == ALL
    assert redone(
        judged, changed(judged, "reference", sources=[{"kind": "folder", "path": str(tmp_path / "lfw")}])
    ) == [name for name in names(judged) if name != "ingest"]


def test_a_missing_reference_is_named_before_anything_is_planned(real_settings: RunSettings) -> None:
    with pytest.raises(UserError, match=r"^reference\.sources.*nowhere"):
        plan(changed(real_settings, "reference", sources=[{"kind": "tar", "path": "nowhere.tar"}]))


def test_an_earlier_delivery_redoes_what_reads_it_and_spares_the_records(real_settings: RunSettings) -> None:
    earlier = (Delivery(run="before", fingerprints={"ingest": "a" * 16, "pairs": "b" * 16}),)
    assert redone(real_settings, real_settings.model_copy(update={"earlier": earlier})) == ALL[1:]


def test_another_cut_of_the_source_redoes_everything(real_settings: RunSettings) -> None:
    assert redone(real_settings, changed(real_settings, "source", chunk_images=11)) == ALL


def test_every_section_is_read_by_a_stage() -> None:
    assert {name for stage in STAGES for name in (*stage.reads, *stage.checks_only)} == SECTIONS | {"seed"}


def test_what_may_only_stop_a_stage_redoes_nothing(real_settings: RunSettings) -> None:
    assert redone(real_settings, changed(real_settings, "ingest", max_broken_fraction=0.5)) == []


def test_the_seed_spares_the_records_and_the_pairs(real_settings: RunSettings) -> None:
    assert redone(real_settings, real_settings.model_copy(update={"seed": 1})) == ALL[ALL.index("curate") :]


def test_the_place_and_the_names_redo_nothing(real_settings: RunSettings) -> None:
    elsewhere = real_settings.model_copy(
        update={"place": PlaceSettings(hosts="a:8", threads_per_rank=4), "name": "other", "store": Path("elsewhere")}
    )
    assert redone(real_settings, elsewhere) == []


def test_settings_that_only_change_the_time_redo_nothing(real_settings: RunSettings) -> None:
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


def test_what_a_stage_spares_is_a_setting() -> None:
    assert {spared for stage in STAGES for spared in stage.not_in_fingerprint} <= set(known_keys(RunSettings))


def test_a_new_image_redoes_everything(real_settings: RunSettings) -> None:
    before = prints(real_settings)
    Path(real_settings.source.path, "c.jpg").write_bytes(b"c")
    assert not set(before.values()) & set(prints(real_settings).values())


def test_another_model_under_the_same_name_redoes_everything(real_settings: RunSettings, tmp_path: Path) -> None:
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"1")
    settings = changed(real_settings, "faces", model=str(model))
    before = prints(settings)
    model.write_bytes(b"22")
    assert not set(before.values()) & set(prints(settings).values())


def test_a_missing_model_is_named_before_anything_is_planned(real_settings: RunSettings) -> None:
    with pytest.raises(UserError, match=r"^faces\.model=nowhere\.onnx does not exist"):
        plan(changed(real_settings, "faces", model="nowhere.onnx"))


def test_other_pairs_redo_the_evaluation(real_settings: RunSettings, tmp_path: Path) -> None:
    pairs = tmp_path / "lfw.bin"
    pairs.write_bytes(b"1")
    settings = changed(real_settings, "evaluate", sets={"lfw": {"pairs": "bin", "path": str(pairs)}})
    settings = changed(settings, "reference", with_evaluation=False)
    before = prints(settings)
    pairs.write_bytes(b"22")
    after = prints(settings)
    assert [name for name in after if after[name] != before[name]] == ["evaluate", "report"]


def test_artefacts_lie_in_the_store_under_kind_and_fingerprint(real_settings: RunSettings) -> None:
    planned = plan(real_settings)
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


def finish_all(settings: RunSettings) -> dict[str, str]:
    for one in plan(settings):
        one.folder.mkdir(parents=True, exist_ok=True)
        (one.folder / ("report.html" if one.stage.kind is None else "manifest.json")).touch()
    return prints(settings)


def test_a_folder_with_a_manifest_is_done(real_settings: RunSettings) -> None:
    assert not any(one.is_done for one in plan(real_settings))
    finished = finish_all(real_settings)
    assert all(one.is_done for one in plan(real_settings, finished=finished))


def test_a_report_of_other_work_is_not_this_report(real_settings: RunSettings) -> None:
    finish_all(real_settings)
    assert [one.name for one in plan(real_settings, finished={"report": "of another"}) if not one.is_done] == ["report"]


def test_a_report_is_redone_when_an_artefact_is_missing(real_settings: RunSettings) -> None:
    finished = finish_all(real_settings)
    (plan(real_settings)[ALL.index("train")].folder / "manifest.json").unlink()
    due = [one.name for one in plan(real_settings, finished=finished) if not one.is_done]
    assert due == ["train", "report"]


def test_a_report_is_redone_when_its_file_is_missing(real_settings: RunSettings) -> None:
    finished = finish_all(real_settings)
    (real_settings.folder / "report.html").unlink()
    assert [one.name for one in plan(real_settings, finished=finished) if not one.is_done] == ["report"]


def test_a_stage_that_was_given_a_new_version_is_redone_with_what_lies_downstream(real_settings: RunSettings) -> None:
    newer = [replace(stage, version=stage.version + (stage.name == "shard")) for stage in STAGES]
    before = prints(real_settings)
    changed_names = [one.name for one in plan(real_settings, newer) if one.fingerprint != before[one.name]]
    assert changed_names == ALL[ALL.index("shard") :]
