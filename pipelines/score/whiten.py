"""Directions that all pictures share say little of who is shown; whitening gives each direction the same say (pure).

The vectors are centred, turned to the principal axes of their covariance and divided by the spread along each: the
cosine of what comes out is that of the Mahalanobis metric. With few vectors the covariance is shrunk towards a sphere,
by the share that Ledoit and Wolf derive (J. Multivariate Analysis 88, 2004), so that axes without evidence are not
blown up.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import Float64Array, Vectors
from pipelines.embedder import unit


@dataclass(frozen=True)
class Whitening:
    """How vectors become white."""

    mean: Float64Array  # (D,)
    axes: Float64Array  # (D, D), a column per axis, divided by the spread along it

    def __call__(self, vectors: Vectors) -> Vectors:
        """(N, D) to white vectors (N, D) of unit length."""
        return unit((vectors - self.mean) @ self.axes)


def find_whitening(sample: Vectors) -> Whitening:
    """From vectors (N, D); those that do not differ at all are only centred."""
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    count, dimensions = centred.shape
    covariance = centred.T @ centred / count
    variance = np.trace(covariance) / dimensions  # of the sphere
    if not variance > 0:
        return Whitening(mean, np.eye(dimensions))
    sphere = variance * np.eye(dimensions)
    distance = np.sum((covariance - sphere) ** 2)
    # How far the outer products of single vectors lie from their mean, which is the covariance.
    noise = (np.sum(np.sum(centred**2, axis=1) ** 2) / count - np.sum(covariance**2)) / count
    share = min(1.0, noise / distance) if distance > 0 else 1.0
    values, axes = np.linalg.eigh((1 - share) * covariance + share * sphere)
    # Rounding can leave an axis without any spread just below zero.
    return Whitening(mean, axes / np.sqrt(np.maximum(values, 1e-12 * variance)))
