"""The quality of the shuffle of an epoch: the frequency with which rows of one row group meet in a batch.

In a true permutation of N rows two of one row group are as likely to meet in a batch of B as any two: with probability
(B - 1) / (N - 1), by symmetry. A feed that mixes M rows at a time brings them together about N / M times as often; one
that takes few rows from each of many streams, more seldom. The figure is the ratio to the true permutation's.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from pipelines.arrays import IntArray
from training.feed.plans.plan import Load
from training.feed.plans.rows import Order

# Batches looked at: runs of neighbours, spread over the epoch, since its first blocks are of another size.
RUNS = 16
RUN_STEPS = 16


def meeting_ratio(batches: IntArray, group_rows: Sequence[int]) -> float:
    """The frequency with which rows of one row group meet in a batch, relative to a true permutation.

    Args:
        batches: (T, B) the row group of each row of T of an epoch's batches.
        group_rows: rows of each row group of the set.

    Returns:
        The ratio of the mean number of such pairs in a batch to its expectation; 1 where no row group has two rows.
    """
    sizes = np.asarray(group_rows, dtype=np.float64)
    num_rows, batch_size = sizes.sum(), batches.shape[1]
    expected = _pairs(sizes) * batch_size * (batch_size - 1) / max(1.0, num_rows * (num_rows - 1))
    if expected == 0.0:
        return 1.0
    met = [_pairs(np.unique(batch, return_counts=True)[1].astype(np.float64)) for batch in batches]
    return float(np.mean(met) / expected)


def shuffle_line(group_rows: Sequence[int], number: int, *, seed: int, global_batch_size: int) -> str:
    """One line on the shuffle of ``number`` row groups at a time, and of a quarter and four times as many."""
    offered = sorted({number, max(1, number // 4), number * 4})
    found = shuffle_quality(group_rows, offered, seed=seed, global_batch_size=global_batch_size)
    ratio = found.pop(number)
    others = ", ".join(f"{other}: {times:.1f}" for other, times in found.items())
    return (
        f"with feed.shuffle_row_groups={number}, rows of one row group meet in a batch {ratio:.1f} times as often "
        f"as in a true permutation ({others})"
    )


def shuffle_quality(
    group_rows: Sequence[int], offered: Sequence[int], *, seed: int, global_batch_size: int
) -> dict[int, float]:
    """The `meeting_ratio` of the first epoch for each number of row groups that might be mixed at a time."""
    orders = {
        number: Order(group_rows, seed=seed, global_batch_size=global_batch_size, shuffle_row_groups=number)
        for number in offered
    }
    return {number: meeting_ratio(_sample(order), group_rows) for number, order in orders.items()}


def _sample(order: Order) -> IntArray:
    """The row groups (T, B) of the rows of some global batches."""
    starts = np.unique(np.linspace(0, max(0, order.steps_per_epoch - RUN_STEPS), RUNS, dtype=np.int64))
    return np.array([batch for start in starts.tolist() for batch in islice(_groups(order, start), RUN_STEPS)])


def _groups(order: Order, start_step: int) -> Iterator[IntArray]:
    loads: list[Load] = []
    for step in order.epoch(0, rank=0, size=1, start_step=start_step):
        loads += step.opens
        yield np.array([load.group for load in loads])[step.loads]


def _pairs(counts: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Twice the number of pairs within groups of these sizes."""
    return float((counts * (counts - 1)).sum())
