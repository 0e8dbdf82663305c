"""Identities that may be one person, side by side: the pairs that stand out most, and what fits each of them best."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipelines.records import (
    COSINE,
    FIT_ROWS,
    IDENTITY,
    IMAGE_ID,
    KEPT,
    LEFT,
    MERGE_ROWS,
    OWN_COSINE,
    PROMINENCE,
    RIGHT,
)
from training.report.artefact import Artefact, read_images
from training.report.gallery import Tile, draw
from training.report.rounds import merged_identities
from training.report.selection import Decision

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
    drawn = {
        image_id: draw(image)
        for image_id, image in read_images(records, {one for ids in shown.values() for one in ids}).items()
    }
    merged = merged_identities(decisions)
    tiles = {name: [_tile(image_id, name, drawn) for image_id in shown.get(name, [])] for name in named}
    return Merges(num_pairs, [_merge(pair, tiles, merged) for pair in pairs])


def _merge(pair: dict[str, Any], tiles: dict[str, list[Tile]], merged: dict[str, str]) -> Merge:
    left, right, cosine, prominence = (pair[name] for name in (LEFT, RIGHT, COSINE, PROMINENCE))
    is_applied = merged.get(left, left) == merged.get(right, right)
    return Merge(left, right, cosine, prominence, is_applied, [*tiles[left], *tiles[right]])


def _best_of_each(scores: Artefact, identities: list[str]) -> dict[str, list[str]]:
    """identity -> the image_ids that fit it best."""
    wanted = ds.field(IDENTITY).isin(pa.array(identities, pa.string()))
    found: dict[str, list[tuple[float, str]]] = {}
    for piece in scores.scan([IMAGE_ID, IDENTITY, OWN_COSINE], where=wanted, table=FIT_ROWS):
        for row in piece.to_pylist():
            cosine = -2.0 if row[OWN_COSINE] is None else row[OWN_COSINE]
            best = [*found.get(row[IDENTITY], []), (-cosine, row[IMAGE_ID])]
            found[row[IDENTITY]] = sorted(best)[:PER_IDENTITY]
    return {name: [image_id for _, image_id in best] for name, best in found.items()}


def _tile(image_id: str, identity: str, drawn: dict[str, tuple[str, str]]) -> Tile:
    about = Decision(image_id=image_id, source=identity, identity=identity, status=KEPT, reason=None)
    return Tile(about, *drawn.get(image_id, ("", "not among the records")))
