"""The data type of a verification test: pairs of pictures, each with the answer whether they show one person."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.arrays import BoolArray, IntArray
from pipelines.settings import UserError

MIN_FOLDS = 2  # the threshold of a fold is chosen on the others


@dataclass(frozen=True)
class Pictures:
    """N encoded pictures, read in slices, so that each rank holds only those that it embeds."""

    names: Sequence[str]  # N names, for messages
    read: Callable[[int, int], Sequence[bytes]]  # (start, stop) -> the bytes of that slice

    def __len__(self) -> int:
        return len(self.names)


def held(names: Sequence[str], images: Sequence[bytes]) -> Pictures:
    """Pictures in memory."""
    assert len(names) == len(images)
    return Pictures(names, lambda start, stop: images[start:stop])


@dataclass(frozen=True)
class PairSet:
    """P pairs among N pictures, divided into K folds of a cross-validation."""

    pictures: Pictures
    left: IntArray  # (P,), 0..N-1
    right: IntArray  # (P,)
    is_same: BoolArray  # (P,)
    fold: IntArray  # (P,), 0..K-1
    about: str  # description of the source, for people

    def __post_init__(self) -> None:
        assert len(self.left) == len(self.right) == len(self.is_same) == len(self.fold)

    def __len__(self) -> int:
        return len(self.left)


def contiguous_folds(num_pairs: int, folds: int, *, place: str) -> IntArray:
    """Divide pairs into contiguous folds whose sizes differ by one at most; the earlier folds are the larger.

    Raises:
        UserError: there are fewer pairs than folds.
    """
    if num_pairs < folds:
        raise UserError(f"{place} has {num_pairs} pairs for {folds} folds; set folds to at most {num_pairs}")
    parts = np.array_split(np.arange(num_pairs), folds)
    return np.repeat(np.arange(folds), [len(part) for part in parts]).astype(np.int64)
