"""Run folders are written by hand."""

from pipelines.run_folder import RunFolder, RunState, StageState
from training.report.artefact import open_artefact
from training.report.lineage import origins, read_run


def test_a_folder_without_a_run_has_a_name_and_no_stages(tmp_path):
    run = read_run(tmp_path)
    assert (run.name, run.stages, run.settings, run.seconds) == (tmp_path.name, [], "", 0)


def test_stages_come_as_the_driver_wrote_them(trained):
    run = read_run(trained.folder)
    (stage,) = run.stages
    assert (run.name, stage.name, stage.state, stage.retries, run.seconds) == ("planted", "ingest", "done", 1, 61.0)


def test_a_stage_that_has_only_begun_has_no_time_yet(tmp_path):
    stage = StageState(status="running", fingerprint="f", folder="x", attempts=1)
    state = RunState(name="n", pid=1, started="", source=None, ranks=1, stages={"train": stage})
    RunFolder(tmp_path).record.write_text(state.model_dump_json())
    (stage,) = read_run(tmp_path).stages
    assert (stage.seconds, stage.retries, stage.summary) == (0.0, 0, "")


def test_each_artefact_names_its_parents_and_size(built):
    opened = open_artefact(built.artefacts["dataset"])
    (origin,) = origins({"shard": opened})
    assert (origin.stage, origin.kind) == ("shard", "dataset")
    assert origin.parents == {"decisions": "d3c1"}
    assert origin.num_bytes == sum(path.stat().st_size for path in opened.folder.rglob("*.parquet"))
