"""The ranks that share a batch, and the ranks that share a model.

A grid of ranks: consecutive ranks hold the parts of one model (they exchange most, and mostly sit on one host), and the
ranks that hold the same part of it share the gradients of a batch (Dean et al. 2012, "Large Scale Distributed Deep
Networks", section 3: model replicas, each over several machines).
"""

from dataclasses import dataclass

from pipelines.settings import UserError
from training.comm.local import LocalComm
from training.comm.protocol import Comm


@dataclass(frozen=True)
class Topology:
    """One rank's place in the grid.

    Attributes:
        world: all ranks.
        data_parallel: the ranks that hold the same part of the model as this one; they share a batch's gradients.
        model_parallel: the ranks that hold the parts of one model, of which this rank holds part ``rank``.
    """

    world: Comm
    data_parallel: Comm
    model_parallel: Comm

    @classmethod
    def of(cls, comm: Comm, *, model_parallel: int = 1) -> "Topology":
        """Arrange all ranks; a collective, where a model takes more than one rank.

        Args:
            comm: all ranks. With ``model_parallel=1`` it is itself the data-parallel group.
            model_parallel: the number of ranks that share a model.

        Raises:
            UserError: the ranks cannot be divided by that number.
        """
        if model_parallel < 1 or comm.size % model_parallel:
            raise UserError(
                f"{comm.size} ranks cannot be divided into models of {model_parallel} ranks each; start a multiple of "
                f"{max(model_parallel, 1)} ranks"
            )
        if model_parallel == 1:
            return cls(comm, comm, LocalComm(comm.local_rank))
        grid = [list(range(first, first + model_parallel)) for first in range(0, comm.size, model_parallel)]
        rows = [comm.group(ranks) for ranks in grid]
        columns = [comm.group(ranks) for ranks in zip(*grid, strict=True)]
        return cls(comm, data_parallel=_mine(columns), model_parallel=_mine(rows))


def _mine(groups: list[Comm | None]) -> Comm:
    [mine] = [group for group in groups if group is not None]
    return mine
