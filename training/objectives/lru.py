"""Which identity has which slot of a pool: those used last keep theirs. One call for a whole batch, in numpy.

The LRU of F2C (arXiv 2105.10375), as arrays instead of a linked list. Not as there: the identities of a batch that have
a slot keep it, whatever comes before them in the batch; one by one, a new identity could take the slot of one that
comes right after it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NOWHERE = -1


@dataclass(frozen=True)
class Assignment:
    """What one batch did."""

    slots: IntArray  # of each identity of the batch
    is_known: BoolArray  # it had this slot before the batch
    ids_before: IntArray  # who had the slot, and when it was used: what ``rollback`` puts back
    used_before: IntArray
    clock_before: int


class LruSlots:
    """The slots 0 to ``num_slots`` - 1; identities are 0 to ``num_ids`` - 1."""

    def __init__(self, num_slots: int, num_ids: int) -> None:
        self._slot_of_C = np.full(num_ids, NOWHERE, np.int64)
        self._id_of_Q = np.full(num_slots, NOWHERE, np.int64)
        # When each slot was used last. Slots never used count as used before all time, the first of them first.
        self._used_Q = np.arange(-num_slots, 0, dtype=np.int64)
        self._clock = 0

    def assign(self, ids_N: IntArray) -> Assignment:
        """Give every identity of a batch a slot: its own, else one never used, else the one used longest ago.

        New identities choose in the order in which they appear; afterwards the last of the batch is the newest.
        """
        distinct_U, first_U = np.unique(ids_N, return_index=True)
        assert len(distinct_U) <= len(self._id_of_Q), f"{len(distinct_U)} identities and {len(self._id_of_Q)} slots"
        is_known_N = self._slot_of_C[ids_N] != NOWHERE
        now_N = self._clock + np.arange(len(ids_N))
        new_M = distinct_U[np.argsort(first_U)]
        new_M = new_M[self._slot_of_C[new_M] == NOWHERE]
        chosen_M = self._longest_unused(len(new_M), sparing=self._slot_of_C[ids_N[is_known_N]])
        slots_N = self._slot_of_C[ids_N]
        places = np.argsort(new_M)
        slots_N[~is_known_N] = chosen_M[places[np.searchsorted(new_M, ids_N[~is_known_N], sorter=places)]]
        done = Assignment(slots_N, is_known_N, self._id_of_Q[slots_N], self._used_Q[slots_N], self._clock)
        self._put(slots_N, ids_N, now_N)  # of a slot that is named twice numpy keeps the last time
        self._clock += len(ids_N)
        return done

    def rollback(self, done: Assignment) -> None:
        """Undo an assignment; the newest first, where there are several."""
        self._put(done.slots, done.ids_before, done.used_before)
        self._clock = done.clock_before

    def view(self, ids_B: IntArray) -> IntArray:
        """The slot of each identity, or -1; changes nothing."""
        return self._slot_of_C[ids_B]

    def state(self) -> IntArray:
        """(2, Q): the identity of each slot or -1, and when it was used."""
        return np.stack([self._id_of_Q, self._used_Q])

    def load(self, state_2Q: IntArray) -> None:
        """Go on from a ``state``."""
        self._id_of_Q, self._used_Q = state_2Q.copy()
        self._slot_of_C.fill(NOWHERE)
        taken_T = np.flatnonzero(self._id_of_Q != NOWHERE)
        self._slot_of_C[self._id_of_Q[taken_T]] = taken_T
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
        before_N = self._id_of_Q[slots_N]
        self._slot_of_C[before_N[before_N != NOWHERE]] = NOWHERE
        self._id_of_Q[slots_N] = ids_N
        self._used_Q[slots_N] = used_N
        is_taken_N = ids_N != NOWHERE
        self._slot_of_C[ids_N[is_taken_N]] = slots_N[is_taken_N]
