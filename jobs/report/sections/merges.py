"""Identities that may be one person, side by side: the pairs that stand out most, and what fits each of them best."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.report.artefact import Artefact
from jobs.report.contents import Contents
from jobs.report.section import Body
from jobs.report.selection import Decision
from jobs.report.tiles import Tile, TileMaker
from pipelines.records import (
    COSINE,
    FIT_ROWS,
    IDENTITY,
    IMAGE_ID,
    KEPT,
    LEFT,
    MERGE_ROWS,
    MERGED_INTO,
    OWN_COSINE,
    PROMINENCE,
    RIGHT,
)

NUM_PAIRS = 12
PER_IDENTITY = 3


@dataclass(frozen=True)
class Merge:
    """Two identities whose centres are close."""

    left: str
    right: str
    cosine: float
    prominence: float  # by which that stands out, in standard deviations
    is_applied: bool  # False: both are still identities of their own
    tiles: list[Tile]  # those of the left one, then those of the right one


@dataclass(frozen=True)
class Merges:
    """The closest pairs, of all that there are."""

    num_pairs: int
    closest: list[Merge]


def build(contents: Contents) -> Body | None:
    """The section; None where nothing compares the identities."""
    records, decisions, scores = (contents.newest(kind) for kind in ("records", "decisions", "scores"))
    if records is None or decisions is None or scores is None:
        return None
    return Body({"merges": closest_merges(records, decisions, scores)})


def closest_merges(records: Artefact, decisions: Artefact, scores: Artefact) -> Merges:
    """The pairs of identities whose cosine stands out most; of equals those of the smallest names."""
    order = [(PROMINENCE, "descending"), (LEFT, "ascending"), (RIGHT, "ascending")]
    best: pa.Table | None = None
    num_pairs = 0
    for piece in scores.scan([LEFT, RIGHT, COSINE, PROMINENCE], table=MERGE_ROWS):
        num_pairs += len(piece)
        together = piece if best is None else pa.concat_tables([best, piece])
        best = together.take(pc.select_k_unstable(together, k=NUM_PAIRS, sort_keys=order))
    pairs = [] if best is None else best.sort_by(order).to_pylist()
    named = sorted({name for pair in pairs for name in (pair[LEFT], pair[RIGHT])})
    shown = _best_of_each(scores, named)
    make_tile = TileMaker(records, {one for ids in shown.values() for one in ids})
    merged = merged_identities(decisions)
    tiles = {name: [make_tile(_named(image_id, name)) for image_id in shown.get(name, [])] for name in named}
    return Merges(num_pairs, [_merge(pair, tiles, merged) for pair in pairs])


def merged_identities(decisions: Artefact) -> dict[str, str]:
    """Identity -> the one that it is taken for, of those that were merged into another."""
    merged: dict[str, str] = {}
    for piece in decisions.scan([IDENTITY, MERGED_INTO], where=ds.field(MERGED_INTO).is_valid()):
        for row in piece.group_by([IDENTITY, MERGED_INTO]).aggregate([]).to_pylist():
            if row[IDENTITY] != row[MERGED_INTO]:
                merged[row[IDENTITY]] = row[MERGED_INTO]
    return merged


def _merge(pair: dict[str, Any], tiles: dict[str, list[Tile]], merged: dict[str, str]) -> Merge:
    left, right, cosine, prominence = (pair[name] for name in (LEFT, RIGHT, COSINE, PROMINENCE))
    is_applied = merged.get(left, left) == merged.get(right, right)
    return Merge(left, right, cosine, prominence, is_applied, [*tiles[left], *tiles[right]])


def _best_of_each(scores: Artefact, identities: list[str]) -> dict[str, list[str]]:
    """identity -> the image_ids that fit it best."""
    is_named = ds.field(IDENTITY).isin(pa.array(identities, pa.string()))
    found: dict[str, list[tuple[float, str]]] = {}
    for piece in scores.scan([IMAGE_ID, IDENTITY, OWN_COSINE], where=is_named, table=FIT_ROWS):
        for row in piece.to_pylist():
            cosine = -2.0 if row[OWN_COSINE] is None else row[OWN_COSINE]
            best = [*found.get(row[IDENTITY], []), (-cosine, row[IMAGE_ID])]
            found[row[IDENTITY]] = sorted(best)[:PER_IDENTITY]
    return {name: [image_id for _, image_id in best] for name, best in found.items()}


def _named(image_id: str, identity: str) -> Decision:
    return Decision(image_id=image_id, source=identity, identity=identity, status=KEPT, reason=None)
