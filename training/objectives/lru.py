"""A cache of slots for identities: the least recently used lose theirs. One call for a whole batch.

The LRU of F2C (arXiv 2105.10375), as arrays of times instead of a linked list. It knows the identities that have a slot
and no others, so it is as large as the pool, whatever number of identities there is. Not as there: the identities of a
batch that have a slot keep it, whatever comes before them in the batch; one by one, a new identity could take the slot
of one that comes right after it.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import BoolArray, IntArray

NOWHERE = -1


@dataclass(frozen=True)
class Assignment:
    """The slots given to one batch."""

    slots: IntArray  # of each identity of the batch
    is_known: BoolArray  # it had this slot before the batch
    ids_before: IntArray  # who had the slot, and when it was used: what ``rollback`` puts back
    used_before: IntArray
    clock_before: int


class LruSlots:
    """The slots 0 to ``num_slots`` - 1; an identity is any number from 0 on."""

    def __init__(self, num_slots: int) -> None:
        self._slot_of: dict[int, int] = {}  # by identity
        self._id_of_Q = np.full(num_slots, NOWHERE, np.int64)
        # When each slot was used last. Slots never used count as used before all time, the first of them first.
        self._used_Q = np.arange(-num_slots, 0, dtype=np.int64)
        self._clock = 0

    def assign(self, ids_N: IntArray) -> Assignment:
        """Give every identity of a batch a slot: its own, else one never used, else the one used longest ago.

        New identities choose in the order in which they appear; afterwards the last of the batch is the newest.
        """
        num_distinct = len(set(ids_N.tolist()))
        assert num_distinct <= len(self._id_of_Q), f"{num_distinct} identities and {len(self._id_of_Q)} slots"
        slots_N = self.view(ids_N)
        is_known_N = slots_N != NOWHERE
        new_M, first_M, which_of_M = np.unique(ids_N[~is_known_N], return_index=True, return_inverse=True)
        chosen_M = self._longest_unused(len(new_M), sparing=slots_N[is_known_N])
        turn_M = np.argsort(np.argsort(first_M))
        slots_N[~is_known_N] = chosen_M[turn_M[which_of_M]]
        done = Assignment(slots_N, is_known_N, self._id_of_Q[slots_N], self._used_Q[slots_N], self._clock)
        now_N = self._clock + np.arange(len(ids_N))
        self._put(slots_N, ids_N, now_N)  # of a slot that is named twice numpy keeps the last time
        self._clock += len(ids_N)
        return done

    def rollback(self, done: Assignment) -> None:
        """Undo an assignment; the newest first, where there are several."""
        self._put(done.slots, done.ids_before, done.used_before)
        self._clock = done.clock_before

    def view(self, ids_B: IntArray) -> IntArray:
        """The slot of each identity, or -1; changes nothing."""
        slots = (self._slot_of.get(identity, NOWHERE) for identity in ids_B.tolist())
        return np.fromiter(slots, np.int64, len(ids_B))

    def state(self) -> IntArray:
        """(2, Q): the identity of each slot or -1, and when it was used."""
        return np.stack([self._id_of_Q, self._used_Q])

    def load(self, state_2Q: IntArray) -> None:
        """Go on from a ``state``."""
        self._id_of_Q, self._used_Q = state_2Q.copy()
        self._slot_of = {identity: slot for slot, identity in enumerate(self._id_of_Q.tolist()) if identity != NOWHERE}
        self._clock = max(0, int(self._used_Q.max()) + 1)

    def _longest_unused(self, count: int, *, sparing: IntArray) -> IntArray:
        """So many slots, the one used longest ago first."""
        if count == 0:
            return np.empty(0, np.int64)
        used_Q = self._used_Q.copy()
        used_Q[sparing] = np.iinfo(np.int64).max
        oldest_M = np.argpartition(used_Q, count - 1)[:count]
        return oldest_M[np.argsort(used_Q[oldest_M])]

    def _put(self, slots_N: IntArray, ids_N: IntArray, used_N: IntArray) -> None:
        """Make these the identities of the slots, with the times of their last use."""
        for identity in self._id_of_Q[slots_N].tolist():
            self._slot_of.pop(identity, None)
        self._id_of_Q[slots_N] = ids_N
        self._used_Q[slots_N] = used_N
        for identity, slot in zip(ids_N.tolist(), slots_N.tolist(), strict=True):
            if identity != NOWHERE:
                self._slot_of[identity] = slot
