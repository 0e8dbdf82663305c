"""The order is a pure function; its oracle is counting."""

import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.settings import UserError
from training.feed.plans.rows import Order, sweep
from training.testing.steps import rows_of

SIZES = (5, 1, 9, 4, 4, 12, 1, 1, 7, 30, 2, 8)  # 84 rows in uneven groups

layouts = st.lists(st.integers(0, 12), min_size=1, max_size=20).filter(lambda sizes: sum(sizes) > 0)


def order(sizes: Sequence[int] = SIZES, *, seed: int = 0, batch: int = 12, groups: int = 24) -> Order:
    return Order(sizes, seed=seed, global_batch_size=batch, shuffle_row_groups=groups)


def flat(batches: Iterable[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    return [row for batch in batches for row in batch]


@given(layouts, st.integers(1, 40), st.integers(1, 60), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_epoch_has_full_steps_and_no_row_twice(sizes: list[int], batch: int, groups: int, seed: int) -> None:
    plan = order(sizes, seed=seed, batch=batch, groups=groups)
    batches = rows_of(plan.epoch(1, rank=0, size=1))
    assert len(batches) == plan.steps_per_epoch == max(1, sum(sizes) // batch)
    assert all(len(rows) == batch for rows in batches)
    everything = {(group, row) for group, count in enumerate(sizes) for row in range(count)}
    counts = Counter(flat(batches))
    assert set(counts) <= everything
    rounds = -(-batch // sum(sizes))
    assert max(counts.values()) <= rounds  # 1 unless the set is smaller than a batch
    if sum(sizes) <= batch:
        assert set(counts) == everything


@given(layouts, st.integers(1, 4), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_every_world_size_has_the_same_rows_in_each_global_step(sizes: list[int], twelfths: int, groups: int) -> None:
    plan = order(sizes, batch=12 * twelfths, groups=groups)
    expected = rows_of(plan.epoch(2, rank=0, size=1))
    for size in (2, 3, 4, 6, 12):
        ranks = [rows_of(plan.epoch(2, rank=rank, size=size)) for rank in range(size)]
        assert [flat(parts) for parts in zip(*ranks, strict=True)] == expected


@given(layouts, st.integers(1, 24), st.integers(1, 60), st.data())
@settings(max_examples=40, deadline=None)
def test_a_resumed_epoch_is_the_rest(sizes: list[int], batch: int, groups: int, data: st.DataObject) -> None:
    plan = order(sizes, batch=batch, groups=groups)
    start = data.draw(st.integers(0, plan.steps_per_epoch))
    whole = rows_of(plan.epoch(0, rank=0, size=1))
    assert rows_of(plan.epoch(0, rank=0, size=1, start_step=start)) == whole[start:]


@given(layouts, st.integers(1, 4), st.integers(1, 60), st.data())
@settings(max_examples=40, deadline=None)
def test_an_epoch_goes_on_where_it_was_when_ranks_come_or_go(
    sizes: list[int], twelfths: int, groups: int, data: st.DataObject
) -> None:
    batch = 12 * twelfths
    plan = order(sizes, batch=batch, groups=groups)
    start, seen = 0, Counter[tuple[int, int]]()
    while start < plan.steps_per_epoch:
        stop = data.draw(st.integers(start + 1, plan.steps_per_epoch), label="stop")
        size = data.draw(st.sampled_from((1, 2, 3, 4)), label="ranks")
        for rank in range(size):
            steps = plan.epoch(4, rank=rank, size=size, start_step=start)
            seen.update(flat(rows_of(islice(steps, stop - start))))
        start = stop
    # Every row that the epoch shows, and as often: once, unless the set is smaller than a batch.
    assert seen.total() == plan.steps_per_epoch * batch
    assert set(seen) <= {(group, row) for group, count in enumerate(sizes) for row in range(count)}
    assert max(seen.values()) <= -(-batch // sum(sizes))
    assert max(seen.values()) - min(seen[row] for row in set(seen)) <= 1


@given(layouts, st.integers(1, 10), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_sweep_reads_every_row_once_in_file_order(sizes: list[int], batch: int, size: int) -> None:
    ranks = [rows_of(sweep(sizes, batch_size=batch, rank=rank, size=size)) for rank in range(size)]
    assert flat(flat(ranks)) == [(group, row) for group, count in enumerate(sizes) for row in range(count)]
    assert all(len(rows) == batch for batches in ranks for rows in batches[:-1])


@pytest.mark.parametrize("seed", [0, 1])
def test_epochs_differ(seed: int) -> None:
    plan = order(seed=seed)
    first, second = (flat(rows_of(plan.epoch(epoch, rank=0, size=1))) for epoch in (0, 1))
    assert first != second


def test_seeds_differ_and_zero_is_a_seed() -> None:
    zero, again, one = (flat(rows_of(order(seed=seed).epoch(0, rank=0, size=1))) for seed in (0, 0, 1))
    assert zero == again
    assert zero != one


def test_no_two_draws_of_a_run_are_the_same_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[Sequence[int]] = []
    drawing = np.random.default_rng

    def recorded(key: Sequence[int]) -> np.random.Generator:
        keys.append(key)
        return drawing(key)

    monkeypatch.setattr(np.random, "default_rng", recorded)
    for seed in range(2):
        for epoch in range(3):
            rows_of(order(seed=seed, batch=4, groups=8).epoch(epoch, rank=0, size=1))
    # A shorter key is that with zeros behind it, so the states are compared and not the keys.
    states = Counter(tuple(np.random.SeedSequence(key).generate_state(4)) for key in keys)
    assert len(states) > 2 * 3 * 4
    assert max(states.values()) == 1


def test_every_row_is_dropped_as_often_as_any_other() -> None:
    dropped: Counter[tuple[int, int]] = Counter()
    everything = {(0, row) for row in range(19)}  # one row group: a cut at its end would always drop the same rows
    plan = order([19], batch=10)
    for epoch in range(380):
        dropped.update(everything - set(flat(rows_of(plan.epoch(epoch, rank=0, size=1)))))
    # 9 of 19 rows are dropped each time: binomial, mean 180, standard deviation 9.7.
    assert set(dropped) == everything
    assert max(abs(count - 180) for count in dropped.values()) < 5 * 9.7


def test_a_batch_mixes_rows_of_many_row_groups() -> None:
    plan = order([100] * 50, batch=48, groups=48)
    for rows in rows_of(plan.epoch(0, rank=0, size=1)):
        assert len({group for group, _ in rows}) >= 40


def test_a_rank_reads_only_the_streams_below_its_slots() -> None:
    plan = order([100] * 96, batch=48, groups=48)
    reads = [sum(load.rows for step in plan.epoch(0, rank=rank, size=4) for load in step.opens) for rank in range(4)]
    assert sum(reads) == 9600


def test_no_more_row_groups_are_open_than_the_settings_say() -> None:
    is_open: set[int] = set()
    number, most = 0, 0
    for step in order([10] * 200, batch=4, groups=20).epoch(0, rank=0, size=1):
        is_open.update(range(number, number + len(step.opens)))
        number += len(step.opens)
        most = max(most, len(is_open))
        is_open.difference_update(step.closes)
    assert most <= 20 + 2 * 4  # each stream cuts one row group at either end, and turns over in the middle of a step


def test_streams_turn_to_new_row_groups_at_different_steps() -> None:
    plan = order([50] * 384, batch=48, groups=4 * 48)
    opens = [len(step.opens) for step in plan.epoch(0, rank=0, size=1)]
    assert max(opens[1:]) <= 60  # where all streams together would turn to 192


def test_a_billion_rows_fit_into_little_memory() -> None:
    tracemalloc.start()
    step = next(order([1000] * 1_000_000, batch=48, groups=48).epoch(0, rank=3, size=48, start_step=20_000_000))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(step.rows) == 1
    assert peak_bytes < 150e6


def test_an_empty_split_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="no rows"):
        order([0, 0])
