"""Quantities as people read them."""

from collections.abc import Callable
from typing import Any


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def percent(share: float) -> str:
    """A share of 1 as `12.3 %`, with a second digit near the whole."""
    return f"{100 * share:.2f} %" if share > 0.9 else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def number(value: float) -> str:
    """Three significant digits; whole numbers from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def size(num_bytes: int) -> str:
    """`5 KiB`."""
    power = min(4, max(0, (num_bytes.bit_length() - 1) // 10))
    return f"{number(num_bytes / 1024**power)} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


# The filters of the templates.
FILTERS: dict[str, Callable[[Any], str]] = {
    "count": count,
    "percent": percent,
    "duration": duration,
    "size": size,
    "number": number,
}
