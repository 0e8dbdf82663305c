"""Triplet loss (FaceNet, arXiv 1503.03832, equation 3): an anchor nearer to its identity than to any other.

``max(0, d(anchor, positive) - d(anchor, negative) + margin)``. Not as there: triplets are chosen from the batch of all
ranks, and which of them count is a setting (``miners``), as are the distance and the mean.
"""

from torch import Tensor

from training.comm.protocol import Comm
from training.objectives.context import ObjectiveContext
from training.objectives.distances import distances
from training.objectives.miners import TRIPLET_MINERS
from training.objectives.objective import Objective
from training.objectives.reducers import REDUCERS
from training.objectives.settings import TripletSettings
from training.objectives.whole_batch import gather_batch


class Triplet(Objective):
    """The loss over the triplets of the batch of all ranks; a collective."""

    def __init__(self, settings: TripletSettings, comm: Comm) -> None:
        super().__init__()
        self._settings = settings
        self._comm = comm
        self._choose = TRIPLET_MINERS[settings.miner]
        self._reduce = REDUCERS[settings.reducer]

    def forward(self, features_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Features (B, D) and labels (B,) of one rank -> the loss of all, a scalar in float32 at least."""
        settings = self._settings
        features_ND, labels_N = gather_batch(features_BD, labels_B, self._comm)
        distance_NN = distances(features_ND, features_ND, name=settings.distance, is_normalised=settings.unit_length)
        anchors_T, positives_T, negatives_T = self._choose(distance_NN, labels_N, settings.margin)
        gap_T = distance_NN[anchors_T, positives_T] - distance_NN[anchors_T, negatives_T]
        return self._reduce((gap_T + settings.margin).clamp_min(0))


def build(settings: TripletSettings, context: ObjectiveContext) -> Triplet:
    return Triplet(settings, context.comm)
