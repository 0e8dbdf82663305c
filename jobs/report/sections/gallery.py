"""The pictures that were left out: rejected ones by reason, groups of duplicates, and conflicts of names."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.report.artefact import Artefact
from jobs.report.contents import Contents
from jobs.report.section import Body
from jobs.report.selection import Chosen, conflicts, duplicate_groups, rejected
from jobs.report.tiles import Tile, TileMaker

PER_REASON = 8
NUM_GROUPS = 12
PER_GROUP = 6


@dataclass(frozen=True)
class Shelf:
    """Tiles that belong together."""

    name: str
    num_rows: int  # of which the tiles are a part
    tiles: list[Tile]


@dataclass(frozen=True)
class Galleries:
    """The pictures left out, to be looked at."""

    rejected: list[Shelf]
    duplicates: list[Shelf]
    conflicts: list[Shelf]


def build(contents: Contents) -> Body:
    """The section."""
    records, decisions = contents.newest("records"), contents.newest("decisions")
    if records is None or decisions is None:
        return Body(pending="Curation")
    return Body({"galleries": build_galleries(records, decisions)})


def build_galleries(records: Artefact, decisions: Artefact) -> Galleries:
    """Choose the pictures, read them in one pass and draw them small."""
    chosen = (
        rejected(decisions, per_reason=PER_REASON),
        duplicate_groups(decisions, num_groups=NUM_GROUPS, per_group=PER_GROUP),
        conflicts(decisions, num_groups=NUM_GROUPS, per_group=PER_GROUP),
    )
    make_tile = TileMaker(records, {row.image_id for kind in chosen for shelf in kind for row in shelf.shown})
    return Galleries(*(_shelves(kind, make_tile) for kind in chosen))


def _shelves(chosen: Iterable[Chosen], make_tile: TileMaker) -> list[Shelf]:
    return [Shelf(shelf.name, shelf.num_rows, list(map(make_tile, shelf.shown))) for shelf in chosen]
