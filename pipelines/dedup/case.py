"""The members of whole components as arrays: the pictures to decide on, their names and links, and the references."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.arrays import IntArray, UInt8Array
from pipelines.dedup.keepers import Links, Votes
from pipelines.dedup.signatures import MISSING, Signatures
from pipelines.hashing import THUMBNAIL_SIDE_PX
from pipelines.identity import NAME
from pipelines.leak import LEAK_TO
from pipelines.records import COSINE, HASH, HASH_BITS, HASH_FLIPPED, IMAGE_ID, PIXEL_DIGEST, THUMBNAIL
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
        (THUMBNAIL, pa.large_binary()),  # null where no second look is wanted
        (PIXEL_DIGEST, pa.binary()),
        (LEAK_TO, pa.string()),  # the closest picture of the reference by embedding; null where none is close
        (COSINE, pa.float32()),  # to it
        ("links", pa.list_(pa.struct([(IMAGE_ID, pa.string()), (COSINE, pa.float32())]))),  # to close embeddings
    ]
)


@dataclass(frozen=True)
class Case:
    """The members as arrays, sorted by component, and within one from the best picture to the worst."""

    rows: pa.Table  # (V,)
    pictures: pa.Table  # (N,) the first row of each picture
    signatures: Signatures  # (N,)
    votes: Votes  # (V,)
    links: Links
    references: pa.Table  # (R,)
    reference_signatures: Signatures  # (R,)
    equal_bytes: IntArray  # (N,) the reference of equal bytes, or MISSING


def case_of(members: pa.Table) -> Case:
    """Separate `MEMBERS`, in any order, into pictures, votes, links and references."""
    table = members.cast(MEMBERS).sort_by(_ORDER)
    # Pictures and references share their codes, so these are assigned before the two are separated.
    components, images = _codes(table.column(COMPONENT)), _codes(table.column(IMAGE_ID))
    signatures = Signatures(
        component=components,
        hash=_hashes(table.column(HASH)),
        flipped=_hashes(table.column(HASH_FLIPPED)),
        hash_is_reliable=array(table.column("hash_is_reliable").fill_null(False)),
        pixels=_codes(table.column(PIXEL_DIGEST)),
        thumbnail=_codes_of_known(table.column(THUMBNAIL)),
        thumbnails=_thumbnails(table.column(THUMBNAIL)),
    )
    is_reference = array(table.column("is_reference"))
    rows, references = np.flatnonzero(~is_reference), np.flatnonzero(is_reference)
    is_first = np.diff(images[rows], prepend=MISSING) != 0
    firsts = rows[is_first]
    of_image = np.full(len(table), MISSING)
    of_image[images[references]] = np.arange(len(references))
    own_rows, pictures = table.take(pa.array(rows)), table.take(pa.array(firsts))
    return Case(
        rows=own_rows,
        pictures=pictures,
        signatures=signatures.part(firsts),
        votes=Votes(
            picture=np.cumsum(is_first) - 1,
            name=_codes(own_rows.column(NAME)),
            num_rows=array(own_rows.column("num_rows")),
            rank=array(own_rows.column("rank")),
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
    left = array(pc.list_parent_indices(lists)).astype(np.int64)
    right = array(pc.index_in(linked.field(0), pictures.column(IMAGE_ID)).fill_null(MISSING)).astype(np.int64)
    cosine = array(linked.field(1)).astype(np.float64)
    is_here = right != MISSING
    return Links(left[is_here], right[is_here], cosine[is_here])


def _codes(column: pa.ChunkedArray) -> IntArray:
    """A code for each value, in the order of first occurrence; MISSING for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return array(encoded.indices.fill_null(MISSING)).astype(np.int64)


def _hashes(column: pa.ChunkedArray) -> UInt8Array:
    """Hashes (N, 32); zeros for null, which `hash_is_reliable` must exclude."""
    unknown = bytes(HASH_BITS // 8)
    joined = b"".join(unknown if value is None else value for value in column.to_pylist())
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(column), HASH_BITS // 8)


def _codes_of_known(column: pa.ChunkedArray) -> IntArray:
    """The number of known values before each one; MISSING for null."""
    is_known = array(column.is_valid())
    return np.where(is_known, np.cumsum(is_known) - 1, MISSING)


def _thumbnails(column: pa.ChunkedArray) -> UInt8Array:
    """The known thumbnails (T, 48, 48)."""
    joined = b"".join(column.drop_null().to_pylist())
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)


def array(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """The values of a column without nulls."""
    values: NDArray[Any] = (
        column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    )
    return values
