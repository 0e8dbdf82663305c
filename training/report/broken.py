"""What of the source could not be read as pictures: the broken parts of its containers."""

from dataclasses import dataclass

from training.report.artefact import Artefact


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


def broken_parts(records: Artefact) -> BrokenParts | None:
    """As the manifest of the records tells; None where it tells of none."""
    named = [BrokenPart(**part) for part in records.manifest.facts.get("broken", [])]
    counts = records.manifest.counts
    num_parts = counts.get("broken_parts", len(named))
    num_bytes = counts.get("broken_bytes", sum(part.num_bytes for part in named))
    return BrokenParts(num_parts, num_bytes, named) if num_parts else None
