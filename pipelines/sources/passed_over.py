"""The account of what a source holds and is not taken in as a picture: numbers and a few names for each reason."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipelines.sources.entry import PassedOver

_MOST_NAMED = 5  # of each reason: a source may pass over millions

# A reason is the plural of what is passed over, for it stands behind a number. Reasons without a remedy are not here.
REMEDIES: dict[str, str] = {
    "links_out_of_the_source": "source.links_out=follow takes them",
    "links_to_folders": "what they lead to is taken under its own name",
    "compressed_files": "unpack them",
    "lines_with_more_fields_than_their_heading": "put a field that holds the delimiter in double quotes",
    "lines_whose_quotes_do_not_match": "close them, and double a quote inside quotes",
    "lines_that_begin_with_a_number": "name the columns in a first line, such as label and path, with a tab between",
    "lines_with_a_zero_byte": "save the list as UTF-8",
}


@dataclass
class PassedOverTally:
    """Numbers and first names by reason, in the order of the source."""

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(self, part: PassedOver) -> None:
        self._add(part.reason, 1, [part.where])

    def merge(self, other: "PassedOverTally") -> None:
        """Add the account of a later part of the source."""
        for reason, count in other.counts.items():
            self._add(reason, count, other.named[reason])

    def note(self, thing: str = "file") -> str:
        """One line, empty if there is nothing: "3 files passed over: 3 dead links (the first a/b.jpg; REMEDY)"."""
        if not self.counts:
            return ""
        parts = [
            f"{count:,} {in_words(reason)} (the first {'; '.join([self.named[reason][0], *_remedy(reason)])})"
            for reason, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        return f"{self.total:,} {thing}{'s' * (self.total != 1)} passed over: {', '.join(parts)}"

    def _add(self, reason: str, count: int, named: Iterable[str]) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + count
        kept = self.named.setdefault(reason, [])
        kept += list(named)[: _MOST_NAMED - len(kept)]


def merged(tallies: Iterable[PassedOverTally]) -> PassedOverTally:
    """One account of several parts of a source, in their order."""
    total = PassedOverTally()
    for tally in tallies:
        total.merge(tally)
    return total


def in_words(reason: str) -> str:
    """A reason as it is shown."""
    return reason.replace("_", " ")


def _remedy(reason: str) -> list[str]:
    return [REMEDIES[reason]] if reason in REMEDIES else []
