"""Measurements that predict the identity: the share of each one's variance that lies between the identities.

A model can learn whatever predicts the label. If every identity has its own brightness or file size (one camera, one
website each), it may learn that instead of the face.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.contents import Contents
from jobs.report.kept import kept_records
from jobs.report.section import Body
from pipelines.records import IDENTITY, MEASUREMENTS

# Every number of the records that is a quantity: the orientation is a code.
MEASURED = tuple(
    field.name
    for field in MEASUREMENTS
    if (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)) and field.name != "orientation"
)

# From here on a measurement is marked. Cohen (Statistical Power Analysis for the Behavioral Sciences, 1988, 8.2) calls
# 14 % of the variance a large effect; few pictures reach that by chance, which the second bound rules out.
LARGE_SHARE = 0.14
CLEAR_DEVIATIONS = 4.0

# So many rows of partial sums wait before they are merged: the memory is that of the identities, not of the pictures.
_MERGE_ROWS = 1_000_000

# Prefixes of the columns of sums.
_COUNT, _SUM, _SQUARE = "count:", "sum:", "squares:"

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Extreme:
    """An identity and the mean of its pictures."""

    identity: str
    mean: float


@dataclass(frozen=True)
class Spread:
    """One measurement, over the identities."""

    measurement: str
    share: float | None  # of the variance, between identities, corrected for chance; None where it cannot be measured
    predicts_label: bool
    lowest: Extreme
    highest: Extreme


def build(contents: Contents) -> Body:
    """The section."""
    records, decisions = contents.newest("records"), contents.newest("decisions")
    if records is None or decisions is None:
        return Body(pending="Curation")
    kept = kept_records(records, decisions, [IDENTITY, *MEASURED])
    return Body({"spreads": spreads(kept), "large_share": LARGE_SHARE})


def spreads(pieces: Iterable[pa.Table]) -> list[Spread]:
    """The spread of each of `MEASURED` over the identities; without those that no picture has.

    Args:
        pieces: `identity` and the columns of `MEASURED`, in any number of rows.
    """
    origins: dict[str, float] = {}
    merged = _merge(_sum_up(piece, origins) for piece in pieces)
    if merged is None:
        return []
    ordered = merged.sort_by(IDENTITY)
    return [_spread(name, ordered, origins[name]) for name in MEASURED if name in origins]


def share_between(counts: Sums, sums: Sums, squares: Sums) -> tuple[float | None, bool]:
    """The share of the variance that lies between groups, and whether it is large and clearly above chance.

    The share is epsilon squared (Kelley, PNAS 1935, 21(9); least biased of its kind: Okada, Behaviormetrika 2013,
    40(2)): 1 - MS_within / MS_total, that is 0 on average where the groups mean nothing. Chance is that of the plain
    share SS_between / SS_total, which for k groups of N normal values is Beta((k - 1) / 2, (N - k) / 2).

    Args:
        counts, sums, squares: (k,), of the values of each group: how many (none is 0), their sum, the sum of squares.

    Returns:
        (None, False) where there is one group, one value per group, or one value in all.
    """
    k, n = len(counts), float(counts.sum())
    correction = float(sums.sum()) ** 2 / n
    total = float(squares.sum()) - correction
    between = float((sums**2 / counts).sum()) - correction
    if k < 2 or n <= k or total <= 0:
        return None, False
    share = 1 - (total - between) / (n - k) / (total / (n - 1))
    expected = (k - 1) / (n - 1)
    deviation = (2 * (k - 1) * (n - k) / (n + 1)) ** 0.5 / (n - 1)
    return share, share >= LARGE_SHARE and between / total >= expected + CLEAR_DEVIATIONS * deviation


def _spread(name: str, sums: pa.Table, origin: float) -> Spread:
    present = sums.filter(pc.greater(sums[_COUNT + name], 0))
    counts, totals, squares = (present[of + name].to_numpy().astype(np.float64) for of in (_COUNT, _SUM, _SQUARE))
    share, predicts = share_between(counts, totals, squares)
    means = origin + totals / counts
    low, high = (int(at) for at in (means.argmin(), means.argmax()))
    lowest, highest = (Extreme(present[IDENTITY][at].as_py(), float(means[at])) for at in (low, high))
    return Spread(name, share, predicts, lowest, highest)


def _sum_up(piece: pa.Table, origins: dict[str, float]) -> pa.Table:
    """Count, sum and sum of squares by identity, of the differences to an origin."""
    columns = {IDENTITY: piece[IDENTITY]}
    for name in MEASURED:
        values = pc.cast(piece[name], pa.float64())
        known = values.drop_null()
        if name not in origins and len(known):
            # Any of its values will do: the squares of large numbers that differ little would lose the difference.
            origins[name] = known[0].as_py()
        shifted = pc.subtract(values, origins.get(name, 0.0))
        columns |= {
            _COUNT + name: pc.cast(pc.is_valid(values), pa.int64()),
            _SUM + name: shifted,
            _SQUARE + name: pc.multiply(shifted, shifted),
        }
    return _by_identity(pa.table(columns))


def _merge(partials: Iterator[pa.Table]) -> pa.Table | None:
    waiting: list[pa.Table] = []
    for partial in partials:
        waiting.append(partial)
        if sum(map(len, waiting[1:])) > max(_MERGE_ROWS, len(waiting[0])):
            waiting = [_by_identity(pa.concat_tables(waiting))]
    return _by_identity(pa.concat_tables(waiting)) if waiting else None


def _by_identity(table: pa.Table) -> pa.Table:
    names: Sequence[str] = [name for name in table.column_names if name != IDENTITY]
    # One thread adds in the order of the rows, so that the same rows give the same sums to the last bit.
    grouped = table.group_by(IDENTITY, use_threads=False).aggregate([(name, "sum") for name in names])
    return grouped.rename_columns([name.removesuffix("_sum") for name in grouped.column_names])
