"""The figure of a shuffle: 1 for true permutations, the counted pairs of any other order, better with more memory."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from training.feed.plans.rows import Order
from training.feed.quality import meeting_ratio, shuffle_quality

GROUP_ROWS = [30, 50, 1, 40, 79]
FILE_ORDER = np.repeat(np.arange(len(GROUP_ROWS)), GROUP_ROWS)


def test_true_permutations_have_the_mean_one() -> None:
    rng = np.random.default_rng(0)
    ratios = [meeting_ratio(rng.permutation(FILE_ORDER).reshape(-1, 20), GROUP_ROWS) for _ in range(2000)]
    assert scipy.stats.ttest_1samp(ratios, 1.0).pvalue > 1e-3
    assert np.std(ratios) < 0.1


def test_it_counts_the_pairs_of_a_batch() -> None:
    batches = np.random.default_rng(1).integers(0, len(GROUP_ROWS), (7, 12))
    met = np.mean([sum(a == b for a, b in combinations(batch, 2)) for batch in batches.tolist()])
    together = sum(a == b for a, b in combinations(FILE_ORDER.tolist(), 2))
    expected = 12 * 11 / 2 * together / (200 * 199 / 2)
    assert meeting_ratio(batches, GROUP_ROWS) == pytest.approx(met / expected)


def test_an_order_that_is_not_shuffled_is_as_bad_as_it_can_be() -> None:
    # Batches of one row group each: two rows of it that meet do so for certain, and by chance in (B - 1) of (N - 1).
    assert meeting_ratio(np.repeat(np.arange(10), 8).reshape(10, 8), [8] * 10) == pytest.approx(79 / 7)


def test_row_groups_of_one_row_cannot_be_shuffled_badly() -> None:
    assert meeting_ratio(np.arange(12).reshape(3, 4), [1] * 12) == 1.0


def test_rows_meet_as_often_as_the_memory_is_smaller_than_the_set() -> None:
    rows = [64] * 4800
    found = shuffle_quality(rows, [48, 96, 192, 384], seed=3, global_batch_size=48 * 16)
    # From each of 48 streams a batch takes 16 rows, out of a block of 64 for each row group that the stream mixes.
    for groups, ratio in found.items():
        mixed = 64 * groups / 48
        expected = (16 - 1) / (mixed - 1) / ((48 * 16 - 1) / (64 * 4800 - 1))
        assert ratio == pytest.approx(expected, rel=0.25)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_sample_speaks_for_the_epoch() -> None:
    rows = [40] * 300
    order = Order(rows, seed=0, global_batch_size=60, shuffle_row_groups=36)
    batches, loads = [], []
    for step in order.epoch(0, rank=0, size=1):
        loads += step.opens
        batches.append([loads[load].group for load in step.loads])
    whole = meeting_ratio(np.array(batches), rows)
    (sampled,) = shuffle_quality(rows, [36], seed=0, global_batch_size=60).values()
    assert sampled == pytest.approx(whole, rel=0.15)
