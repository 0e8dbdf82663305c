"""The charts of a run: training step by step, pictures per identity, and those of the evaluation."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.metrics import PART_PREFIX
from training.report.artefact import Artefact
from training.report.charts import Chart, Points, bar_chart, line_chart, stacked_chart
from training.tasks.result import ChartData, Result

MAX_POINTS = 300
MAX_SINGLE_BARS = 24

Row = dict[str, Any]


def read_metrics(path: Path) -> list[Row]:
    """The rows of `metrics.jsonl`; none before the training has begun, and no line that is still being written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


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
            line_chart("Loss", {name: _points(steps, key) for name, key in _losses(steps[0]).items()}, x_label="step"),
            line_chart("Learning rate", {"learning rate": _points(steps, "lr")}, x_label="step"),
            stacked_chart("Seconds per step", {"compute": compute, "waiting for the feed": wait}, x_label="step"),
        ]
    if checks:
        accuracy = [(float(row["step"]), float(row["val_accuracy"])) for row in checks]
        charts.append(line_chart("Accuracy while training", {"accuracy": accuracy}, x_label="step", top=1.0))
    return charts


def _losses(row: Row) -> dict[str, str]:
    """What the lines of the loss are called -> where a row has them: the whole first, then its terms."""
    terms = [key for key in row if key.startswith(PART_PREFIX)]
    return {"loss": "loss", **{key.removeprefix(PART_PREFIX): key for key in terms}}


def identity_chart(dataset: Artefact) -> Chart | None:
    """How many identities of the train split have how many pictures; None where there are no labels."""
    sizes: dict[int, int] = {}
    for path in dataset.tables("labels"):
        labels = pq.read_table(path, columns=["split", "num_images"])
        counted = pc.value_counts(labels.filter(pc.equal(labels["split"], "train"))["num_images"])
        for count in counted.to_pylist():
            sizes[count["values"]] = sizes.get(count["values"], 0) + count["counts"]
    if not sizes:
        return None
    return bar_chart("Identities by number of pictures", _bins(sizes), x_label="training pictures", what="identities")


def result_charts(result: Result) -> list[Chart]:
    """The charts of an evaluation; one without a point that its axis has a place for is left out."""
    drawn = [_result_chart(data) for data in result.charts]
    return [chart for chart in drawn if chart is not None]


def _result_chart(data: ChartData) -> Chart | None:
    every: dict[str, Points] = {
        one.label: [(x, y) for x, y in zip(one.x, one.y, strict=True) if x > 0 or data.x_axis == "linear"]
        for one in data.series
    }
    series = {label: points for label, points in every.items() if points}
    if not series:
        return None
    return line_chart(data.title, series, x_label=data.x_label, x_axis=data.x_axis, top=data.y_top)


def _points(rows: Sequence[Row], name: str) -> Points:
    """At most 300 points: means over runs of neighbouring rows."""
    size = math.ceil(len(rows) / MAX_POINTS)
    runs = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [(float(run[-1]["step"]), sum(row[name] for row in run) / len(run)) for run in runs]


def _bins(sizes: dict[int, int]) -> list[tuple[str, int]]:
    low, high = min(sizes), max(sizes)
    if high - low < MAX_SINGLE_BARS:
        return [(str(size), sizes.get(size, 0)) for size in range(low, high + 1)]
    # Long tails are common, so that each bin is twice as wide as the one before.
    bins: dict[int, int] = dict.fromkeys(range(low.bit_length(), high.bit_length() + 1), 0)
    for size, count in sizes.items():
        bins[size.bit_length()] += count
    return [
        (f"{1 << power >> 1}-{(1 << power) - 1}" if power > 1 else str(power), count) for power, count in bins.items()
    ]
