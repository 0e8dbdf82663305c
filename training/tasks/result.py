"""The result of a task: named figures, charts and tables as plain data, so that a reader needs to know no task."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import Settings

# share: 0 to 1, shown as per cent; number: with four digits after the point; count: whole.
Format = Literal["share", "number", "count"]


def shown(value: float, style: Format) -> str:
    """A value for people: `87.50 %`, `0.9321`, `6,000`."""
    if style == "share":
        return f"{100 * value:.2f} %"
    return f"{value:.4f}" if style == "number" else f"{value:,.0f}"


class Figure(Settings):
    """One number that a model is judged by."""

    label: str  # for people, such as "area under ROC"
    value: float | None  # None where it cannot be measured
    format: Format
    spread: float | None = Field(default=None, ge=0)  # its standard deviation, in the unit of the value
    note: str = ""  # what it was measured on; of a value that is None, the reason

    @property
    def text(self) -> str:
        """The value with its spread, or that there is none."""
        if self.value is None:
            return "not measurable"
        spread = "" if self.spread is None else f" ± {shown(self.spread, self.format)}"
        return shown(self.value, self.format) + spread


class Series(Settings):
    """Points of one line."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    @model_validator(mode="after")
    def _has_both_coordinates(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} x and {len(self.y)} y are no points")
        return self


class ChartData(Settings):
    """The content of a chart of lines; nothing of it is drawn."""

    title: str
    x_label: str
    y_label: str
    x_axis: Literal["linear", "log"] = "linear"  # log: points whose x is 0 have no place
    y_top: float | None = None  # upper end of the y axis; None = the largest value
    series: tuple[Series, ...]


class Column(Settings):
    """One column of a table."""

    label: str
    format: Format | Literal["text"]


class Table(Settings):
    """Details, row by row; a value of None cannot be measured."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[float | str | None, ...], ...]

    @model_validator(mode="after")
    def _rows_fit_the_columns(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of {self.title!r} has not as many values as there are columns")
        return self


class Result(Settings):
    """The content of `result.json`."""

    kind: str  # name of the task
    about: str  # for people: what the model was judged on
    figures: dict[str, Figure]
    headline: tuple[str, ...]  # names of the figures that stand for all, the most important first
    charts: tuple[ChartData, ...] = ()
    details: tuple[Table, ...] = ()

    @model_validator(mode="after")
    def _headline_names_figures(self) -> Self:
        if missing := set(self.headline) - self.figures.keys():
            raise ValueError(f"the headline names no figure: {', '.join(sorted(missing))}")
        return self

    def value(self, name: str) -> float | None:
        """Of a figure; None where it cannot be measured."""
        return self.figures[name].value

    def counts(self) -> dict[str, int]:
        """The figures that count something."""
        counts = {name: figure.value for name, figure in self.figures.items() if figure.format == "count"}
        return {name: int(value) for name, value in counts.items() if value is not None}

    def encoded(self) -> bytes:
        """The bytes of `result.json`."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    def summary(self) -> str:
        """One line with the figures of the headline."""
        return ", ".join(f"{self.figures[name].label} {self.figures[name].text}" for name in self.headline)
