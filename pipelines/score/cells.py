"""Blocking of vectors into cells: only vectors that share a cell are compared (pure).

The cells are those of spherical k-means (Dhillon and Modha, Machine Learning 42, 2001) on a sample; a vector is in the
cells of its few nearest means, since a border may separate two close vectors. A small set is one cell, in which all
vectors are compared with all.
"""

import numpy as np

from pipelines.arrays import IntArray, Vectors
from pipelines.embedder import unit

_ROUNDS = 10
SAMPLED_PER_CELL = 64


def plan_cells(num_vectors: int, *, vectors_per_cell: int) -> int:
    """The number of cells for `num_vectors` vectors."""
    return max(1, -(-num_vectors // vectors_per_cell))


def find_means(sample: Vectors, num_cells: int) -> Vectors:
    """The means (C, D) of the cells, of unit length, from unit vectors (N, D) in random order.

    They start at the first vectors; the mean of an empty cell stays as it is.
    """
    means = sample[:num_cells].copy()
    for _ in range(_ROUNDS):
        nearest = nearest_cells(sample, means, 1)[:, 0]
        sums = np.zeros(means.shape, np.float64)
        np.add.at(sums, nearest, sample)
        moved = np.bincount(nearest, minlength=len(means)) > 0
        means[moved] = unit(sums[moved])
    return means


def nearest_cells(vectors: Vectors, means: Vectors, count: int) -> IntArray:
    """The indices (N, count) of the nearest means of each vector, nearest first; all of them if there are fewer."""
    order = np.argsort(-(vectors @ means.T), axis=1, kind="stable")
    return order[:, :count]
