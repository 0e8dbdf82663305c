"""Drawn places are turned back into values by the ticks, which carry both."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.report.charts import bar_chart, line_chart, stacked_chart


def _places(path):
    return [tuple(map(float, pair.split(","))) for pair in re.findall(r"[-\d.]+,[-\d.]+", path)]


def _back(place, ticks):
    """The value at a place, by the first and the last tick."""
    (low, first), (high, last) = ((float(t.label.replace(",", "")), t.place_px) for t in (ticks[0], ticks[-1]))
    return low + (place - first) / (last - first) * (high - low)


def test_a_line_passes_through_its_points():
    points = [(0.0, 2.0), (40.0, 9.5), (100.0, 4.0)]
    chart = line_chart("Loss", {"loss": points}, x_label="step")
    for (x, y), (across, down) in zip(points, _places(chart.lines[0].path), strict=True):
        assert _back(across, chart.x_ticks) == pytest.approx(x, abs=0.2)
        assert _back(down, chart.y_ticks) == pytest.approx(y, abs=0.05)


def test_powers_of_ten_are_equally_far_apart_on_a_logarithmic_axis():
    chart = line_chart("ROC", {"tar": [(0.002, 0.1), (1.0, 1.0)]}, x_label="far", x_axis="log", top=1.0)
    assert [tick.label for tick in chart.x_ticks] == ["0.001", "0.01", "0.1", "1"]
    steps = [b.place_px - a.place_px for a, b in zip(chart.x_ticks, chart.x_ticks[1:], strict=False)]
    assert max(steps) - min(steps) < 0.1


def test_areas_lie_upon_each_other():
    chart = stacked_chart("Time", {"one": [(0.0, 1.0), (1.0, 1.0)], "two": [(0.0, 2.0), (1.0, 3.0)]}, x_label="step")
    tops = [[_back(down, chart.y_ticks) for _, down in _places(line.path)[:2]] for line in chart.lines]
    assert tops == [pytest.approx([1, 1], abs=0.02), pytest.approx([3, 4], abs=0.02)]


def test_bars_are_as_high_as_their_counts():
    chart = bar_chart("Sizes", [("1", 5), ("2", 20), ("3", 0)], x_label="pictures", what="people")
    assert [bar.height / chart.bars[1].height for bar in chart.bars] == pytest.approx([0.25, 1, 0], abs=0.01)
    assert chart.bars[1].label == "2: 20 people"


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e3, 1e9)), min_size=1, max_size=20))
def test_nothing_is_drawn_outside_the_canvas(points):
    chart = line_chart("Any", {"any": sorted(points)}, x_label="x")
    for across, down in _places(chart.lines[0].path):
        assert chart.left - 0.01 <= across <= chart.right + 0.01
        assert chart.top - 0.01 <= down <= chart.bottom + 0.01
    assert 1 <= len(chart.y_ticks) <= 12


def test_a_chart_is_described_for_those_who_cannot_see_it():
    chart = line_chart("Loss", {"loss": [(1.0, 9.0), (2.0, 3.0)]}, x_label="step")
    assert chart.description == "Loss by step: loss from 9 to 3"
