"""The losses of many pairs or triplets made one number; 0 with a gradient of zeros where there are none."""

from collections.abc import Callable

from torch import Tensor

from training.objectives.settings import ReducerName

Reducer = Callable[[Tensor], Tensor]  # losses (N,), none below 0 -> a scalar


def mean(losses_N: Tensor) -> Tensor:
    """Over all of them."""
    return losses_N.sum() / max(1, len(losses_N))


def mean_nonzero(losses_N: Tensor) -> Tensor:
    """Over those above 0, so that what is learnt already does not dilute the rest."""
    return losses_N.sum() / (losses_N > 0).sum().clamp_min(1)


REDUCERS: dict[ReducerName, Reducer] = {"mean": mean, "mean_nonzero": mean_nonzero}
