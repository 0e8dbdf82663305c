"""The record of a run is whole on disk after every change."""

from pathlib import Path

from jobs.state import RunRecord, now
from pipelines.run_folder import RunFolder, RunState, StageState


def record_in(folder: Path) -> RunRecord:
    stages = {name: StageState(fingerprint=None, folder=None) for name in ("ingest", "shard")}
    return RunRecord(folder / "run.json", RunState(name="x", pid=1, started=now(), source=None, ranks=2, stages=stages))


def test_every_change_is_on_disk_at_once(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    changed = record.update("ingest", status="done", seconds=1.5, counts={"rows": 3})
    assert RunFolder(tmp_path).read_state() == record.state
    assert record.state.stages["ingest"] == changed
    record.end("done")
    again = RunFolder(tmp_path).read_state()
    assert again is not None
    assert again.ended is not None
    assert again.stages["ingest"].counts == {"rows": 3}


def test_a_stage_that_became_known_takes_the_place_of_the_unknown_one(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    known = StageState(fingerprint="ab", folder="store/dataset/ab")
    record.replace({"shard": known})
    again = RunFolder(tmp_path).read_state()
    assert again is not None
    assert list(again.stages) == ["ingest", "shard"]
    assert again.stages["shard"] == known
