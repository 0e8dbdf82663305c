"""run.json is whole after every change."""

from pathlib import Path

from jobs.listeners.events import AttemptEnded, Note, RunEnded, RunStarted, StageEnded, StageProgress, StageStarted
from jobs.listeners.record import Record
from pipelines.run_folder import RunFolder, RunState, StageState


def test_every_change_is_on_disk_at_once(tmp_path: Path) -> None:
    stages = {"ingest": StageState(fingerprint="ab", folder="store/records/ab")}
    first = RunState(name="x", pid=1, started="now", source=None, ranks=2, stages=stages)
    record = Record(tmp_path / "run.json")
    record(Note("before it starts"))
    assert RunFolder(tmp_path).read_state() is None
    record(RunStarted(first))
    assert RunFolder(tmp_path).read_state() == first
    record(StageStarted("ingest", 1, "noon"))
    record(AttemptEnded("ingest", 1, 1, 1.5, None))
    record(StageEnded("ingest", "done", counts={"rows": 3}))
    state = RunFolder(tmp_path).read_state()
    assert state is not None
    assert (state.stages["ingest"].status, state.stages["ingest"].seconds) == ("done", 1.5)
    assert state.stages["ingest"].counts == {"rows": 3}
    record(RunEnded("done", "late"))
    state = RunFolder(tmp_path).read_state()
    assert state is not None
    assert (state.status, state.ended) == ("done", "late")


def test_progress_writes_nothing(tmp_path: Path) -> None:
    record = Record(tmp_path / "run.json")
    record(RunStarted(RunState(name="x", pid=1, started="", source=None, ranks=1, stages={})))
    (tmp_path / "run.json").unlink()
    record(StageProgress("ingest", 1.0, None))
    assert not (tmp_path / "run.json").exists()
