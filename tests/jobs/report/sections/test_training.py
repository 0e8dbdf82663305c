"""Series are averaged by hand."""

from jobs.report.sections.training import MAX_POINTS, training_charts


def _step(step, **values):
    row = {"step": step, "epoch": 0, "loss": 1.0, "lr": 0.1, "feed_wait_seconds": 0.1, "step_seconds": 0.4}
    return {**row, **values}


def test_there_is_a_chart_for_what_was_logged():
    assert training_charts([]) == []
    assert [chart.title for chart in training_charts([_step(1)])] == ["Loss", "Learning rate", "Seconds per step"]
    charts = training_charts([_step(1), {"step": 1, "val_accuracy": 0.5}])
    assert charts[-1].title == "Accuracy while training"


def test_the_terms_of_a_loss_are_lines_beside_it():
    (loss, *_) = training_charts([_step(1, loss_verification=0.25, loss_identification=0.75), _step(2)])
    assert [line.name for line in loss.lines] == ["loss", "verification", "identification"]


def test_compute_is_the_step_without_the_wait():
    (time,) = (chart for chart in training_charts([_step(1), _step(2)]) if chart.title == "Seconds per step")
    assert "compute 0.3 on average" in time.description
    assert "feed 0.1 on average" in time.description


def test_long_runs_are_averaged_to_few_points():
    rows = [_step(step, loss=float(step % 2)) for step in range(10 * MAX_POINTS)]
    assert training_charts(rows)[0].description == "Loss by step: loss from 0.5 to 0.5"
    assert training_charts(rows)[0].lines[0].path.count(",") == MAX_POINTS
