"""The Arrow passes of the scores: over the pictures of each identity, and over the vectors of each cell."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.arrays import Float32Array, Float64Array, Vectors
from pipelines.embedder import unit
from pipelines.records import COSINE, EMBEDDING, IDENTITY, IMAGE_ID, LEFT, OWN_COSINE, PROMINENCE, RIGHT
from pipelines.score.cells import nearest_cells
from pipelines.score.centre import cosines_to, trimmed_centre
from pipelines.score.cosine_search import CosinePairs, close_pairs, nearest, prominence
from pipelines.score.whiten import Whitening
from pipelines.tables.arrow import runs, to_lists, to_matrix

KIND, NAME, CELL, WHITE = "kind", "name", "cell", "white"
CENTRE, PICTURE = 0, 1  # kinds of vectors
NEAREST, MERGE, NEIGHBOUR = 0, 1, 2  # kinds of found pairs

# A row without image_id is the identity itself: its trimmed centre, and the plain mean of its white vectors.
_FITTED = (IMAGE_ID, IDENTITY, OWN_COSINE, EMBEDDING, WHITE)
_SPREAD = (KIND, NAME, EMBEDDING, WHITE)
_LIST = "array<float>"
FITTED_ROWS = f"{IMAGE_ID} string, {IDENTITY} string, {OWN_COSINE} float, {EMBEDDING} {_LIST}, {WHITE} {_LIST}"
SPREAD_ROWS = f"{KIND} int, {NAME} string, {EMBEDDING} {_LIST}, {WHITE} {_LIST}, {CELL} int"
FOUND_ROWS = f"{KIND} int, {LEFT} string, {RIGHT} string, {COSINE} float, {PROMINENCE} float"

# The centre of a larger identity is that of its first pictures; ids are digests, so they are a random sample.
_MOST_IN_CENTRE = 16384
_COHORT = 20  # nearest identities, to which the cosine of a pair is compared for its prominence
_NUM_CANDIDATES = 2  # centres of each picture; one of them may be that of its own identity

Batches = Iterable[pa.RecordBatch]
Work = Callable[[Batches], Iterator[pa.RecordBatch]]


def fitter(trim: float, whiten: Whitening) -> Work:
    """A pass over rows sorted by identity and image_id; returns cosines to the centre and the centre: `FITTED_ROWS`."""

    def fit(batches: Batches) -> Iterator[pa.RecordBatch]:
        for identity, parts in _runs(batches, IDENTITY):
            yield from _fit(identity, parts, trim, whiten)

    return fit


def spreader(means: Vectors, count: int) -> Work:
    """A pass over rows of `kind`, `name` and `embedding`; returns each once per cell: `SPREAD_ROWS`."""

    def spread(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            cells = nearest_cells(to_matrix(batch.column(EMBEDDING)), means, count)
            for place in range(cells.shape[1]):
                cell = pa.array(cells[:, place].astype(np.int32))
                columns = [batch.column(name) for name in _SPREAD]
                yield pa.RecordBatch.from_arrays([*columns, cell], names=[*_SPREAD, CELL])

    return spread


def searcher(*, min_merge_cosine: float, min_neighbour_cosine: float, most: int) -> Work:
    """A pass over rows sorted by cell, kind and name; returns the close pairs: `FOUND_ROWS`."""

    def search(batches: Batches) -> Iterator[pa.RecordBatch]:
        for _, parts in _runs(batches, CELL):
            cell = _joined(list(parts))
            centre_rows, picture_rows = (cell.filter(pc.equal(cell.column(KIND), kind)) for kind in (CENTRE, PICTURE))
            identities, pictures = centre_rows.column(NAME), picture_rows.column(NAME)
            centres, whites = to_matrix(centre_rows[EMBEDDING]), to_matrix(centre_rows[WHITE])
            embeddings = to_matrix(picture_rows[EMBEDDING])
            yield _found(NEAREST, nearest(embeddings, centres, count=_NUM_CANDIDATES), pictures, identities)
            merges = close_pairs(whites, min_cosine=min_merge_cosine, most=most)
            prominences = prominence(whites, merges, cohort=_COHORT)
            yield _found(MERGE, merges, identities, identities, prominences)
            neighbours = close_pairs(embeddings, min_cosine=min_neighbour_cosine, most=most)
            yield _found(NEIGHBOUR, neighbours, pictures, pictures)

    return search


def _fit(identity: str, parts: Iterator[pa.RecordBatch], trim: float, whiten: Whitening) -> Iterator[pa.RecordBatch]:
    """Score the pictures of one identity; only those that make its centre are in memory together."""
    first, rest = _first_rows(parts, _MOST_IN_CENTRE)
    vectors = to_matrix(first.column(EMBEDDING))
    centre = trimmed_centre(vectors, trim)
    yield _fitted(first.column(IMAGE_ID), identity, cosines_to(centre, vectors))
    direction = centre.direction
    for part in rest:
        cosines = to_matrix(part.column(EMBEDDING)).astype(np.float64) @ direction
        yield _fitted(part.column(IMAGE_ID), identity, cosines)
    # This mean is not trimmed: wrong pictures are of many people, and losing a third of few pictures costs more.
    white = unit(whiten(vectors).sum(axis=0, keepdims=True, dtype=np.float64))
    vectors_of = [to_lists(direction[None]), to_lists(white)]
    columns = [pa.nulls(1, pa.string()), pa.array([identity]), pa.nulls(1, pa.float32()), *vectors_of]
    yield pa.RecordBatch.from_arrays(columns, names=list(_FITTED))


def _fitted(image_ids: pa.Array, identity: str, cosines: Float64Array) -> pa.RecordBatch:
    count = len(image_ids)
    own = pa.array(cosines.astype(np.float32), from_pandas=True)  # NaN becomes null
    none = pa.nulls(count, pa.list_(pa.float32()))
    columns = [image_ids, pa.array([identity] * count), own, none, none]
    return pa.RecordBatch.from_arrays(columns, names=list(_FITTED))


def _first_rows(parts: Iterator[pa.RecordBatch], count: int) -> tuple[pa.RecordBatch, Iterator[pa.RecordBatch]]:
    """Split off exactly `count` rows, or all if there are fewer; return them and the rest."""
    taken: list[pa.RecordBatch] = []
    missing = count
    for part in parts:
        taken.append(part.slice(0, missing))
        missing -= taken[-1].num_rows
        if not missing:
            left = part.slice(taken[-1].num_rows)
            return _joined(taken), itertools.chain([left] if left.num_rows else [], parts)
    return _joined(taken), iter(())


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    (whole,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return whole


def _found(
    kind: int, found: CosinePairs, left: pa.Array, right: pa.Array, prominences: Float32Array | None = None
) -> pa.RecordBatch:
    count = len(found.left)
    columns = [
        pa.array(np.full(count, kind, np.int32)),
        left.take(pa.array(found.left)),
        right.take(pa.array(found.right)),
        pa.array(found.cosine),
        pa.nulls(count, pa.float32()) if prominences is None else pa.array(prominences),
    ]
    return pa.RecordBatch.from_arrays(columns, names=[KIND, LEFT, RIGHT, COSINE, PROMINENCE])


def _runs(batches: Batches, column: str) -> Iterator[tuple[Any, Iterator[pa.RecordBatch]]]:
    """Each value of a sorted column and its rows, which must be consumed before the next value."""
    for value, slices in itertools.groupby(runs(batches, column), key=operator.itemgetter(0)):
        yield value, (part for _, part in slices)
