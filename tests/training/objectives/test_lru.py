"""The slots of identities against an OrderedDict, forwards and back."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.objectives.lru import LruSlots

NUM_SLOTS, NUM_IDS = 5, 12
BATCHES = st.lists(
    st.tuples(
        st.lists(st.integers(0, NUM_IDS - 1), max_size=9).filter(lambda ids: len(set(ids)) <= NUM_SLOTS), st.booleans()
    ),
    max_size=12,
)


class Model:
    """Identity -> slot, the one used longest ago first."""

    def __init__(self):
        self.slots = OrderedDict()

    def assign(self, ids):
        known = [i in self.slots for i in ids]
        for i in ids:
            if i in self.slots:
                self.slots.move_to_end(i)
        for i in ids:
            if i not in self.slots:
                is_full = len(self.slots) == NUM_SLOTS
                self.slots[i] = self.slots.popitem(last=False)[1] if is_full else len(self.slots)
        for i in ids:
            self.slots.move_to_end(i)
        return [self.slots[i] for i in ids], known


def order_of(lru):
    ids, used = lru.state()
    return [(int(ids[slot]), int(slot)) for slot in np.argsort(used) if ids[slot] >= 0]


@given(BATCHES)
def test_slots_and_order_are_those_of_an_ordered_dict_whatever_is_rolled_back(batches):
    lru, model = LruSlots(NUM_SLOTS), Model()
    for ids, is_undone in batches:
        before = lru.state().copy()
        slots = OrderedDict(model.slots)
        done = lru.assign(np.array(ids, np.int64))
        assert (done.slots.tolist(), done.is_known.tolist()) == model.assign(ids)
        if is_undone:
            lru.rollback(done)
            model.slots = slots
            assert np.array_equal(lru.state(), before)
        assert order_of(lru) == list(model.slots.items())
        assert lru.view(np.arange(NUM_IDS)).tolist() == [model.slots.get(i, -1) for i in range(NUM_IDS)]


@given(BATCHES)
def test_a_loaded_state_goes_on_alike(batches):
    lru, other = LruSlots(NUM_SLOTS), LruSlots(NUM_SLOTS)
    for ids, _ in batches:
        other.load(lru.state())
        assert np.array_equal(lru.assign(np.array(ids, np.int64)).slots, other.assign(np.array(ids, np.int64)).slots)
        assert order_of(lru) == order_of(other)


def test_several_assignments_are_rolled_back_newest_first():
    lru = LruSlots(2)
    states, done = [], []
    for ids in ([1, 2], [3, 1], [4, 4], [1, 5]):
        states.append(lru.state().copy())
        done.append(lru.assign(np.array(ids)))
    for one, state in zip(reversed(done), reversed(states), strict=True):
        lru.rollback(one)
        assert np.array_equal(lru.state(), state)


def test_more_identities_than_slots_are_refused():
    with pytest.raises(AssertionError, match="3 identities and 2 slots"):
        LruSlots(2).assign(np.array([1, 2, 3]))
