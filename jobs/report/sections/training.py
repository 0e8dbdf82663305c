"""The training step by step: loss, learning rate, speed, and the accuracy measured in between."""

import math
import statistics
from collections.abc import Iterator, Sequence

from jobs.report.charts import Chart, Points, line_chart, stacked_chart
from jobs.report.contents import Contents, Row
from jobs.report.formats import percent
from jobs.report.section import Body, Figure
from pipelines.run_folder import LOSS_TERM_PREFIX

MAX_POINTS = 300


def build(contents: Contents) -> Body:
    """The section, and at the head of the page the speed and the damaged pictures."""
    charts = training_charts(contents.metrics)
    return Body({"charts": charts}, tuple(_figures(contents.metrics)), pending="" if charts else "Training")


def training_charts(metrics: Sequence[Row]) -> list[Chart]:
    """Loss, learning rate, where the time of a step went, and the accuracy measured in between, as far as logged."""
    steps = [row for row in metrics if "loss" in row]
    checks = [row for row in metrics if "val_accuracy" in row]
    charts = []
    if steps:
        wait = _points(steps, "feed_wait_seconds")
        compute = [
            (step, max(0.0, all_of_it - waited))
            for (step, all_of_it), (_, waited) in zip(_points(steps, "step_seconds"), wait, strict=True)
        ]
        charts += [
            line_chart("Loss", _losses(steps), x_label="step"),
            line_chart("Learning rate", {"learning rate": _points(steps, "lr")}, x_label="step"),
            stacked_chart("Seconds per step", {"compute": compute, "waiting for the feed": wait}, x_label="step"),
        ]
    if checks:
        accuracy = [(float(row["step"]), float(row["val_accuracy"])) for row in checks]
        charts.append(line_chart("Accuracy while training", {"accuracy": accuracy}, x_label="step", top=1.0))
    return charts


def _losses(steps: Sequence[Row]) -> dict[str, Points]:
    """The loss, and the terms that it is the sum of where it has several."""
    terms = dict.fromkeys(key for row in steps for key in row if key.startswith(LOSS_TERM_PREFIX))
    lines = {"loss": "loss", **{key.removeprefix(LOSS_TERM_PREFIX): key for key in terms}}
    return {name: _points([row for row in steps if key in row], key) for name, key in lines.items()}


def _figures(metrics: Sequence[Row]) -> Iterator[Figure]:
    steps = [row for row in metrics if "loss" in row]
    if steps:
        speed = statistics.median(row["images_per_second"] for row in steps)
        waited = sum(row["feed_wait_seconds"] for row in steps) / max(1e-9, sum(row["step_seconds"] for row in steps))
        yield Figure("images/s", f"{speed:,.0f}", f"{percent(waited)} waiting for the feed")
    bad_rows = max((row["bad_rows"] for row in metrics if "bad_rows" in row), default=0)
    if bad_rows:
        yield Figure("bad pictures", f"{bad_rows:,}", "met in an epoch, others shown instead; see logs")


def _points(rows: Sequence[Row], name: str) -> Points:
    """At most 300 points: means over runs of neighbouring rows."""
    size = math.ceil(len(rows) / MAX_POINTS)
    runs = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [(float(run[-1]["step"]), sum(row[name] for row in run) / len(run)) for run in runs]
