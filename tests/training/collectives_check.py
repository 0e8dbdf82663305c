"""Run by a launcher: every operation of one kind of comm against what numpy makes of the same numbers.

usage: collectives_check.py horovod|torch    (at the end rank 1 kills itself, and the others must get an error)
"""

import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.comm.launch import open_comm
from training.comm.protocol import CollectiveError, Comm, LostRankError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ROWS = 12  # divided by every number of ranks that is tried
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def numbers(rank: int, dtype: torch.dtype, *, rows: int = ROWS) -> torch.Tensor:
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
        part = slice(comm.rank * ROWS // comm.size, (comm.rank + 1) * ROWS // comm.size)
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


def check_collectives(comm: Comm) -> None:
    check_reductions(comm)
    check_copies(comm)
    check_overlap(comm)
    check_objects(comm)


def members_of(comm: Comm) -> list[list[int]]:
    """Groups that overlap, one of a single rank, one of all, and one of the same ranks as another."""
    tail = [list(range(1, comm.size)), [0, comm.size - 1]] if comm.size > 2 else []
    return [[1, 0], [1], list(range(comm.size)), *tail, [0, 1]]


def check_groups(comm: Comm) -> None:
    """Collectives of groups, alone, in turns and under way at the same time, under the same names."""
    groups = {number: comm.group(ranks) for number, ranks in enumerate(members_of(comm))}
    expected = {number: sorted(ranks) for number, ranks in enumerate(members_of(comm))}
    mine = {number: group for number, group in groups.items() if group is not None}
    assert set(mine) == {number for number, ranks in expected.items() if comm.rank in ranks}
    for number, group in mine.items():
        ranks = expected[number]
        assert (group.rank, group.size) == (ranks.index(comm.rank), len(ranks))
        assert group.local_rank == comm.local_rank
        assert group.allgather_object(comm.rank, name="ranks") == ranks
        check_collectives(group)
    for turn in range(3):
        number = torch.tensor([2.0**comm.rank + turn])
        together = {0: comm.allreduce_async(number.clone(), op="sum", name="turn")}
        together |= {1 + k: group.allreduce_async(number.clone(), op="sum", name="turn") for k, group in mine.items()}
        for k, handle in reversed(together.items()):
            ranks = range(comm.size) if k == 0 else expected[k - 1]
            assert handle.wait().item() == sum(2.0**rank + turn for rank in ranks), (turn, k)
        for group in mine.values():
            group.close()  # does nothing
    for group in mine.values():
        if group.size > 1:
            with pytest.raises(AssertionError, match="not from those of another group"):
                group.group([0])
    check_messages_of_groups(comm, mine)
    comm.barrier()


def check_messages_of_groups(comm: Comm, groups: dict[int, Comm]) -> None:
    """The same name in all ranks and in groups is as many different boxes, and ranks are those of the group."""
    boxes = {0: comm} | {1 + number: group for number, group in groups.items() if group.size > 1}
    for number, some in boxes.items():
        if some.rank == 0:
            for to in range(1, some.size):
                some.send(torch.tensor([number, to]), to=to, name="same")
    for number, some in reversed(boxes.items()):
        if some.rank:
            assert some.recv(source=0, name="same").tolist() == [number, some.rank]
            some.send(torch.tensor([number, some.rank]), to=0, name="back")
    for number, some in reversed(boxes.items()):
        if some.rank == 0:
            for _ in range(1, some.size):
                sender, message = some.recv_any(name="back")
                assert message.tolist() == [number, sender]


def neighbours(comm: Comm) -> tuple[int, int]:
    return (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size


def check_message_kinds(comm: Comm) -> None:
    """Every dtype and shape goes round the ring, and is what the neighbour has sent."""
    left, right = neighbours(comm)
    for dtype in (*FLOATS, *INTEGERS, torch.bool):
        for rows in (ROWS, 0):
            sent = numbers(comm.rank, dtype, rows=rows)
            comm.send(sent, to=right, name=f"kind-{dtype}")
            sent.zero_()  # it was given back
            got = comm.recv(source=left, name=f"kind-{dtype}")
            expect(got, numbers(left, dtype, rows=rows).double().numpy(), sent)
            assert got.shape == (rows, 3)
    comm.send(numbers(comm.rank, torch.float32).t(), to=right, name="turned")
    comm.send(torch.tensor(comm.rank), to=right, name="scalar")
    comm.send(numbers(comm.rank, torch.bfloat16)[::2, 1], to=right, name="strided")
    assert comm.recv(source=left, name="strided").equal(numbers(left, torch.bfloat16)[::2, 1])
    assert comm.recv(source=left, name="turned").equal(numbers(left, torch.float32).t())
    assert comm.recv(source=left, name="scalar").equal(torch.tensor(left))
    large = torch.arange(3_000_000) + comm.rank  # 24 MB each way at once: nobody waits for the other to receive
    comm.send(large, to=right, name="large")
    assert comm.recv(source=left, name="large").equal(large - comm.rank + left)


def check_message_order(comm: Comm) -> None:
    """Messages of one name keep their order; those of other names are received whenever one likes."""
    left, right = neighbours(comm)
    for i in range(20):
        comm.send(torch.tensor([i]), to=right, name="first" if i % 2 else "second")
    assert [int(comm.recv(source=left, name="first")) for _ in range(10)] == list(range(1, 20, 2))
    assert [int(comm.recv(source=left, name="second")) for _ in range(10)] == list(range(0, 20, 2))


def check_any_source(comm: Comm) -> None:
    """A server hears everyone, each in order, on a thread of its own while all ranks meet in collectives."""
    heard: list[tuple[int, int]] = []

    def serve() -> None:
        for _ in range(5 * (comm.size - 1)):
            sender, message = comm.recv_any(name="push")
            heard.append((sender, int(message)))
            comm.send(message * 2, to=sender, name="pull")

    if comm.rank == 0:
        server = threading.Thread(target=serve)
        server.start()
    for i in range(5):
        if comm.rank:
            comm.send(torch.tensor(10 * comm.rank + i), to=0, name="push")
            assert int(comm.recv(source=0, name="pull")) == 2 * (10 * comm.rank + i)
        comm.barrier()
    if comm.rank == 0:
        server.join()
        assert sorted(heard) == [(r, 10 * r + i) for r in range(1, comm.size) for i in range(5)]
    check_chosen_sources(comm)


def check_chosen_sources(comm: Comm) -> None:
    """Of all that wait, a rank gets those of the ranks that it names."""
    if comm.rank:
        comm.send(torch.tensor(comm.rank), to=0, name="chosen")
    comm.barrier()
    if comm.rank == 0:
        last = comm.size - 1
        assert comm.recv_any(sources=[last], name="chosen") == (last, torch.tensor(last))
        rest = [comm.recv_any(sources=range(1, last), name="chosen")[0] for _ in range(1, last)]
        assert sorted(rest) == list(range(1, last))


def check_messages(comm: Comm) -> None:
    check_message_kinds(comm)
    check_message_order(comm)
    check_any_source(comm)
    comm.barrier()


def check_wrong_calls(comm: Comm) -> None:
    """A mistake of the caller is one line on the rank that makes it, and reaches no other rank."""
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: comm.send(torch.ones(1), to=comm.rank, name="me"), "to itself"),
        (lambda: comm.recv(source=comm.rank, name="me"), "to itself"),
        (lambda: comm.recv(source=comm.size, name="far"), "there is no rank"),
        (lambda: comm.recv_any(sources=[], name="none"), "no rank is left"),
        (lambda: comm.group([0, comm.size]), f"there is no rank {comm.size}"),
        (lambda: comm.group([0, 0]), "occurs twice"),
        (lambda: comm.group([]), "at least one"),
    ]
    for call, text in wrong:
        with pytest.raises(AssertionError, match=text):
            call()
    with pytest.raises(CollectiveError, match="different groups"):
        comm.group([0] if comm.rank else [1])


def check_all(comm: Comm) -> None:
    check_collectives(comm)
    if comm.size > 1:
        check_messages(comm)
        check_wrong_calls(comm)


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
    pair = comm.group([0, 1])
    comm.barrier()
    if comm.rank == 1:
        comm.send(torch.tensor(7), to=0, name="last words")
        os.kill(os.getpid(), signal.SIGKILL)
    # A launcher that sees the death first ends the others, which shall have the time to say what they got.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for receive in (lambda: comm.recv_any(name="last words"), lambda: comm.recv(source=1, name="nothing")):
        try:
            print(f"rank {comm.rank} received {receive()}", flush=True)
            receive()
        except LostRankError as error:
            print(f"rank {comm.rank} lost rank {error.rank}: {error}", flush=True)
    for some, name in ((pair, "orphan of a pair"), (comm, "orphan")):
        try:
            if some is not None:
                some.allreduce(torch.ones(10), name=name)
        except CollectiveError as error:
            print(f"rank {comm.rank} got an error: {error}", flush=True)
    os._exit(3)  # what is left of the transport is in no state to be closed


def main() -> None:
    comm = open_comm(sys.argv[1])
    check_after_scatter(comm)  # first: it is about what no collective did before
    check_waiting(comm)
    check_all(comm)
    check_groups(comm)
    check_waiting(comm)
    print(f"rank {comm.rank} of {comm.size} passed", flush=True)
    comm.barrier()
    time.sleep(1)  # the launcher has read the line before the end begins
    lose_rank_one(comm)


if __name__ == "__main__":
    main()
