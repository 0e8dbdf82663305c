"""Drawings as numbers: the places of lines, bars and ticks, which `parts.html` writes down as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 46
NUM_TICKS = 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """Values of a range to places in pixels."""

    low: float
    high: float
    start_px: float
    end_px: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return round(self.start_px + (self.end_px - self.start_px) * (at - low) / (high - low), 2)


@dataclass(frozen=True)
class Tick:
    place_px: float
    label: str


@dataclass(frozen=True)
class Line:
    """A named line, or the area below it."""

    name: str
    path: str  # SVG path data
    is_area: bool = False


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str  # shown on hovering


@dataclass(frozen=True)
class Chart:
    """All that is drawn, in pixels of a 520 x 300 canvas."""

    title: str
    description: str  # for those who cannot see it
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(
    title: str,
    series: dict[str, Points],
    *,
    x_label: str,
    x_axis: Literal["linear", "log"] = "linear",
    top: float | None = None,
) -> Chart:
    """Lines over a common axis; the vertical axis begins at 0 where no value lies below.

    Args:
        series: name -> points, each with at least one point; for a logarithmic axis every x is above 0.
        top: the upper end of the vertical axis; the highest value where it is not given.
    """
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x = _x_scale(min(xs), max(xs), is_log=x_axis == "log")
    y = _y_scale(min(0.0, *ys), top if top is not None else max(ys))
    ends = "; ".join(f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in series.items())
    return Chart(
        title=title,
        description=f"{title} by {x_label}: {ends}",
        x_label=x_label,
        x_ticks=_log_ticks(x) if x.is_log else _ticks(x),
        y_ticks=_ticks(y),
        lines=[Line(name, _path(points, x, y)) for name, points in series.items()],
    )


def stacked_chart(title: str, series: dict[str, Points], *, x_label: str) -> Chart:
    """Areas, each upon the one before; all series have the same x."""
    names = list(series)
    xs = [x for x, _ in series[names[0]]]
    heights = [0.0] * len(xs)
    x = _x_scale(min(xs), max(xs), is_log=False)
    y = _y_scale(0.0, max(map(sum, zip(*([v for _, v in points] for points in series.values()), strict=True))))
    lines = []
    for name in names:
        floor = list(zip(xs, heights, strict=True))
        heights = [low + value for low, (_, value) in zip(heights, series[name], strict=True)]
        outline = _path([*zip(xs, heights, strict=True), *reversed(floor)], x, y) + "Z"
        lines.append(Line(name, outline, is_area=True))
    means = "; ".join(f"{name} {sum(v for _, v in series[name]) / len(xs):.4g} on average" for name in names)
    return Chart(title, f"{title} by {x_label}: {means}", x_label, _ticks(x), _ticks(y), lines)


def bar_chart(title: str, bars: Sequence[tuple[str, int]], *, x_label: str, what: str) -> Chart:
    """One bar for each (label, count)."""
    y = _y_scale(0.0, float(max(count for _, count in bars)))
    slot = (WIDTH - RIGHT - LEFT) / len(bars)
    base = y(0.0)
    # Labels side by side need about 40 px each.
    step = math.ceil(40 / slot)
    drawn = [
        Bar(
            round(LEFT + (at + 0.1) * slot, 2),
            y(count),
            round(0.8 * slot, 2),
            round(base - y(count), 2),
            f"{label}: {count:,} {what}",
        )
        for at, (label, count) in enumerate(bars)
    ]
    ticks = [Tick(round(LEFT + (at + 0.5) * slot, 2), label) for at, (label, _) in enumerate(bars) if at % step == 0]
    highest = max(bars, key=lambda bar: bar[1])
    description = f"{title}: {len(bars)} bars, the highest at {highest[0]} with {highest[1]:,} {what}"
    return Chart(title, description, x_label, ticks, _ticks(y), bars=drawn)


def _x_scale(low: float, high: float, *, is_log: bool) -> Scale:
    if is_log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
    if low == high:
        high = low * 10 if is_log else low + 1
    return Scale(low, high, LEFT, WIDTH - RIGHT, is_log)


def _y_scale(low: float, high: float) -> Scale:
    step = _step(low, high)
    return Scale(step * math.floor(low / step), step * max(1, math.ceil(high / step - 1e-9)), HEIGHT - BOTTOM, TOP)


def _step(low: float, high: float) -> float:
    """The round number (1, 2, 2.5 or 5 times a power of ten) that gives about five ticks."""
    raw = (high - low) / NUM_TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)


def _ticks(scale: Scale) -> list[Tick]:
    step = _step(scale.low, scale.high)
    first = math.ceil(scale.low / step - 1e-9)
    values = [step * number for number in range(first, math.floor(scale.high / step + 1e-9) + 1)]
    return [Tick(scale(value), f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}") for value in values]


def _log_ticks(scale: Scale) -> list[Tick]:
    powers = range(round(math.log10(scale.low)), round(math.log10(scale.high)) + 1)
    return [Tick(scale(10.0**power), f"{10.0**power:g}") for power in powers]


def _path(points: Points, x: Scale, y: Scale) -> str:
    return "M" + "L".join(f"{x(at)},{y(value)}" for at, value in points)
