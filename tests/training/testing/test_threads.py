"""Ranks as threads against numpy, and what becomes of the others when one fails."""

import runpy
import threading
import time
from pathlib import Path

import pytest
import torch

from training.comm.protocol import CollectiveError, LostRankError
from training.testing import meetings
from training.testing.threads import run_threads

CHECKS = runpy.run_path(str(Path(__file__).parents[1] / "collectives_check.py"))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_collectives_and_messages_are_those_of_numpy(size):
    run_threads(size, CHECKS["check_all"])


@pytest.mark.parametrize("size", [2, 3, 4])
def test_groups_are_those_of_numpy(size):
    run_threads(size, CHECKS["check_groups"])


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


def test_a_message_from_a_rank_that_has_finished_is_an_error_once_its_messages_are_received():
    def work(comm):
        if comm.rank == 1:
            comm.send(torch.tensor(7), to=0, name="last")
            return None
        assert comm.recv(source=1, name="last") == 7
        with pytest.raises(LostRankError, match="'last' failed on rank 0 of 2: rank 1 is gone") as caught:
            comm.recv_any(name="last")
        with pytest.raises(LostRankError, match="rank 1 is gone"):
            comm.send(torch.ones(1), to=1, name="late")
        return caught.value.rank

    assert run_threads(2, work) == [1, None]


def test_a_lost_rank_is_named_as_the_group_counts_it():
    def work(comm):
        group = comm.group([1, 2])
        if comm.rank == 1:
            with pytest.raises(LostRankError, match="on rank 0 of 2: rank 1 is gone") as caught:
                group.recv(source=1, name="x")
            return caught.value.rank
        return None

    assert run_threads(3, work) == [None, 1, None]


def test_ranks_that_wait_for_each_others_messages_are_an_error():
    with pytest.raises(CollectiveError, match="rank 0 in 'x', rank 1 in 'x'"):
        run_threads(2, lambda comm: comm.recv(source=1 - comm.rank, name="x"))


def test_a_collective_that_waits_for_a_receiver_is_an_error():
    def work(comm):
        return comm.barrier() if comm.rank == 0 else comm.recv(source=0, name="x")

    with pytest.raises(CollectiveError, match="rank 0 in 'barrier', rank 1 in 'x'"):
        run_threads(2, work)


def test_a_thread_that_a_rank_has_started_may_still_send():
    def work(comm):
        if comm.rank == 0:
            late = threading.Thread(target=lambda: (time.sleep(0.3), comm.send(torch.ones(1), to=1, name="late")))
            late.start()
            comm.barrier()
            late.join()
        else:
            comm.recv(source=0, name="late")
            comm.barrier()

    run_threads(2, work)


def test_a_receiving_thread_does_not_hide_that_the_ranks_wait_for_each_other(monkeypatch):
    monkeypatch.setattr(meetings, "_PATIENCE_SECONDS", 30)

    def work(comm):
        def serve():
            with pytest.raises(CollectiveError):
                comm.recv_any(name="requests")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            comm.recv(source=1 - comm.rank, name="x")
        finally:
            thread.join()

    started = time.monotonic()
    with pytest.raises(CollectiveError, match="wait for each other"):
        run_threads(2, work)
    assert time.monotonic() - started < 15
