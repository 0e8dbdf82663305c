"""The Arrow passes of the scores: along the pictures of each identity, and along the vectors of each cell."""

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
NEAREST, MERGE, NEIGHBOUR = 0, 1, 2  # kinds of what is found

# A row without image_id is the identity itself: its trimmed centre, and the plain mean of its white vectors.
_FITTED = (IMAGE_ID, IDENTITY, OWN_COSINE, EMBEDDING, WHITE)
_SPREAD = (KIND, NAME, EMBEDDING, WHITE)
_LIST = "array<float>"
FITTED_ROWS = f"{IMAGE_ID} string, {IDENTITY} string, {OWN_COSINE} float, {EMBEDDING} {_LIST}, {WHITE} {_LIST}"
SPREAD_ROWS = f"{KIND} int, {NAME} string, {EMBEDDING} {_LIST}, {WHITE} {_LIST}, {CELL} int"
FOUND_ROWS = f"{KIND} int, {LEFT} string, {RIGHT} string, {COSINE} float, {PROMINENCE} float"

# A larger identity gets its centre from its first so many pictures: their ids are digests, so that is a fair sample.
_MOST_IN_CENTRE = 16384
_COHORT = 20  # of near identities, among which one that is nearer must stand out
_NUM_CANDIDATES = 2  # centres: one of them may be the picture's own identity

Batches = Iterable[pa.RecordBatch]
Work = Callable[[Batches], Iterator[pa.RecordBatch]]


def fitter(trim: float, whiten: Whitening) -> Work:
    """Rows in order of identity and image_id -> their cosines to the centre, and the identity: `FITTED_ROWS`."""

    def fit(batches: Batches) -> Iterator[pa.RecordBatch]:
        for identity, parts in _runs(batches, IDENTITY):
            yield from _fit(identity, parts, trim, whiten)

    return fit


def spreader(means: Vectors, count: int) -> Work:
    """Rows of `kind`, `name` and `embedding` -> each once for every cell that it lies in: `SPREAD_ROWS`."""

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
    """Rows in order of cell, kind and name -> what is close to what: `FOUND_ROWS`."""

    def search(batches: Batches) -> Iterator[pa.RecordBatch]:
        for _, parts in _runs(batches, CELL):
            cell = _joined(list(parts))
            people, photos = (cell.filter(pc.equal(cell.column(KIND), kind)) for kind in (CENTRE, PICTURE))
            identities, pictures = people.column(NAME), photos.column(NAME)
            centres, whites, embeddings = map(to_matrix, (people[EMBEDDING], people[WHITE], photos[EMBEDDING]))
            yield _found(NEAREST, nearest(embeddings, centres, count=_NUM_CANDIDATES), pictures, identities)
            merges = close_pairs(whites, min_cosine=min_merge_cosine, most=most)
            standing_out = prominence(whites, merges, cohort=_COHORT)
            yield _found(MERGE, merges, identities, identities, standing_out)
            neighbours = close_pairs(embeddings, min_cosine=min_neighbour_cosine, most=most)
            yield _found(NEIGHBOUR, neighbours, pictures, pictures)

    return search


def _fit(identity: str, parts: Iterator[pa.RecordBatch], trim: float, whiten: Whitening) -> Iterator[pa.RecordBatch]:
    """The pictures of one identity, however many they are: only those that make its centre are held at once."""
    first, rest = _first_rows(parts, _MOST_IN_CENTRE)
    vectors = to_matrix(first.column(EMBEDDING))
    centre = trimmed_centre(vectors, trim)
    yield _fitted(first.column(IMAGE_ID), identity, cosines_to(centre, vectors))
    direction = centre.direction
    for part in rest:
        cosines = to_matrix(part.column(EMBEDDING)).astype(np.float64) @ direction
        yield _fitted(part.column(IMAGE_ID), identity, cosines)
    # Nothing is left out of this one: the wrong pictures are of many people, and to lose a third of few costs more.
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
    """Exactly so many rows, or all of fewer, whatever the batches; and what is left."""
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
    kind: int, found: CosinePairs, left: pa.Array, right: pa.Array, prominence: Float32Array | None = None
) -> pa.RecordBatch:
    count = len(found.left)
    columns = [
        pa.array(np.full(count, kind, np.int32)),
        left.take(pa.array(found.left)),
        right.take(pa.array(found.right)),
        pa.array(found.cosine),
        pa.nulls(count, pa.float32()) if prominence is None else pa.array(prominence),
    ]
    return pa.RecordBatch.from_arrays(columns, names=[KIND, LEFT, RIGHT, COSINE, PROMINENCE])


def _runs(batches: Batches, column: str) -> Iterator[tuple[Any, Iterator[pa.RecordBatch]]]:
    """Each value of a column that the rows are in order of, and its rows; to be taken before the next value's."""
    for value, slices in itertools.groupby(runs(batches, column), key=operator.itemgetter(0)):
        yield value, (part for _, part in slices)
