"""The interface of objectives: from a batch to a loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from training.feed.batch import Batch
from training.local_update import LocalUpdate
from training.objectives.loss import Loss
from training.row_shards import RowShard

# (net, images as bytes (B, 3, H, W)) -> features (B, D): on the net's device, normalised, in the run's precision
Embed = Callable[[nn.Module, Tensor], Tensor]


class Objective(nn.Module, ABC):
    """Computes the loss to minimise from features and labels, and owns the parameters of that computation.

    Parameters and buffers are the same on all ranks and belong to the strategy; ``local_updates`` and ``local_rows``
    are what this rank alone holds.
    """

    @abstractmethod
    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) of one rank -> the mean loss over them, a scalar."""

    def loss(self, features_BD: Tensor, labels_B: Tensor) -> Loss:
        """The same with its named parts; an objective of several terms overrides this."""
        return Loss(self(features_BD, labels_B))

    def compute(self, batch: Batch, backbone: nn.Module, embed: Embed) -> Loss:
        """The loss of a batch as the feed gives it; an objective that runs more than the backbone does so here."""
        features_BD = embed(backbone, batch.images)
        return self.loss(features_BD, batch.labels.to(features_BD.device, non_blocking=True))

    @property
    def local_updates(self) -> Sequence[LocalUpdate]:
        """The owners of this rank's own parameters."""
        return ()

    @property
    def local_rows(self) -> RowShard | None:
        """This rank's rows of tables that the ranks share out, as they lie in memory; None = there are none."""
        return None
