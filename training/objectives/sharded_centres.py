"""Class centres that the ranks share out, of which each step reads and updates some."""

import numpy as np
import torch
from torch import Tensor

from training.objectives.sampling import sample_rows
from training.row_shards import RowShard
from training.settings import SgdSettings
from training.sparse_sgd import sparse_sgd

# Centres are drawn block by block of so many classes, so that they do not depend on the number of ranks.
_BLOCK_CLASSES = 4096
_FIRST_STD = 0.01


def classes_of(rank: int, *, size: int, num_classes: int) -> range:
    """The classes of a rank: equally many for each, and one more for the first of them where that does not go up."""
    few, more = divmod(num_classes, size)
    first = rank * few + min(rank, more)
    return range(first, first + few + (rank < more))


class ShardedCentres:
    """One rank's centres and their momentum, updated by SGD; a ``LocalUpdate`` for the strategy.

    Sampled rows become a leaf tensor that gets the gradient; all others are neither read nor written. The bank lies on
    the device, or in the memory of the host, from which only the sampled rows are moved.
    """

    def __init__(
        self,
        classes: range,
        num_classes: int,
        embedding_dim: int,
        *,
        seed: int,
        sgd: SgdSettings,
        bank: torch.device,
    ) -> None:
        self.classes = classes
        self._num_classes = num_classes
        self._seed = seed
        self._sgd = sgd
        self.weight_RD = _first_centres(classes, embedding_dim, seed=seed).to(bank)
        self.velocity_RD = torch.zeros_like(self.weight_RD)
        self._leaf_SD: Tensor | None = None
        self._index_S: Tensor | None = None

    def sample(
        self, labels_N: Tensor, *, num_sample: int | None = None, key: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """The centres of this step.

        Args:
            labels_N: of the batch of all ranks, on the device of the features.
            num_sample: how many centres, at least the true ones among them; None = all.
            key: of the draw.

        Returns:
            Centres (S, D) that gather a gradient, on the device of the labels, and the row of each label's class among
            them (N,), -1 where another rank has it.
        """
        rows_N = labels_N - self.classes.start
        is_here_N = (rows_N >= 0) & (rows_N < len(self.classes))
        rows_N = torch.where(is_here_N, rows_N, -1)
        self._index_S = None
        if num_sample is not None and num_sample < len(self.classes):
            positive_P = torch.unique(rows_N[is_here_N]).cpu().numpy()
            sampled = sample_rows(positive_P, num_rows=len(self.classes), num_sample=num_sample, key=key)
            index_S = torch.from_numpy(sampled).to(labels_N.device)
            rows_N = torch.where(is_here_N, torch.searchsorted(index_S, rows_N), -1)
            self._index_S = index_S.to(self.weight_RD.device)
        picked_SD = self.weight_RD if self._index_S is None else self.weight_RD.index_select(0, self._index_S)
        self._leaf_SD = picked_SD.detach().to(labels_N.device).requires_grad_()
        return self._leaf_SD, rows_N

    def squared_norm(self) -> Tensor:
        if self._leaf_SD is None or self._leaf_SD.grad is None:
            return torch.zeros((), dtype=torch.float64)
        norm: Tensor = torch.linalg.vector_norm(self._leaf_SD.grad)
        return norm.double().square()

    def step(self, learning_rate: float, gradient_factor: float) -> None:
        if self._leaf_SD is not None and self._leaf_SD.grad is not None:
            gradient_SD = self._leaf_SD.grad.mul_(gradient_factor).to(self.weight_RD.device)
            sparse_sgd(
                self.weight_RD,
                self.velocity_RD,
                self._index_S,
                gradient_SD,
                learning_rate=learning_rate,
                settings=self._sgd,
            )
        self.discard()

    def discard(self) -> None:
        self._leaf_SD = self._index_S = None

    @property
    def rows(self) -> RowShard:
        """Centres and momentum as they lie in memory."""
        tables = {"weight": self.weight_RD, "velocity": self.velocity_RD}
        return RowShard(self.classes.start, self._num_classes, tables)


def _first_centres(classes: range, embedding_dim: int, *, seed: int) -> Tensor:
    """Narrow noise (R, D) that a class gets whatever the rank that holds it."""
    weight_RD = np.empty((len(classes), embedding_dim), np.float32)
    for block in range(classes.start // _BLOCK_CLASSES, -(-classes.stop // _BLOCK_CLASSES)):
        drawn = np.random.default_rng([seed, block]).standard_normal((_BLOCK_CLASSES, embedding_dim), np.float32)
        start = block * _BLOCK_CLASSES
        low, high = max(start, classes.start), min(start + _BLOCK_CLASSES, classes.stop)
        weight_RD[low - classes.start : high - classes.start] = drawn[low - start : high - start]
    return torch.from_numpy(weight_RD).mul_(_FIRST_STD)
