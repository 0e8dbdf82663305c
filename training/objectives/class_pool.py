"""The dynamic class pool of F2C (arXiv 2105.10375): two recent features of each of the identities seen last.

Every rank holds the whole pool and makes the same changes to it, from the features of all ranks.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.arrays import IntArray
from training.objectives.lru import Assignment, LruSlots


@dataclass(frozen=True)
class Written:
    """The changes that one batch made to the pool; ``ClassPool.undo`` reverts them."""

    again: Tensor  # (R,) slots whose identity was there before, or comes twice in the batch: row 1 of these is theirs
    assignment: Assignment
    turns_before: IntArray
    rows: Tensor
    slots: Tensor
    features_before: Tensor


class ClassPool(nn.Module):
    """``features_2QD``: two unit features for each of Q slots, of the dtype and on the device of the module."""

    def __init__(self, num_slots: int, embedding_dim: int) -> None:
        super().__init__()
        self.features_2QD: Tensor
        self.register_buffer("features_2QD", functional.normalize(torch.rand(2, num_slots, embedding_dim), dim=2))
        self._lru = LruSlots(num_slots)
        self._turn_Q = np.zeros(num_slots, np.int64)  # which of its two features a slot gets rid of next

    def __len__(self) -> int:
        return len(self._turn_Q)

    @torch.no_grad()
    def write(self, ids_N: IntArray, features_ND: Tensor) -> Written:
        """Put unit features (N, D) into the slots of their identities, which have two rows that take turns.

        An identity that is new in the pool writes row 0 first. Of features for the same row the last one stays: an
        indexed write that names a place twice would leave it to chance on a GPU, and the ranks would part.
        """
        assignment = self._lru.assign(ids_N)
        slots_N, is_known_N = assignment.slots, assignment.is_known
        nth_N = _nth_occurrence(slots_N)
        rows_N = (np.where(is_known_N, self._turn_Q[slots_N], 0) + nth_N) % 2
        turns_before_N = self._turn_Q[slots_N]
        self._turn_Q[slots_N] = 1 - rows_N  # of a slot that is named twice numpy keeps the last
        last_W = _last_of_each(rows_N * len(self) + slots_N)
        device = self.features_2QD.device
        rows_W, slots_W = (torch.from_numpy(array[last_W]).to(device) for array in (rows_N, slots_N))
        written = Written(
            again=torch.from_numpy(np.unique(slots_N[is_known_N | (nth_N > 0)])).to(device),
            assignment=assignment,
            turns_before=turns_before_N,
            rows=rows_W,
            slots=slots_W,
            features_before=self.features_2QD[rows_W, slots_W],
        )
        fresh_WD = features_ND[torch.from_numpy(last_W).to(features_ND.device)]
        self.features_2QD[rows_W, slots_W] = fresh_WD.to(self.features_2QD)
        return written

    @torch.no_grad()
    def undo(self, written: Written) -> None:
        """Revert the last ``write``, to the bit."""
        self.features_2QD[written.rows, written.slots] = written.features_before
        self._turn_Q[written.assignment.slots] = written.turns_before
        self._lru.rollback(written.assignment)

    def slots(self, ids_B: IntArray) -> IntArray:
        """The slot of each identity, -1 for those that are not in the pool."""
        return self._lru.view(ids_B)

    def digest(self) -> str:
        """A hash of all that the pool holds, so that ranks can compare their pools."""
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[self.features_2QD.element_size()]
        sums_2Q = self.features_2QD.view(bits).sum(dim=2, dtype=torch.int64).cpu().numpy()
        return hashlib.sha256(sums_2Q.tobytes() + self._lru.state().tobytes() + self._turn_Q.tobytes()).hexdigest()

    def get_extra_state(self) -> Tensor:
        """(3, Q): identities, times of use, turns."""
        return torch.from_numpy(np.concatenate([self._lru.state(), self._turn_Q[None]]))

    def set_extra_state(self, state: Tensor) -> None:
        if state.shape != (3, len(self)):
            raise RuntimeError(f"a pool of {state.shape[1]} slots does not fit one of {len(self)}")
        self._lru.load(state[:2].numpy())
        self._turn_Q = state[2].numpy().copy()


def _nth_occurrence(values_N: IntArray) -> IntArray:
    """The number of equal values before each value."""
    order_N = np.argsort(values_N, kind="stable")
    sorted_N = values_N[order_N]
    nth_N = np.empty_like(values_N)
    nth_N[order_N] = np.arange(len(values_N)) - np.searchsorted(sorted_N, sorted_N)
    return nth_N


def _last_of_each(keys_N: IntArray) -> IntArray:
    """The index of the last occurrence of each distinct key."""
    _, from_end = np.unique(keys_N[::-1], return_index=True)
    return np.asarray(len(keys_N) - 1 - from_end, np.int64)
