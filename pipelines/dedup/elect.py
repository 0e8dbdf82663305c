"""Conflicts of names: the name that stays where alike pictures have two."""

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F

from pipelines.arrays import IntArray
from pipelines.settings import ConflictSettings

# The rank of every source that is not listed.
NOT_TRUSTED = 1 << 30


def elect(settings: ConflictSettings, names: IntArray, num_rows: IntArray, ranks: IntArray) -> int | None:
    """The name that stays in a group of duplicates; None where it cannot be decided.

    Args:
        names: (V,) codes of the names.
        num_rows: (V,) number of rows under the name.
        ranks: (V,) `source_rank` of the most trusted of their sources.
    """
    if settings.policy == "drop":
        return None
    if settings.policy == "trusted":
        best = np.unique(names[ranks == ranks.min()])
        return int(best[0]) if len(best) == 1 and ranks.min() < NOT_TRUSTED else None
    candidates, places = np.unique(names, return_inverse=True)
    rows = np.bincount(places, weights=num_rows)
    most = np.flatnonzero(rows == rows.max())
    return int(candidates[most[0]]) if len(most) == 1 else None


def source_rank(settings: ConflictSettings, source: Column) -> Column:
    """The position of a source in the list of trusted ones, NOT_TRUSTED where it is not listed."""
    ranked = F.lit(NOT_TRUSTED)
    for place in reversed(range(len(settings.trusted))):
        ranked = F.when(source.startswith(settings.trusted[place]), place).otherwise(ranked)
    return ranked.cast("long")
