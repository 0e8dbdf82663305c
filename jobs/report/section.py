"""One part of the page: its place in the navigation, the numbers that it needs, and the template that shows them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.report.contents import Contents


@dataclass(frozen=True)
class Figure:
    """A number at the head of the page."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Body:
    """The content of a section."""

    values: Mapping[str, Any] = field(default_factory=dict)  # names of the template
    figures: tuple[Figure, ...] = ()
    pending: str = ""  # the step that has not been run yet, shown in place of the template


@dataclass(frozen=True)
class Section:
    """A line of the table of sections."""

    id: str  # of the HTML element
    title: str  # "" = no heading
    template: Path
    build: Callable[[Contents], Body | None]  # None = the run has nothing of this kind, and the section is left out
    link: str = ""  # its name in the navigation; "" = it is not there
    is_part: bool = False  # it continues the section above: a smaller heading, and no line between
