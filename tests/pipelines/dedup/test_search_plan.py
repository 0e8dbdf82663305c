"""pipelines/dedup/search_plan: the promised recall is that of random bits, and the plan keeps to its settings."""

import numpy as np
import pytest

from pipelines.dedup.search_plan import HashSample, group_recall, measure_distances, plan_search, tables_of
from pipelines.dedup.settings import DedupSettings

SETTINGS = DedupSettings()


def sampled(num_new: int, num_old: int = 0, *, mean: int = 128) -> HashSample:
    """Hashes whose distances lie around a mean as those of independent bits do."""
    drawn = np.random.default_rng(0).binomial(256, mean / 256, 1_000_000)
    return HashSample(num_new, num_old, np.bincount(drawn, minlength=257))


@pytest.mark.parametrize(
    ("bits", "tables", "prefix_bits", "distance"),
    [(16, 16, 0, 31), (23, 11, 0, 31), (23, 11, 0, 16), (8, 5, 0, 31), (20, 12, 6, 24), (8, 30, 3, 31), (12, 1, 0, 20)],
)
def test_recall_of_a_group_agrees_with_bits_drawn_at_random(
    bits: int, tables: int, prefix_bits: int, distance: int
) -> None:
    rng = np.random.default_rng(1)
    trials = 20_000
    met = 0
    for _ in range(trials):
        # Positions are exchangeable, so the tables may lie in order and the differing bits anywhere.
        differing = rng.choice(256, distance, replace=False)
        in_tables = (differing - prefix_bits) // bits
        met += differing.min() >= prefix_bits and len(set(in_tables[in_tables < tables])) < tables
    assert group_recall(bits, tables, prefix_bits, distance) == pytest.approx(met / trials, abs=0.015)


def test_a_group_of_as_many_tables_as_bits_may_differ_and_one_more_misses_nothing() -> None:
    assert group_recall(8, 32, 0, 31) == 1.0
    assert group_recall(8, 32, 0, 32) < 1.0


def test_small_sets_are_compared_in_full() -> None:
    plan = plan_search(sampled(5_000), SETTINGS)
    assert (plan.bits, plan.tables, plan.groups, plan.recall) == (0, 1, 1, 1.0)


@pytest.mark.parametrize("num_hashes", [20_000, 1_000_000, 50_000_000])
@pytest.mark.parametrize("min_recall", [0.9, 0.995])
def test_a_plan_keeps_the_wanted_recall_and_little_more(num_hashes: int, min_recall: float) -> None:
    plan = plan_search(sampled(num_hashes), DedupSettings(min_recall=min_recall))
    missed = (1 - group_recall(plan.bits, plan.tables, plan.prefix_bits, 31)) ** plan.groups
    assert plan.recall == pytest.approx(1 - missed)
    assert min_recall <= plan.recall
    assert missed > 0.3 * (1 - min_recall)


def test_more_hashes_or_hashes_more_alike_are_sampled_by_more_bits() -> None:
    bits = [plan_search(sampled(count), SETTINGS).bits for count in (20_000, 1_000_000, 20_000_000)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]
    assert plan_search(sampled(1_000_000, mean=90), SETTINGS).bits > plan_search(sampled(1_000_000), SETTINGS).bits


def test_a_small_delivery_against_many_old_hashes_costs_fewer_candidates_and_tables() -> None:
    small, whole = plan_search(sampled(10_000, 990_000), SETTINGS), plan_search(sampled(1_000_000), SETTINGS)
    assert small.candidates < whole.candidates
    assert small.tables * small.groups < whole.tables * whole.groups


def test_more_hashes_than_a_task_holds_are_cut_into_blocks_of_at_most_that_many_on_average() -> None:
    plan = plan_search(sampled(1_000_000), DedupSettings(max_hashes_per_task=100_000))
    assert 1_000_000 / 2**plan.prefix_bits <= 100_000
    assert plan.recall >= 0.995


def test_the_tables_of_a_group_sample_disjoint_bits_besides_its_prefix() -> None:
    plan = plan_search(sampled(1_000_000), DedupSettings(max_hashes_per_task=100_000))
    prefix, tables = tables_of(plan, 3)
    masks = [sum(int(word) << (64 * place) for place, word in enumerate(table.masks)) for table in tables]
    assert [mask.bit_count() for mask in masks] == [plan.bits] * plan.tables
    together = sum(masks) | sum(1 << bit for bit in prefix)
    assert together.bit_count() == plan.bits * plan.tables + plan.prefix_bits
    assert tables_of(plan, 4)[0] != prefix


def test_distances_of_a_sample_are_those_of_its_bits() -> None:
    rng = np.random.default_rng(2)
    plain, flipped = rng.integers(0, 2**64, (2, 20, 4), dtype=np.uint64)
    bits, bits_flipped = (np.unpackbits(words.view(np.uint8), axis=1) for words in (plain, flipped))
    expected = [
        int((bits[left] != others[right]).sum())
        for others in (bits, bits_flipped)
        for left in range(20)
        for right in range(left + 1, 20)
    ]
    assert measure_distances(plain, flipped).tolist() == np.bincount(expected, minlength=257).tolist()
