"""Run folders are written by hand."""

import json

import pytest

from jobs.report.contents import Made, read_contents, read_metrics, read_run
from pipelines.run_folder import RunFolder
from pipelines.settings import UserError


def test_a_folder_without_a_run_has_a_name_and_no_stages(tmp_path):
    run = read_run(RunFolder(tmp_path))
    assert (run.name, run.stages, run.settings, run.seconds) == (tmp_path.name, {}, "", 0)


def test_stages_come_as_the_driver_wrote_them(trained):
    run = read_run(RunFolder(trained.folder))
    assert (run.name, run.seconds, run.settings) == ("planted", 61.0, "recipe:\n  lr: 0.1\n")
    assert [(name, stage.status, stage.attempts) for name, stage in run.stages.items()] == [("ingest", "done", 2)]


def test_a_damaged_record_is_the_users_to_remove(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is no record of a run"):
        read_run(RunFolder(tmp_path))


def test_the_newest_artefact_of_a_kind_is_that_of_the_last_stage_that_makes_it(trained, tmp_path, evaluate):
    again = Made("evaluate-2", evaluate("again", 0.95), round=2)
    contents = read_contents(trained.folder, [*trained.made, again])
    assert contents.newest("evaluation").folder == again.folder
    assert [output.stage for output in contents.of_kind("evaluation")] == ["evaluate", "evaluate-2"]
    assert contents.num_rounds == 2
    assert contents.newest("onnx") is None


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert [row["step"] for row in read_metrics(path)] == [1]
    assert read_metrics(tmp_path / "absent") == []
