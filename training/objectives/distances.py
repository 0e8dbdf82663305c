"""Distances between features, small where they are alike; the names are those of the settings."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from training.objectives.settings import DistanceName

# (features (A, D), others (B, D)) -> distances (A, B)
Distance = Callable[[Tensor, Tensor], Tensor]

# The square root has a finite slope from here on.
_SMALLEST_SQUARE = 1e-12


def cosine(features_AD: Tensor, others_BD: Tensor) -> Tensor:
    """``1 - cos(angle)``, 0 to 2, whatever the lengths of the features."""
    return 1 - functional.normalize(features_AD) @ functional.normalize(others_BD).T


def squared_euclidean(features_AD: Tensor, others_BD: Tensor) -> Tensor:
    """``|a - b|^2``; of unit features twice their cosine distance (FaceNet, arXiv 1503.03832, section 3.1)."""
    squares_A1 = features_AD.square().sum(dim=1, keepdim=True)
    squares_B = others_BD.square().sum(dim=1)
    # By inner products, since differences would take A x B x D numbers; rounding may leave a little below zero.
    return (squares_A1 + squares_B - 2 * features_AD @ others_BD.T).clamp_min(0)


def euclidean(features_AD: Tensor, others_BD: Tensor) -> Tensor:
    """``|a - b|``; the gradient between equal features is 0."""
    return squared_euclidean(features_AD, others_BD).clamp_min(_SMALLEST_SQUARE).sqrt()


DISTANCES: dict[DistanceName, Distance] = {
    "cosine": cosine,
    "squared_euclidean": squared_euclidean,
    "euclidean": euclidean,
}


def distances(features_AD: Tensor, others_BD: Tensor, *, name: DistanceName, is_normalised: bool) -> Tensor:
    """The distances (A, B) of this name, in the dtype of the features, under autocast too.

    Args:
        is_normalised: the features are brought to unit length first.
    """
    with torch.autocast(features_AD.device.type, enabled=False):
        if is_normalised:
            features_AD, others_BD = functional.normalize(features_AD), functional.normalize(others_BD)
        return DISTANCES[name](features_AD, others_BD)
