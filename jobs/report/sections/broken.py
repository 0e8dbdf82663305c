"""The broken parts of the source's containers, which could not be read as pictures."""

from dataclasses import dataclass

from jobs.report.artefact import Artefact
from jobs.report.contents import Contents
from jobs.report.section import Body


@dataclass(frozen=True)
class BrokenPart:
    """A stretch of a container that holds nothing readable."""

    container: str
    offset: int  # bytes from its start
    num_bytes: int
    reason: str


@dataclass(frozen=True)
class BrokenParts:
    """All of them by number, some of them by name."""

    num_parts: int
    num_bytes: int
    named: list[BrokenPart]


def build(contents: Contents) -> Body | None:
    """The section; None where every part of the source could be read."""
    records = contents.newest("records")
    broken = broken_parts(records) if records else None
    return Body({"broken": broken}) if broken else None


def broken_parts(records: Artefact) -> BrokenParts | None:
    """From the manifest of the records; None where every part could be read."""
    named = [BrokenPart(**part) for part in records.manifest.facts.get("broken", [])]
    counts = records.manifest.counts
    num_parts = counts.get("broken_parts", len(named))
    num_bytes = counts.get("broken_bytes", sum(part.num_bytes for part in named))
    return BrokenParts(num_parts, num_bytes, named) if num_parts else None
