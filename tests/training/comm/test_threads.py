"""Thread ranks against numpy, and what becomes of the others when one fails."""

import runpy
from pathlib import Path

import pytest
import torch

from training.comm.launch import open_comm
from training.comm.protocol import CollectiveError
from training.comm.threads import run_threads

check_all = runpy.run_path(str(Path(__file__).parents[1] / "collectives_check.py"))["check_all"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_collectives_are_those_of_numpy(size):
    run_threads(size, check_all)


def test_the_local_rank_passes_the_same_check():
    check_all(open_comm("local"))


def test_results_come_in_rank_order():
    assert run_threads(4, lambda comm: (comm.rank, comm.size)) == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_sums_run_in_rank_order_to_the_bit():
    values = [1e16, 1.0, -1e16, 1.0]  # another order gives another sum
    [total, *_] = run_threads(4, lambda comm: comm.allreduce(torch.tensor([values[comm.rank]]).double(), name="sum"))
    assert total.item() == ((1e16 + 1.0) - 1e16) + 1.0


def test_a_rank_that_is_ahead_may_use_its_memory_again():
    def work(comm):
        mine = torch.ones(3)
        handle = comm.allreduce_async(mine, op="sum", name="sum")
        if comm.rank == 0:
            handle.wait()
            mine.zero_()
            comm.barrier()
            return True
        comm.barrier()  # only now does the slow rank read what the fast one had brought
        return bool((handle.wait() == 2).all())

    assert run_threads(2, work) == [True, True]


def test_the_first_failure_is_raised_and_nobody_hangs():
    others = []

    def work(comm):
        if comm.rank == 1:
            raise ZeroDivisionError("rank 1 broke")
        try:
            comm.allreduce(torch.ones(1), name="sum")
        except CollectiveError as error:
            others.append(str(error))
            raise

    with pytest.raises(ZeroDivisionError, match="rank 1 broke"):
        run_threads(3, work)
    assert len(others) == 2
    assert all("rank 1 broke" in text for text in others)


def test_a_rank_that_leaves_early_is_an_error_for_those_who_wait():
    with pytest.raises(CollectiveError, match="rank 0 in 'sum', 1 finished"):
        run_threads(2, lambda comm: comm.allreduce(torch.ones(1), name="sum") if comm.rank == 0 else None)


def test_ranks_that_ask_for_different_things_are_told_where_each_stands():
    with pytest.raises(CollectiveError, match="rank 0 in 'sum-0', rank 1 in 'sum-1'"):
        run_threads(2, lambda comm: comm.allreduce(torch.ones(1), name=f"sum-{comm.rank}"))
