"""Whitening of embeddings, which gives all directions the same weight (pure).

Directions in which all pictures vary contain little about identity. The vectors are centred, rotated to the principal
axes of their covariance and divided by the standard deviation along each, so that cosines become those of the
Mahalanobis metric. With few vectors the covariance is shrunk towards a sphere, by the share of Ledoit and Wolf (J.
Multivariate Analysis 88, 2004), so that poorly estimated axes are not amplified.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import Float64Array, Vectors
from pipelines.embedder import unit


@dataclass(frozen=True)
class Whitening:
    """The whitening transform."""

    mean: Float64Array  # (D,)
    axes: Float64Array  # (D, D), a column per axis, divided by the standard deviation along it

    def __call__(self, vectors: Vectors) -> Vectors:
        """Transform vectors (N, D) to white vectors (N, D) of unit length."""
        return unit((vectors - self.mean) @ self.axes)


def find_whitening(sample: Vectors) -> Whitening:
    """Estimate the transform from vectors (N, D); if they are all equal it only centres."""
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    count, dimensions = centred.shape
    covariance = centred.T @ centred / count
    variance = np.trace(covariance) / dimensions  # of the sphere
    if not variance > 0:
        return Whitening(mean, np.eye(dimensions))
    sphere = variance * np.eye(dimensions)
    distance = np.sum((covariance - sphere) ** 2)
    # Variance of the outer products of single vectors around their mean, the covariance.
    noise = (np.sum(np.sum(centred**2, axis=1) ** 2) / count - np.sum(covariance**2)) / count
    share = min(1.0, noise / distance) if distance > 0 else 1.0
    values, axes = np.linalg.eigh((1 - share) * covariance + share * sphere)
    # Rounding can make the variance along an axis negative.
    return Whitening(mean, axes / np.sqrt(np.maximum(values, 1e-12 * variance)))
