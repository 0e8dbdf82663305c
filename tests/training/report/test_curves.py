"""Series are counted and averaged by hand."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import manifest
from training.report.artefact import open_artefact
from training.report.curves import MAX_POINTS, identity_chart, read_metrics, result_charts, training_charts
from training.tasks.result import ChartData, Result, Series


def _step(step, **values):
    row = {"step": step, "epoch": 0, "loss": 1.0, "lr": 0.1, "feed_wait_seconds": 0.1, "step_seconds": 0.4}
    return {**row, **values}


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(_step(1)) + '\n{"step": 2, "lo')
    assert [row["step"] for row in read_metrics(path)] == [1]
    assert read_metrics(tmp_path / "absent") == []


def test_there_is_a_chart_for_what_was_logged():
    assert training_charts([]) == []
    assert [chart.title for chart in training_charts([_step(1)])] == ["Loss", "Learning rate", "Seconds per step"]
    charts = training_charts([_step(1), {"step": 1, "val_accuracy": 0.5}])
    assert charts[-1].title == "Accuracy while training"


def test_the_terms_of_a_loss_are_lines_beside_it():
    (loss, *_) = training_charts([_step(1, loss_verification=0.25, loss_identification=0.75), _step(2)][:1])
    assert [line.name for line in loss.lines] == ["loss", "verification", "identification"]


def test_compute_is_the_step_without_the_wait():
    (time,) = (chart for chart in training_charts([_step(1), _step(2)]) if chart.title == "Seconds per step")
    assert "compute 0.3 on average" in time.description
    assert "feed 0.1 on average" in time.description


def test_long_runs_are_averaged_to_few_points():
    rows = [_step(step, loss=float(step % 2)) for step in range(10 * MAX_POINTS)]
    assert training_charts(rows)[0].description == "Loss by step: loss from 0.5 to 0.5"
    assert training_charts(rows)[0].lines[0].path.count(",") == MAX_POINTS


@pytest.mark.parametrize(
    ("sizes", "labels"),
    [
        ([2, 2, 4], ["2: 2 identities", "3: 0 identities", "4: 1 identities"]),
        (
            [1, 3, 300],
            ["1: 1", "2-3: 1", "4-7: 0", "8-15: 0", "16-31: 0", "32-63: 0", "64-127: 0", "128-255: 0", "256-511: 1"],
        ),
    ],
)
def test_identities_are_counted_by_their_pictures(tmp_path, sizes, labels):
    table = pa.table({"split": ["train"] * len(sizes) + ["val"], "num_images": [*sizes, 99]})
    pq.write_table(table, tmp_path / "labels.parquet")
    file = manifest.describe(tmp_path, tmp_path / "labels.parquet")
    content = {"kind": "dataset", "fingerprint": "f", "code_version": "c", "parents": {}, "settings": {}, "counts": {}}
    manifest.write(tmp_path, manifest.Manifest(**content, files=(file,)))
    chart = identity_chart(open_artefact(tmp_path))
    assert [bar.label.removesuffix(" identities") for bar in chart.bars] == [
        x.removesuffix(" identities") for x in labels
    ]


def _result(*charts):
    return Result(kind="verification", about="", figures={}, headline=(), charts=charts)


def _chart(x, **values):
    return ChartData(title="ROC", x_label="x", y_label="y", series=(Series(label="a", x=x, y=x),), **values)


def test_a_chart_shows_the_points_that_its_axis_has_a_place_for():
    assert result_charts(_result()) == []
    (log,) = result_charts(_result(_chart((0, 0), x_axis="log"), _chart((0, 0.01, 1), x_axis="log", y_top=1.0)))
    assert (log.title, log.description) == ("ROC", "ROC by x: a from 0.01 to 1")
    (linear,) = result_charts(_result(_chart((0, 0.01, 1))))
    assert linear.description == "ROC by x: a from 0 to 1"
