"""Parameters that one rank alone holds, and updates by itself: what a strategy asks of their owner."""

from typing import Protocol

from torch import Tensor


class LocalUpdate(Protocol):
    """The owner of rank-local parameters, such as a shard of class centres.

    A strategy neither broadcasts nor averages these. Their gradient after backward is that of the mean loss over the
    batch of all ranks, times the factor of loss scaling.
    """

    def squared_norm(self) -> Tensor:
        """Sum of the squared gradients of this rank, a scalar in float64; zero where there is no gradient."""
        ...

    def step(self, learning_rate: float, gradient_factor: float) -> None:
        """Update by the gradients times a factor (of clipping, and of loss scaling undone), and forget them."""
        ...

    def discard(self) -> None:
        """Forget the gradients: no rank updates this time."""
        ...
