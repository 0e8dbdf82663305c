"""What a run has become is followed event by event."""

from jobs.faults.fault import Fault
from jobs.listeners.events import (
    AttemptEnded,
    Note,
    RunEnded,
    RunStarted,
    StageEnded,
    StageProgress,
    StagesPlanned,
    StageStarted,
    advance,
)
from pipelines.run_folder import RunState, StageState


def state() -> RunState:
    stages = {name: StageState(fingerprint=name, folder="", summary="before") for name in ("ingest", "train")}
    return RunState(name="x", pid=1, started="early", source=None, ranks=2, stages=stages)


def test_before_the_run_has_started_there_is_no_state() -> None:
    assert advance(None, Note("waiting for another driver")) is None
    assert advance(None, RunStarted(state())) == state()


def test_a_stage_goes_through_its_attempts() -> None:
    now = state()
    for event in (
        StageStarted("train", 1, "noon"),
        StageProgress("train", 1.0, None),
        AttemptEnded("train", 1, 2, 3.5, Fault(False, "broke")),
        StageStarted("train", 2, "one"),
        AttemptEnded("train", 2, 2, 4.5, None),
        StageEnded("train", "done", summary="accuracy 0.9", counts={"rows": 3}),
    ):
        now = advance(now, event)
    stage = now.stages["train"]
    assert (stage.status, stage.attempts, stage.started, stage.seconds) == ("done", 2, "one", 4.5)
    assert (stage.summary, stage.counts) == ("accuracy 0.9", {"rows": 3})
    assert now.stages["ingest"] == state().stages["ingest"]


def test_a_stage_that_ends_without_an_outcome_keeps_what_was_known_of_it() -> None:
    stage = advance(state(), StageEnded("ingest", "cached")).stages["ingest"]
    assert (stage.status, stage.summary, stage.counts) == ("cached", "before", {})
    assert advance(state(), StageEnded("ingest", "done", summary="")).stages["ingest"].summary == ""


def test_stages_are_replaced_by_what_has_become_known_of_them() -> None:
    known = StageState(fingerprint="f00d", folder="store/model/f00d")
    now = advance(state(), StagesPlanned({"train": known}))
    assert list(now.stages) == ["ingest", "train"]
    assert now.stages["train"] == known


def test_the_end_of_the_run_is_kept() -> None:
    now = advance(state(), RunEnded("failed", "late"))
    assert (now.status, now.ended) == ("failed", "late")
