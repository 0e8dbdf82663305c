"""The search inside one cell: all vectors are compared with all, by blocks of a matrix product (pure)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.arrays import Float32Array, IntArray, Vectors

_BLOCK = 1024


@dataclass(frozen=True)
class CosinePairs:
    """Pairs of rows of two matrices of vectors, and their cosines."""

    left: IntArray
    right: IntArray
    cosine: Float32Array


def close_pairs(vectors: Vectors, *, min_cosine: float, most: int) -> CosinePairs:
    """The pairs left < right of unit vectors (N, D) with a cosine of at least `min_cosine`, in order.

    Args:
        most: the number of nearest neighbours of a vector that count, so that the pairs do not grow with the square of
            the number of similar vectors; a pair is found if it counts for either of the two.
    """
    parts = [_block_pairs(vectors, start, min_cosine, most) for start in range(0, len(vectors), _BLOCK)]
    if not parts:
        return CosinePairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    one, other = (np.concatenate([getattr(part, side) for part in parts]) for side in ("left", "right"))
    cosines = np.concatenate([part.cosine for part in parts])
    left, right = np.minimum(one, other), np.maximum(one, other)
    _, first = np.unique(left * len(vectors) + right, return_index=True)
    return CosinePairs(left[first], right[first], cosines[first])


def nearest(vectors: Vectors, centres: Vectors, *, count: int) -> CosinePairs:
    """The `count` nearest centres (M, D) of each unit vector (N, D), or all of them if there are fewer."""
    count = min(count, len(centres))
    blocks = list(_products(vectors, centres)) if count else []
    order = [np.argsort(-cosines, axis=1, kind="stable")[:, :count] for _, cosines in blocks]
    best = [np.take_along_axis(cosines, first, axis=1) for (_, cosines), first in zip(blocks, order, strict=True)]
    return CosinePairs(
        np.repeat(np.arange(len(vectors)), count) if count else np.empty(0, np.int64),
        np.concatenate(order).ravel() if order else np.empty(0, np.int64),
        np.concatenate(best).ravel() if best else np.empty(0, np.float32),
    )


def prominence(vectors: Vectors, pairs: CosinePairs, *, cohort: int) -> Float32Array:
    """The prominence (P,) of each pair: its cosine, normalised by the cosines to near vectors.

    For either vector: the cosine minus the mean of the cosines to its `cohort` nearest others, in standard deviations
    of these; then the mean of both. This is the adaptive symmetric normalisation of speaker verification (Matejka et
    al., Interspeech 2017): it demands more of two vectors in a dense region. It is at most sqrt(cohort - 1).
    """
    cohort = min(cohort, len(vectors) - 1)
    if not len(pairs.left):
        return np.empty(0, np.float32)
    nearest_cosines = []
    for start, cosines in _products(vectors, vectors):
        rows = np.arange(len(cosines))
        cosines[rows, rows + start] = -np.inf
        nearest_cosines.append(-np.sort(np.partition(-cosines, cohort - 1, axis=1)[:, :cohort], axis=1))
    cosines_to_cohort = np.concatenate(nearest_cosines).astype(np.float64)
    mean = cosines_to_cohort.mean(axis=1)
    spread = np.maximum(cosines_to_cohort.std(axis=1), 1e-6)
    sides = [(pairs.cosine - mean[side]) / spread[side] for side in (pairs.left, pairs.right)]
    found: Float32Array = (np.mean(sides, axis=0)).astype(np.float32)
    return found


def _block_pairs(vectors: Vectors, start: int, min_cosine: float, most: int) -> CosinePairs:
    cosines = vectors[start : start + _BLOCK] @ vectors.T
    rows = np.arange(len(cosines))
    cosines[rows, rows + start] = -np.inf
    floors = np.full(len(cosines), min_cosine, np.float32)
    if most < len(vectors):
        floors = np.maximum(floors, -np.partition(-cosines, most - 1, axis=1)[:, most - 1])
    left, right = np.nonzero(cosines >= floors[:, None])
    return CosinePairs(left + start, right, cosines[left, right])


def _products(vectors: Vectors, others: Vectors) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, len(vectors), _BLOCK):
        yield start, vectors[start : start + _BLOCK] @ others.T
