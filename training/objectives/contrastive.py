"""Contrastive loss (Hadsell et al. 2006, equations 1 to 4): pictures of one identity near, those of two apart.

``d^2 / 2`` of a pair of one identity and ``max(0, margin - d)^2 / 2`` of a pair of two, as in the verification signal
of DeepID2 (arXiv 1406.4773, equation 2), whose margin is fitted as it trains and here is a setting. The two means are
added up.
"""

from torch import Tensor

from training.comm.protocol import Comm
from training.objectives.context import ObjectiveContext
from training.objectives.distances import distances
from training.objectives.miners import PAIR_MINERS
from training.objectives.objective import Objective
from training.objectives.reducers import REDUCERS
from training.objectives.settings import ContrastiveSettings
from training.objectives.whole_batch import gather_batch


class Contrastive(Objective):
    """The loss over the pairs of the batch of all ranks; a collective."""

    def __init__(self, settings: ContrastiveSettings, comm: Comm) -> None:
        super().__init__()
        self._settings = settings
        self._comm = comm
        self._choose = PAIR_MINERS[settings.miner]
        self._reduce = REDUCERS[settings.reducer]

    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) of one rank -> the loss of all, a scalar in float32 at least."""
        settings = self._settings
        features_ND, labels_N = gather_batch(features_BD, labels_B, self._comm)
        distance_NN = distances(features_ND, features_ND, name=settings.distance, is_normalised=settings.unit_length)
        pairs = self._choose(distance_NN, labels_N)
        near_P = distance_NN[tuple(pairs.positives)]
        far_N = distance_NN[tuple(pairs.negatives)]
        return self._reduce(near_P.square() / 2) + self._reduce((settings.margin - far_N).clamp_min(0).square() / 2)


def build(settings: ContrastiveSettings, context: ObjectiveContext) -> Contrastive:
    return Contrastive(settings, context.comm)
