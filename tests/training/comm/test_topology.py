"""The grid of ranks against the definition: rank = (data-parallel rank) * model_parallel + (model-parallel rank)."""

import pytest
import torch

from pipelines.settings import UserError
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.testing.threads import run_threads


def test_models_of_one_rank_leave_the_communicator_as_it_is():
    def work(comm):
        topology = Topology.of(comm)
        assert topology.world is comm
        assert topology.data_parallel is comm
        assert isinstance(topology.model_parallel, LocalComm)
        return topology.model_parallel.local_rank

    assert run_threads(3, work) == [0, 1, 2]


@pytest.mark.parametrize(("size", "model_parallel"), [(4, 2), (6, 3), (6, 2), (4, 4), (1, 1)])
def test_consecutive_ranks_share_a_model_and_equal_parts_share_a_batch(size, model_parallel):
    def work(comm):
        topology = Topology.of(comm, model_parallel=model_parallel)
        model, data = topology.model_parallel, topology.data_parallel
        assert (model.size, data.size) == (model_parallel, size // model_parallel)
        assert comm.rank == data.rank * model_parallel + model.rank
        assert topology.world is comm
        mine = torch.tensor([comm.rank])
        return model.allgather(mine, name="ranks").tolist(), data.allgather(mine, name="ranks").tolist()

    for rank, (model, data) in enumerate(run_threads(size, work)):
        first = rank - rank % model_parallel
        assert model == list(range(first, first + model_parallel))
        assert data == [other for other in range(size) if other % model_parallel == rank % model_parallel]


@pytest.mark.parametrize("model_parallel", [2, 4, 0, -1])
def test_ranks_that_cannot_be_divided_are_one_line_with_both_numbers(model_parallel):
    def work(comm):
        message = f"3 ranks cannot be divided into models of {model_parallel} ranks each"
        with pytest.raises(UserError, match=message) as caught:
            Topology.of(comm, model_parallel=model_parallel)
        return "\n" in str(caught.value)

    assert run_threads(3, work) == [False] * 3
