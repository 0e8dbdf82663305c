"""Partial FC (An et al. 2020 and 2022, arXiv 2010.05222 and 2203.15565): centres shared out, a sample of them per step.

Rank r holds its part of the C classes. The features of all ranks meet a sample of it: the true classes of the batch of
all ranks, filled up by chance to ``sample_rate`` of the part; the softmax runs over the samples of all ranks. A rate of
1 is plain model parallelism. Not as in the authors' second version: weight, momentum and weight decay change on
sampled rows only (as in their first, and in PLSC), and the margin's gradient is exact.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.comm.protocol import Comm
from training.local_update import LocalUpdate
from training.objectives.distributed_softmax import gather_features, sharded_cross_entropy
from training.objectives.logits import Logits
from training.objectives.objective import Objective
from training.objectives.sharded_centres import ShardedCentres
from training.row_shards import RowShard


class PartialFC(Objective):
    """Mean cross-entropy of the batch of all ranks over the sampled classes of all ranks; a collective."""

    def __init__(self, centres: ShardedCentres, logits: Logits, comm: Comm, *, sample_rate: float, seed: int) -> None:
        super().__init__()
        self.centres = centres
        self.logits = logits
        self._comm = comm
        self._seed = seed
        self._num_sample = math.ceil(sample_rate * len(centres.classes))
        self._num_draws = 0

    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) of one rank -> the mean loss over those of all ranks; B is the same on all.

        In evaluation mode no class is left out.
        """
        features_ND = gather_features(features_BD, self._comm, self.centres.weight_RD.dtype)
        labels_N = self._comm.allgather(labels_B, name="head.labels")
        key = (self._seed, self._num_draws, self._comm.rank)
        centres_SD, rows_N = self.centres.sample(
            labels_N, num_sample=self._num_sample if self.training else None, key=key
        )
        self._num_draws += self.training
        return sharded_cross_entropy(self.logits(features_ND, centres_SD, rows_N), rows_N, self._comm)

    @property
    def local_updates(self) -> Sequence[LocalUpdate]:
        return (self.centres,)

    @property
    def local_rows(self) -> RowShard:
        return self.centres.rows

    def get_extra_state(self) -> Tensor:
        """The number of samples drawn so far, so that a resumed run draws the next."""
        return torch.tensor(self._num_draws)

    def set_extra_state(self, state: Tensor) -> None:
        self._num_draws = int(state)
