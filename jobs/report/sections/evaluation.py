"""The evaluations of the model: its figures on every set, side by side, and their charts."""

from collections.abc import Iterator, Mapping
from typing import Literal

from jobs.report.artefact import Artefact
from jobs.report.charts import Chart, Points, line_chart
from jobs.report.contents import Contents, Output
from jobs.report.section import Body, Figure
from pipelines.run_folder import RESULT_NAME
from training.tasks.result import ChartData, Format, Result, Series, shown

Results = Mapping[str, Result]  # by the name of the set


def build(contents: Contents) -> Body:
    """The section, and at the head of the page the figures that stand for all."""
    results = read_results([one for one in contents.of_kind("evaluation") if one.round == contents.num_rounds])
    if not results:
        return Body(pending="Evaluation")
    figures = [(name, figure) for result in results.values() for name, figure in result.figures.items()]
    values = {
        "results": results,
        "labels": {name: figure.label for name, figure in reversed(figures)},
        "names": list(dict.fromkeys(name for name, _ in figures)),
        "charts": result_charts(results),
        "cell": cell,
    }
    return Body(values, tuple(_figures(results)))


def read_results(outputs: list[Output]) -> dict[str, Result]:
    """The results of some evaluations, by the names of their sets."""
    return {one.instance or one.stage: read_result(one.artefact) for one in outputs}


def read_result(evaluation: Artefact) -> Result:
    """The result in the folder of an evaluation."""
    return Result.model_validate_json((evaluation.folder / RESULT_NAME).read_bytes())


def result_charts(results: Results) -> list[Chart]:
    """The charts of all results: those with the same title are one chart, with a line for each set.

    A point that the axis has no place for is left out, and so is a chart without points.
    """
    found: dict[tuple[str, str], list[tuple[str, ChartData]]] = {}
    for name, result in results.items():
        for data in result.charts:
            found.setdefault((data.title, data.x_label), []).append((name, data))
    drawn = [_chart(named, num_sets=len(results)) for named in found.values()]
    return [chart for chart in drawn if chart is not None]


def _chart(named: list[tuple[str, ChartData]], *, num_sets: int) -> Chart | None:
    series: dict[str, Points] = {}
    for name, data in named:
        for line in data.series:
            if points := _points(line, data.x_axis):
                series[_label(name, line, data) if num_sets > 1 else line.label] = points
    _, first = named[0]
    if not series:
        return None
    return line_chart(first.title, series, x_label=first.x_label, x_axis=first.x_axis, top=first.y_top)


def _points(line: Series, axis: Literal["linear", "log"]) -> Points:
    return [(x, y) for x, y in zip(line.x, line.y, strict=True) if x > 0 or axis == "linear"]


def _label(name: str, line: Series, data: ChartData) -> str:
    return name if len(data.series) == 1 else f"{name}, {line.label}"


def cell(value: float | str | None, style: Format | Literal["text"]) -> str:
    """A value of a table of details."""
    if value is None:
        return "not measurable"
    return str(value) if isinstance(value, str) or style == "text" else shown(value, style)


def _figures(results: Results) -> Iterator[Figure]:
    """The headline of a single set; the first figure of each of several sets."""
    for set_name, result in results.items():
        headline = result.headline if len(results) == 1 else result.headline[:1]
        for one in map(result.figures.__getitem__, headline):
            if one.value is not None:
                spread = "" if one.spread is None else f"± {shown(one.spread, one.format)}"
                note = ", ".join(filter(None, (spread, one.note)))
                label = one.label if len(results) == 1 else f"{one.label}, {set_name}"
                yield Figure(label, shown(one.value, one.format), note)
