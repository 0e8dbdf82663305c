"""One picture under two names: which of them stays."""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from pyspark.sql import Column
from pyspark.sql import functions as F

from pipelines.settings import Settings

IntArray = NDArray[np.int64]

# The rank of every source that is not listed.
NOT_TRUSTED = 1 << 30


class ConflictSettings(Settings):
    """Which name stays where a picture, or pictures that are alike, have two."""

    # drop: none, for which one is right cannot be told from the bytes, and one person under two labels costs a face
    # model more than the loss of the pictures. majority: that of more rows than any other. trusted: that which the
    # most trusted source gives.
    policy: Literal["drop", "majority", "trusted"] = "drop"
    trusted: tuple[str, ...] = ()  # how the names of sources begin, the most trusted first

    @model_validator(mode="after")
    def _says_whom_to_trust(self) -> Self:
        if self.policy == "trusted" and not self.trusted:
            raise ValueError("policy=trusted needs trusted=[...], how the sources begin, the most trusted first")
        return self

    def elect(self, names: IntArray, num_rows: IntArray, ranks: IntArray) -> int | None:
        """The name that stays in a group; None where it cannot be told.

        Args:
            names: (V,) numbers of the names.
            num_rows: (V,) that bear the name.
            ranks: (V,) of the most trusted of their sources.
        """
        if self.policy == "drop":
            return None
        if self.policy == "trusted":
            best = np.unique(names[ranks == ranks.min()])
            return int(best[0]) if len(best) == 1 and ranks.min() < NOT_TRUSTED else None
        candidates, places = np.unique(names, return_inverse=True)
        rows = np.bincount(places, weights=num_rows)
        most = np.flatnonzero(rows == rows.max())
        return int(candidates[most[0]]) if len(most) == 1 else None

    def rank(self, source: Column) -> Column:
        """The place of a source in the list."""
        ranked = F.lit(NOT_TRUSTED)
        for place in reversed(range(len(self.trusted))):
            ranked = F.when(source.startswith(self.trusted[place]), place).otherwise(ranked)
        return ranked.cast("long")
