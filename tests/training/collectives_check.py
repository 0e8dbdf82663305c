"""Run by a launcher: every collective of one kind of comm against what numpy makes of the same numbers.

usage: collectives_check.py horovod|torch    (at the end rank 1 kills itself, and the others must get an error)
"""

import os
import signal
import statistics
import sys
import time

import numpy as np
import torch

from training.comm.launch import open_comm
from training.comm.protocol import CollectiveError, Comm

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def numbers(rank: int, dtype: torch.dtype, *, rows: int = 6) -> torch.Tensor:
    """Small integers, which every dtype holds exactly; any rank can draw those of another."""
    drawn = np.random.default_rng(rank).integers(0, 2 if dtype == torch.bool else 9, size=(rows, 3))
    return torch.from_numpy(drawn).to(dtype)


def of_all(comm: Comm, dtype: torch.dtype) -> np.ndarray:
    return np.stack([numbers(rank, dtype).double().numpy() for rank in range(comm.size)])


def expect(result: torch.Tensor, expected: np.ndarray, like: torch.Tensor) -> None:
    assert result.dtype == like.dtype, (result.dtype, like.dtype)
    np.testing.assert_array_equal(result.double().numpy(), expected)


def check_reductions(comm: Comm) -> None:
    for dtype in (*FLOATS, *INTEGERS, torch.bool):
        mine, everyone = numbers(comm.rank, dtype), of_all(comm, dtype)
        total = everyone.any(0) if dtype == torch.bool else everyone.sum(0)
        expect(comm.allreduce(mine, name=f"sum-{dtype}"), total, mine)
        expect(comm.allreduce(mine, op="max", name=f"max-{dtype}"), everyone.max(0), mine)
        expect(comm.allreduce(mine, op="min", name=f"min-{dtype}"), everyone.min(0), mine)
        part = slice(comm.rank * 6 // comm.size, (comm.rank + 1) * 6 // comm.size)
        expect(comm.reducescatter(mine, name=f"scatter-{dtype}"), total[part], mine)
        expect(mine, everyone[comm.rank], mine)  # the input is left as it was
    for dtype in FLOATS:
        mine = numbers(comm.rank, dtype) * comm.size
        expect(comm.allreduce(mine, op="mean", name=f"mean-{dtype}"), of_all(comm, dtype).sum(0), mine)


def check_copies(comm: Comm) -> None:
    for dtype in (*FLOATS, *INTEGERS, torch.bool):
        mine = numbers(comm.rank, dtype)
        for root in range(comm.size):
            name = f"broadcast-{dtype}-{root}"
            expect(comm.broadcast(mine, root=root, name=name), of_all(comm, dtype)[root], mine)
        expect(comm.allgather(mine, name=f"gather-{dtype}"), np.concatenate(list(of_all(comm, dtype))), mine)
        # Rank 0 brings nothing, rank 1 one row, rank 2 two.
        uneven = numbers(comm.rank, dtype, rows=comm.rank)
        expected = np.concatenate([numbers(r, dtype, rows=r).double().numpy() for r in range(comm.size)])
        expect(comm.allgather(uneven, name=f"uneven-{dtype}"), expected, uneven)
    turned = numbers(comm.rank, torch.float32).t()
    expect(comm.broadcast(turned, name="turned"), numbers(0, torch.float32).t().double().numpy(), turned)
    scalar = torch.tensor(float(comm.rank))
    expect(comm.allreduce(scalar, op="max", name="scalar"), np.array(comm.size - 1.0), scalar)


def check_overlap(comm: Comm) -> None:
    for _ in range(2):  # names may be used again
        handles = [comm.allreduce_async(torch.full((1000,), float(i)), op="sum", name=f"async-{i}") for i in range(20)]
        for i, handle in enumerate(handles):
            assert (handle.wait() == i * comm.size).all()


def check_objects(comm: Comm) -> None:
    assert comm.allgather_object({"rank": comm.rank, "ü": [1.5] * comm.rank}, name="objects") == [
        {"rank": rank, "ü": [1.5] * rank} for rank in range(comm.size)
    ]
    for root in range(comm.size):
        assert comm.broadcast_object(["from", comm.rank], root=root, name=f"object-{root}") == ["from", root]
    comm.barrier()


def check_all(comm: Comm) -> None:
    check_reductions(comm)
    check_copies(comm)
    check_overlap(comm)
    check_objects(comm)


def check_waiting(comm: Comm) -> None:
    """A rank that waits for another leaves the processor to those that have something to do."""
    comm.barrier()
    started, used = time.perf_counter(), time.process_time()
    if comm.rank == 1:
        time.sleep(1)
    comm.barrier()
    assert time.process_time() - used < 0.5 * (time.perf_counter() - started)


def check_after_scatter(comm: Comm) -> None:
    """Sums take no longer once a sum has been shared out."""

    def typical(name: str) -> float:
        seconds = []
        for _ in range(15):
            comm.barrier()
            started = time.perf_counter()
            comm.allreduce(torch.ones(300_000), name=name)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)

    before = typical("before")
    comm.reducescatter(torch.ones(32 * comm.size, 128), name="share")
    assert typical("after") < 10 * before


def lose_rank_one(comm: Comm) -> None:
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    # A launcher that sees the death first ends the others, which shall have the time to say what they got.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        comm.allreduce(torch.ones(10), name="orphan")
    except CollectiveError as error:
        print(f"rank {comm.rank} got an error: {error}", flush=True)
        os._exit(3)  # what is left of the transport is in no state to be closed


def main() -> None:
    comm = open_comm(sys.argv[1])
    check_after_scatter(comm)  # first: it is about what no collective did before
    check_waiting(comm)
    check_all(comm)
    print(f"rank {comm.rank} of {comm.size} passed", flush=True)
    comm.barrier()
    time.sleep(1)  # the launcher has read the line before the end begins
    lose_rank_one(comm)


if __name__ == "__main__":
    main()
