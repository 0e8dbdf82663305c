"""Verdicts on the members of components, in memory: the outcome of each picture and name, and its reason."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.arrays import BoolArray, IntArray, UInt8Array
from pipelines.dedup.elect import elect
from pipelines.dedup.keepers import (
    MISSING,
    Links,
    Resolution,
    Signatures,
    Votes,
    first_difference,
    nearest_reference,
)
from pipelines.identity import NAME
from pipelines.leak import LEAK, LEAK_TO
from pipelines.records import (
    CONFLICT,
    COSINE,
    DISTANCE,
    DUPLICATE,
    GROUP_ID,
    HASH,
    HASH_BITS,
    HASH_FLIPPED,
    IMAGE_ID,
    KEEPER_ID,
    KEPT,
    LIMIT,
    MEASUREMENT,
    PIXEL_DIGEST,
    REASON,
    REJECTED,
    STATUS,
    VALUE,
)
from pipelines.settings import ConflictSettings
from pipelines.tables.components import COMPONENT

# The larger value is kept: by resolution, then bytes, then sharpness; among equals the smaller image_id.
CRITERIA = ("num_pixels", "num_bytes", "blur")
_ORDER = [(COMPONENT, "ascending"), *((name, "descending") for name in CRITERIA), (IMAGE_ID, "ascending")]

# One row per picture and name, and one per picture of the reference.
MEMBERS = pa.schema(
    [
        (COMPONENT, pa.string()),
        ("is_reference", pa.bool_()),
        (IMAGE_ID, pa.string()),
        (NAME, pa.string()),
        ("num_rows", pa.int64()),
        ("rank", pa.int64()),  # `elect.source_rank` of the most trusted source of these rows
        ("num_pixels", pa.int64()),
        ("num_bytes", pa.int64()),
        ("blur", pa.float32()),
        (HASH, pa.binary()),
        (HASH_FLIPPED, pa.binary()),
        ("hash_is_reliable", pa.bool_()),  # false where the picture is too flat
        (PIXEL_DIGEST, pa.binary()),
        (LEAK_TO, pa.string()),  # the closest picture of the reference by embedding; null where none is close
        (COSINE, pa.float32()),  # to it
        ("links", pa.list_(pa.struct([(IMAGE_ID, pa.string()), (COSINE, pa.float32())]))),  # to close embeddings
    ]
)

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

    max_distance: int  # bits
    conflicts: ConflictSettings
    leak_cosine: float | None = None
    semantic_cosine: float | None = None


@dataclass(frozen=True)
class _Case:
    """The members, sorted by component, and within one from the best picture to the worst."""

    rows: pa.Table  # (V,)
    pictures: pa.Table  # (N,) the first row of each picture
    signatures: Signatures  # (N,)
    votes: Votes  # (V,)
    links: Links
    references: pa.Table  # (R,)
    reference_signatures: Signatures  # (R,)
    equal_bytes: IntArray  # (N,) the reference of equal bytes, or MISSING


def verdicts(members: pa.Table, rules: Rules) -> pa.Table:
    """Decide on the pictures of whole components.

    Args:
        members: MEMBERS, in any order.

    Returns:
        VERDICTS: pictures alike to a picture of the reference are rejected as leaks; of the others, the best of each
        group of duplicates is kept.
    """
    case = _case(members)
    nearest = nearest_reference(case.signatures, case.reference_signatures, max_distance=rules.max_distance)
    leaked = np.where(case.equal_bytes == MISSING, nearest, case.equal_bytes)
    is_free = (leaked == MISSING) & _array(case.pictures.column(LEAK_TO).is_null())
    resolution = Resolution(
        case.signatures,
        case.votes,
        case.links,
        is_free,
        max_distance=rules.max_distance,
        elect=partial(elect, rules.conflicts),
    )
    return pa.concat_tables([_leaks(case, leaked, is_free, rules), _groups(case, resolution, is_free, rules)])


def _case(members: pa.Table) -> _Case:
    table = members.cast(MEMBERS).sort_by(_ORDER)
    # Pictures and references share their codes, so these are assigned before the two are separated.
    components, images = _codes(table.column(COMPONENT)), _codes(table.column(IMAGE_ID))
    signatures = Signatures(
        component=components,
        hash=_hashes(table.column(HASH)),
        flipped=_hashes(table.column(HASH_FLIPPED)),
        hash_is_reliable=_array(table.column("hash_is_reliable").fill_null(False)),
        pixels=_codes(table.column(PIXEL_DIGEST)),
    )
    is_reference = _array(table.column("is_reference"))
    rows, references = np.flatnonzero(~is_reference), np.flatnonzero(is_reference)
    is_first = np.diff(images[rows], prepend=MISSING) != 0
    firsts = rows[is_first]
    of_image = np.full(len(table), MISSING)
    of_image[images[references]] = np.arange(len(references))
    own_rows, pictures = table.take(pa.array(rows)), table.take(pa.array(firsts))
    return _Case(
        rows=own_rows,
        pictures=pictures,
        signatures=signatures.part(firsts),
        votes=Votes(
            picture=np.cumsum(is_first) - 1,
            name=_codes(own_rows.column(NAME)),
            num_rows=_array(own_rows.column("num_rows")),
            rank=_array(own_rows.column("rank")),
        ),
        links=_links(pictures),
        references=table.take(pa.array(references)),
        reference_signatures=signatures.part(references),
        equal_bytes=of_image[images[firsts]],
    )


def _links(pictures: pa.Table) -> Links:
    """The links between these pictures; links to other pictures are dropped."""
    lists = pictures.column("links").combine_chunks()
    linked = pc.list_flatten(lists)
    left = _array(pc.list_parent_indices(lists)).astype(np.int64)
    right = _array(pc.index_in(linked.field(0), pictures.column(IMAGE_ID)).fill_null(MISSING)).astype(np.int64)
    cosine = _array(linked.field(1)).astype(np.float64)
    is_here = right != MISSING
    return Links(left[is_here], right[is_here], cosine[is_here])


def _leaks(case: _Case, leaked: IntArray, is_free: BoolArray, rules: Rules) -> pa.Table:
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


def _groups(case: _Case, resolution: Resolution, is_free: BoolArray, rules: Rules) -> pa.Table:
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
    alike = case.signatures.are_alike(picture, case.signatures, head, rules.max_distance)
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
    case: _Case,
    resolution: Resolution,
    picture: IntArray,
    head: IntArray,
    alike: BoolArray,
    linked: BoolArray,
    rules: Rules,
) -> dict[str, pa.Array]:
    """The measurement that decided on a duplicate: the first criterion in which its keeper differs, or their cosine."""
    criteria = {name: _array(case.pictures.column(name)).astype(np.float64) for name in CRITERIA}
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


def _table(case: _Case, votes: IntArray, columns: dict[str, Any]) -> pa.Table:
    """VERDICTS on some votes; columns that are not given are null."""
    names = {name: case.rows.column(name).take(pa.array(votes)) for name in (IMAGE_ID, NAME)}
    given = {**names, **columns}
    arrays = [given.get(field.name, pa.nulls(len(votes), field.type)) for field in VERDICTS]
    return pa.table(arrays, names=VERDICTS.names).cast(VERDICTS)


def _codes(column: pa.ChunkedArray) -> IntArray:
    """A code for each value, in the order of first occurrence; MISSING for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return _array(encoded.indices.fill_null(MISSING)).astype(np.int64)


def _hashes(column: pa.ChunkedArray) -> UInt8Array:
    """Hashes (N, 32); zeros for null, which `hash_is_reliable` must exclude."""
    unknown = bytes(HASH_BITS // 8)
    joined = b"".join(unknown if value is None else value for value in column.to_pylist())
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(column), HASH_BITS // 8)


def _array(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = (
        column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    )
    return values
