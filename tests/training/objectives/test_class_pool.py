"""The pool against dictionaries written one feature at a time, and its way back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.objectives.class_pool import ClassPool

BATCHES = st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=6), max_size=8)


def made(batches=()):
    torch.manual_seed(0)
    pool = ClassPool(6, 3)
    for number, ids in enumerate(batches):
        pool.write(np.array(ids, np.int64), features_of(number, len(ids)))
    return pool


def features_of(number, count):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(number))


def state_of(pool):
    return {name: tensor.clone() for name, tensor in pool.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@settings(deadline=None)
@given(BATCHES)
def test_each_identity_has_its_features_in_turns_and_the_last_of_a_batch_stays(batches):
    pool = made(batches)
    torch.manual_seed(0)
    rows = ClassPool(6, 3).features_2QD
    turns, owner = {}, {}
    order = ClassPool(6, 3)._lru
    for number, ids in enumerate(batches):
        assigned = order.assign(np.array(ids, np.int64))
        for place, (slot, identity) in enumerate(zip(assigned.slots.tolist(), ids, strict=True)):
            turn = turns[slot] if owner.get(slot) == identity else 0
            rows[turn, slot] = features_of(number, len(ids))[place]
            turns[slot], owner[slot] = 1 - turn, identity
    assert torch.equal(pool.features_2QD, rows)
    assert {slot: int(pool._turn_Q[slot]) for slot in turns} == turns


@settings(deadline=None)
@given(BATCHES, st.lists(st.integers(0, 8), min_size=1, max_size=6))
def test_an_undone_write_leaves_no_trace_and_other_contents_another_digest(batches, ids):
    pool = made(batches)
    before, digest = state_of(pool), pool.digest()
    written = pool.write(np.array(ids, np.int64), features_of(99, len(ids)))
    assert pool.digest() != digest
    pool.undo(written)
    assert equal(state_of(pool), before)
    assert pool.digest() == digest


def test_slots_written_before_or_twice_are_named():
    pool = made([[1, 2, 3]])
    written = pool.write(np.array([2, 5, 5, 6]), features_of(1, 4))
    assert written.again.tolist() == sorted(pool.slots(np.array([2, 5])).tolist())


def test_a_loaded_pool_goes_on_alike_and_one_of_another_size_is_refused():
    pool, other = made([[1, 2, 3], [3, 4, 1]]), ClassPool(6, 3)
    other.load_state_dict(state_of(pool))
    for one in (pool, other):
        one.write(np.array([7, 8, 3, 5, 5]), features_of(7, 5))
    assert equal(state_of(pool), state_of(other))
    assert pool.digest() == other.digest()
    with pytest.raises(RuntimeError):
        ClassPool(7, 3).load_state_dict(state_of(pool))
