"""Verdicts on the members of components, in memory: the outcome of each picture and name, and its reason."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.arrays import BoolArray, IntArray
from pipelines.dedup.case import CRITERIA, Case, array, case_of
from pipelines.dedup.elect import elect
from pipelines.dedup.keepers import Resolution, first_difference, nearest_reference
from pipelines.dedup.signatures import MISSING, CopyRule
from pipelines.identity import NAME
from pipelines.leak import LEAK, LEAK_TO
from pipelines.records import (
    CONFLICT,
    COSINE,
    DISTANCE,
    DUPLICATE,
    GROUP_ID,
    IMAGE_ID,
    KEEPER_ID,
    KEPT,
    LIMIT,
    MEASUREMENT,
    REASON,
    REJECTED,
    STATUS,
    VALUE,
)
from pipelines.settings import ConflictSettings

# One row per picture and name, except for pictures that are kept and have no duplicates.
VERDICTS = pa.schema(
    [
        (IMAGE_ID, pa.string()),
        (NAME, pa.string()),
        (STATUS, pa.string()),
        (REASON, pa.string()),
        (KEEPER_ID, pa.string()),
        (DISTANCE, pa.int32()),
        (GROUP_ID, pa.string()),
        (MEASUREMENT, pa.string()),
        (VALUE, pa.float64()),
        (LIMIT, pa.float64()),
    ]
)


@dataclass(frozen=True)
class Rules:
    """The limits within which pictures are duplicates or leaks, and the policy for conflicts of names."""

    copies: CopyRule
    conflicts: ConflictSettings
    leak_cosine: float | None = None
    semantic_cosine: float | None = None


def verdicts(members: pa.Table, rules: Rules) -> pa.Table:
    """Decide on the pictures of whole components.

    Args:
        members: MEMBERS, in any order.

    Returns:
        VERDICTS: pictures alike to a picture of the reference are rejected as leaks; of the others, the best of each
        group of duplicates is kept.
    """
    case = case_of(members)
    # The hashes alone decide on leaks: a second look would lose some of the copies that were changed most.
    by_hash = CopyRule(rules.copies.max_distance)
    nearest = nearest_reference(case.signatures, case.reference_signatures, rule=by_hash)
    leaked = np.where(case.equal_bytes == MISSING, nearest, case.equal_bytes)
    is_free = (leaked == MISSING) & array(case.pictures.column(LEAK_TO).is_null())
    resolution = Resolution(
        case.signatures,
        case.votes,
        case.links,
        is_free,
        rule=rules.copies,
        elect=partial(elect, rules.conflicts),
    )
    return pa.concat_tables([_leaks(case, leaked, is_free, rules), _groups(case, resolution, is_free, rules)])


def _leaks(case: Case, leaked: IntArray, is_free: BoolArray, rules: Rules) -> pa.Table:
    """Verdicts on pictures that are alike to a reference, by bytes, by hash or else by embedding."""
    votes = np.flatnonzero(~is_free[case.votes.picture])
    picture = case.votes.picture[votes]
    to = leaked[picture]
    by_hash = to != MISSING
    distance = np.zeros(len(votes), dtype=np.int64)
    distance[by_hash] = case.signatures.distances(picture[by_hash], case.reference_signatures, to[by_hash])
    reference = case.references.column(IMAGE_ID).take(pa.array(to, mask=~by_hash))
    pictures = case.pictures.take(pa.array(picture))
    cosine = pc.if_else(pa.array(by_hash), None, pictures.column(COSINE).cast(pa.float64()))
    limit = pa.array(np.full(len(votes), rules.leak_cosine or 0.0), mask=by_hash)
    return _table(
        case,
        votes,
        {
            STATUS: [REJECTED] * len(votes),
            REASON: [LEAK] * len(votes),
            KEEPER_ID: pc.coalesce(reference, pictures.column(LEAK_TO)),
            DISTANCE: pa.array(distance, mask=~by_hash),
            MEASUREMENT: pa.array(np.full(len(votes), COSINE), mask=by_hash),
            VALUE: cosine,
            LIMIT: limit,
        },
    )


def _groups(case: Case, resolution: Resolution, is_free: BoolArray, rules: Rules) -> pa.Table:
    """Verdicts on groups of duplicates: the kept picture, its duplicates, and the names that lose a conflict."""
    picture = case.votes.picture
    is_lost = resolution.lost_to != MISSING
    head = np.where(is_lost, resolution.lost_to, resolution.keeper[picture])
    size = np.bincount(head[is_free[picture]], minlength=len(case.signatures.component))
    votes = np.flatnonzero(is_free[picture] & (size[head] > 1))
    picture, head, is_lost = picture[votes], head[votes], is_lost[votes]
    is_head = picture == head
    # The best picture of a group in which no name stays has no keeper.
    has_keeper = ~is_head | (is_lost & (resolution.keeper[head] != MISSING))
    is_duplicate = ~is_head & ~is_lost
    equal = case.signatures.have_equal_pixels(picture, case.signatures, head)
    alike = np.ones(len(picture), dtype=bool)  # a duplicate without a link is alike to its keeper
    linked = np.flatnonzero(~np.isnan(case.links.cosines_to(resolution.keeper)[picture]))
    alike[linked] = case.signatures.are_alike(picture[linked], case.signatures, head[linked], rules.copies)
    reason = np.select(
        [is_lost, is_duplicate & equal, is_duplicate & alike, is_duplicate],
        ["two_identities", "same_pixels", "near_duplicate", "semantic_duplicate"],
        "",
    )
    distance = np.where(equal, 0, case.signatures.distances(picture, case.signatures, head))
    ids = case.pictures.column(IMAGE_ID).take(pa.array(head))
    reasons = _reasons(case, resolution, picture, head, is_duplicate & alike, is_duplicate & ~alike, rules)
    return _table(
        case,
        votes,
        {
            STATUS: np.select([is_lost, is_duplicate], [CONFLICT, DUPLICATE], KEPT),
            REASON: pa.array(reason, mask=reason == ""),
            KEEPER_ID: pc.if_else(pa.array(has_keeper), ids, None),
            DISTANCE: pa.array(distance, mask=~has_keeper),
            GROUP_ID: ids,
            **reasons,
        },
    )


def _reasons(
    case: Case,
    resolution: Resolution,
    picture: IntArray,
    head: IntArray,
    alike: BoolArray,
    linked: BoolArray,
    rules: Rules,
) -> dict[str, pa.Array]:
    """The measurement that decided on a duplicate: the first criterion in which its keeper differs, or their cosine."""
    criteria = {name: array(case.pictures.column(name)).astype(np.float64) for name in CRITERIA}
    first = first_difference(picture, head, criteria)
    value, limit = np.full(len(picture), np.nan), np.full(len(picture), np.nan)
    for number, values in enumerate(criteria.values()):
        decides = alike & (first == number)
        value[decides], limit[decides] = values[picture[decides]], values[head[decides]]
    value[linked] = case.links.cosines_to(resolution.keeper)[picture[linked]]
    limit[linked] = rules.semantic_cosine
    measurement = np.where(linked, COSINE, np.array([*CRITERIA, IMAGE_ID])[first])
    return {
        MEASUREMENT: pa.array(measurement, mask=~(alike | linked)),
        VALUE: pa.array(value, mask=np.isnan(value)),
        LIMIT: pa.array(limit, mask=np.isnan(limit)),
    }


def _table(case: Case, votes: IntArray, columns: dict[str, Any]) -> pa.Table:
    """VERDICTS on some votes; columns that are not given are null."""
    names = {name: case.rows.column(name).take(pa.array(votes)) for name in (IMAGE_ID, NAME)}
    given = {**names, **columns}
    arrays = [given.get(field.name, pa.nulls(len(votes), field.type)) for field in VERDICTS]
    return pa.table(arrays, names=VERDICTS.names).cast(VERDICTS)
