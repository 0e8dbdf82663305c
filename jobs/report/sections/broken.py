"""The parts of a source that are no pictures of the run: broken parts of containers, and what was passed over."""

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


@dataclass(frozen=True)
class PassedOverFiles:
    """Files of a source that were not taken in for one reason."""

    reason: str
    count: int
    named: list[str]  # the first few


def build(contents: Contents) -> Body | None:
    """The section; None where everything in the source was taken in."""
    records = contents.newest("records")
    broken = broken_parts(records) if records else None
    passed_over = passed_over_files(records) if records else []
    return Body({"broken": broken, "passed_over": passed_over}) if broken or passed_over else None


def broken_parts(records: Artefact) -> BrokenParts | None:
    """From the manifest of the records; None where every part could be read."""
    named = [BrokenPart(**part) for part in records.manifest.facts.get("broken", [])]
    counts = records.manifest.counts
    num_parts = counts.get("broken_parts", len(named))
    num_bytes = counts.get("broken_bytes", sum(part.num_bytes for part in named))
    return BrokenParts(num_parts, num_bytes, named) if num_parts else None


def passed_over_files(records: Artefact) -> list[PassedOverFiles]:
    """From the manifest of the records, the most frequent reason first."""
    counts, prefix = records.manifest.counts, "passed_over:"
    by_reason = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
    named = records.manifest.facts.get("passed_over", {})
    return [
        PassedOverFiles(reason, count, named.get(reason, []))
        for reason, count in sorted(by_reason.items(), key=lambda item: (-item[1], item[0]))
    ]
