"""The centre of an identity, robust against pictures of other people: a trimmed mean of unit vectors (pure).

A share of the farthest pictures is left out of the mean, as in the trimmed mean of robust statistics (Tukey, 1962). A
picture inside the mean is compared with the mean of the others, since a mean that includes the picture itself is biased
towards it, the more the fewer pictures there are.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import BoolArray, Float64Array, Vectors

# Each round trims by a better mean; the set seldom changes after the second.
_ROUNDS = 3


@dataclass(frozen=True)
class Centre:
    """The centre of an identity."""

    total: Float64Array  # (D,), the sum of the vectors inside
    inside: BoolArray  # (N,), the vectors that are in the sum

    @property
    def direction(self) -> Vectors:
        """The direction (D,) of the sum, of unit length; zeros where the vectors cancel out."""
        length = np.linalg.norm(self.total)
        scaled: Vectors = (self.total / (length if length > 0 else 1.0)).astype(np.float32)
        return scaled


def trimmed_centre(vectors: Vectors, trim: float) -> Centre:
    """The mean direction of unit vectors (N, D) without the share `trim` of them that are farthest from it.

    At least one vector stays inside; among equally far vectors the first ones.
    """
    wide = vectors.astype(np.float64)
    num_inside = max(1, len(wide) - int(trim * len(wide)))
    total = wide.sum(axis=0)
    inside = np.ones(len(wide), bool)
    for _ in range(_ROUNDS if num_inside < len(wide) else 0):
        best = np.argsort(-(wide @ total), kind="stable")[:num_inside]
        inside = np.zeros(len(wide), bool)
        inside[best] = True
        total = wide[inside].sum(axis=0)
    return Centre(total, inside)


def cosines_to(centre: Centre, vectors: Vectors) -> Float64Array:
    """The cosine (N,) of each of the centre's own vectors (N, D) to the mean of the others inside.

    NaN where there are no others.
    """
    wide = vectors.astype(np.float64)
    others = centre.total - wide * centre.inside[:, None]
    lengths = np.linalg.norm(others, axis=1)
    # Subtracting all vectors from their sum leaves rounding errors.
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: Float64Array = np.einsum("nd,nd->n", wide, others) / np.where(lengths > 1e-6, lengths, np.nan)
    return cosines
