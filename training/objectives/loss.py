"""The loss of one batch: what is minimised, and the named terms that it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, and its terms where it has several."""

    total: Tensor  # a scalar with a gradient: the mean over the batch
    # Name -> scalar; shown and logged, never minimised. The same names in the same order on every rank.
    parts: Mapping[str, Tensor] = field(default_factory=dict)
