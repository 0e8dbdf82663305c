"""Figures for people and for programs."""

import pytest
from pydantic import ValidationError

from training.tasks.result import ChartData, Column, Figure, Result, Series, Table


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(label="x", value=0.80666, format="share", spread=0.008), "80.67 % ± 0.80 %"),
        (Figure(label="x", value=1.0, format="share"), "100.00 %"),
        (Figure(label="x", value=0.93214, format="number"), "0.9321"),
        (Figure(label="x", value=6000, format="count"), "6,000"),
        (Figure(label="x", value=None, format="share", spread=0.1), "not measurable"),
        (Figure(label="x", value=0.0, format="share"), "0.00 %"),
    ],
)
def test_a_figure_is_shown_in_its_unit(figure: Figure, text: str) -> None:
    assert figure.text == text


def test_the_summary_is_the_headline_in_its_order() -> None:
    figures = {
        "recall": Figure(label="recall", value=0.5, format="share"),
        "images": Figure(label="images", value=7, format="count"),
        "map": Figure(label="mean average precision", value=None, format="number"),
    }
    result = Result(kind="detection", about="7 images", figures=figures, headline=("map", "recall"))
    assert result.summary() == "mean average precision not measurable, recall 50.00 %"
    assert result.counts() == {"images": 7}
    assert (result.value("recall"), result.value("map")) == (0.5, None)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValidationError, match="names no figure: top_1"):
        Result(kind="classification", about="", figures={}, headline=("top_1",))
    with pytest.raises(ValidationError, match="2 x and 1 y are no points"):
        Series(label="a", x=(0, 1), y=(0,))
    with pytest.raises(ValidationError, match="not as many values as there are columns"):
        Table(title="folds", columns=(Column(label="fold", format="count"),), rows=((1, 2),))


def test_a_chart_is_plain_data() -> None:
    chart = ChartData(title="t", x_label="x", y_label="y", series=(Series(label="a", x=(0, 1), y=(1, 2)),))
    assert chart.model_dump(mode="json")["series"] == [{"label": "a", "x": [0.0, 1.0], "y": [1.0, 2.0]}]
