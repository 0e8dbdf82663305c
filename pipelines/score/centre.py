"""What an identity looks like, in spite of pictures that are not of it: a trimmed mean of unit vectors (pure).

The worst pictures are left out of the mean by a share, as the trimmed mean of robust statistics does (Tukey, 1962), and
a picture inside it is held against the mean of the others: against a mean that holds itself it would always look well,
the better the fewer the pictures are.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import BoolArray, Float64Array, Vectors

# Each round looks for the worst from a better mean; the set seldom changes after the second.
_ROUNDS = 3


@dataclass(frozen=True)
class Centre:
    """The centre of an identity."""

    total: Float64Array  # (D,), the sum of the vectors that were left in
    inside: BoolArray  # (N,), which of the vectors that it was made from these are

    @property
    def direction(self) -> Vectors:
        """(D,), of unit length; zeros where the vectors cancel out."""
        length = np.linalg.norm(self.total)
        scaled: Vectors = (self.total / (length if length > 0 else 1.0)).astype(np.float32)
        return scaled


def trimmed_centre(vectors: Vectors, trim: float) -> Centre:
    """The mean direction of unit vectors (N, D) without the share `trim` of them that lie farthest from it.

    At least one vector is left in; of vectors that lie equally far the first are.
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
    """The cosine (N,) of each of the vectors (N, D) that the centre was made from to the mean of the others inside.

    NaN where there are no others.
    """
    wide = vectors.astype(np.float64)
    others = centre.total - wide * centre.inside[:, None]
    lengths = np.linalg.norm(others, axis=1)
    # What is left of a sum of unit vectors when all are taken out again is dust.
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: Float64Array = np.einsum("nd,nd->n", wide, others) / np.where(lengths > 1e-6, lengths, np.nan)
    return cosines
