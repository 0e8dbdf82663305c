"""The interface between ranks: collectives, groups, messages from one rank to another, and the dtypes that travel.

Collectives: every rank calls the same ones in the same order, with the same ``name``; results have the dtype and
device of the input, and the same bits on every rank. A name may be used again once its collective is over.

Groups: a communicator over some of the ranks. It has the same collectives, between its ranks only. Groups may overlap
and be used in turns with each other and with all ranks; the same name in two of them is two collectives. Two ranks
that share several communicators use them in the same order. Over NCCL, the collectives of one are waited for before
those of another start; over Gloo both may be under way.

Messages: a rank sends a tensor to another whenever it likes, and no third rank takes part. Messages of one name from
one rank to another arrive in the order in which they were sent; those of different names, groups and senders overtake
each other. Nothing is lost but by the death of a rank, and nothing waits forever for a rank that is gone. Collectives
belong to one thread of a rank; messages may be sent and received by any of its threads.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Op = Literal["sum", "mean", "max", "min"]

# No transport adds all of these, so sums of them are carried in a wider dtype and cast back (a sum of bool is "any").
_WIDER = {
    torch.bfloat16: torch.float32,
    torch.bool: torch.int32,
    torch.uint8: torch.int32,
    torch.int8: torch.int32,
    torch.int16: torch.int32,
}
# Nor does every transport copy all of these: their bytes travel under the name of another dtype of the same width.
_SAME_BYTES = {torch.bool: torch.uint8, torch.bfloat16: torch.float16, torch.int16: torch.float16}


class CollectiveError(RuntimeError):
    """A collective did not come to its end: another rank died, left early, stands still or asked for something else.

    Attributes:
        is_consequence: the cause is mostly elsewhere, in the error of another rank, which outweighs this one.
    """

    is_consequence = True


class LostRankError(CollectiveError):
    """A rank with which messages are exchanged has died or left; ``rank`` is its rank in the communicator."""

    def __init__(self, message: str, rank: int) -> None:
        super().__init__(message)
        self.rank = rank


class Handle(Protocol):
    """A collective under way."""

    def wait(self) -> Tensor:
        """The result; blocks until every rank has joined.

        Raises:
            CollectiveError: a rank is gone.
        """
        ...


class Comm(Protocol):
    """One rank's view of all ranks; implementations derive from it and inherit what is built on the rest."""

    rank: int
    size: int
    local_rank: int  # among the ranks of this host: which GPU is mine

    def allreduce_async(self, tensor: Tensor, *, op: Op, name: str) -> Handle:
        """Start combining a tensor of one shape over the ranks.

        The tensor is given away: the result may be put in its place, which saves large buffers a copy.
        """
        ...

    def allgather(self, tensor: Tensor, *, name: str) -> Tensor:
        """Concatenate along dimension 0 in rank order; only dimension 0 may differ between ranks."""
        ...

    def reducescatter(self, tensor: Tensor, *, name: str) -> Tensor:
        """Sum over the ranks; rank r gets the r-th of ``size`` equal parts of dimension 0.

        As written here it is the whole sum, of which each rank keeps its part: a transport that can share a sum out by
        itself sends half of that.
        """
        assert len(tensor) % self.size == 0, f"{len(tensor)} rows do not split evenly over {self.size} ranks"
        return self.allreduce(tensor, name=name).chunk(self.size)[self.rank].clone()

    def broadcast(self, tensor: Tensor, *, root: int = 0, name: str) -> Tensor:
        """The root's tensor; the others pass one of the same shape and dtype."""
        ...

    def group(self, ranks: Sequence[int]) -> "Comm | None":
        """A communicator over some of the ranks; a collective, which every rank calls with the same ``ranks``.

        Args:
            ranks: those of the group, in any order and each once. In the group they are counted from 0 in ascending
                order, whatever the order here. They are ranks of the launch: a group makes no groups of its own.

        Returns:
            The group, with ``rank`` and ``size`` counted within it and ``local_rank`` as outside (it still names the
            rank's GPU); None on a rank that is not in it. A group of one rank is a LocalComm.

        Raises:
            CollectiveError: the ranks asked for different groups, or a rank is gone.
        """
        ...

    def send(self, tensor: Tensor, *, to: int, name: str) -> None:
        """Send a tensor of any shape, dtype and device to another rank; it may be changed when this returns.

        Never waits for ``recv``: what has not been asked for yet is kept in the receiver's memory without a limit, so
        a sender that could run ahead waits for an answer now and then. A message to a rank that dies may be lost
        without an error here.

        Raises:
            LostRankError: that rank is gone.
        """
        ...

    def recv(self, *, source: int, name: str) -> Tensor:
        """The next message of this name from one rank, in host memory; blocks until it is there.

        Raises:
            LostRankError: that rank is gone, and everything that it had sent under this name was received.
        """
        return self.recv_any(sources=[source], name=name)[1]

    def recv_any(self, *, sources: Sequence[int] | None = None, name: str) -> tuple[int, Tensor]:
        """The sender and the tensor of the next message of this name from any of some ranks; blocks until there is one.

        Args:
            sources: the ranks to listen to; None stands for all but this one.

        Raises:
            LostRankError: no message waits and one of ``sources`` is gone. To go on without that rank, leave it out of
                the next call.
        """
        ...

    def close(self) -> None:
        """Leave; nothing may follow, in groups neither. Closing a group does nothing: its ranks remain joined."""
        ...

    def allreduce(self, tensor: Tensor, *, op: Op = "sum", name: str) -> Tensor:
        """Combine a tensor of one shape over the ranks; the tensor stays as it is."""
        return self.allreduce_async(tensor.detach().clone(), op=op, name=name).wait()

    def barrier(self) -> None:
        """Return when every rank has come here."""
        self.allreduce(torch.zeros(1), name="barrier")

    def broadcast_object(self, value: Any, *, root: int = 0, name: str) -> Any:
        """The root's value, sent as JSON because a pickle from the network could run code."""
        text = _to_bytes(value) if self.rank == root else torch.zeros(0, dtype=torch.uint8)
        length = self.broadcast(torch.tensor([len(text)]), root=root, name=f"{name}.length")
        if self.rank != root:
            text = torch.zeros(int(length), dtype=torch.uint8)
        return _from_bytes(self.broadcast(text, root=root, name=f"{name}.text"))

    def allgather_object(self, value: Any, *, name: str) -> list[Any]:
        """Every rank's value in rank order, sent as JSON."""
        text = _to_bytes(value)
        lengths = self.allgather(torch.tensor([len(text)]), name=f"{name}.lengths")
        texts = self.allgather(text, name=f"{name}.texts")
        return [_from_bytes(part) for part in torch.split(texts, lengths.tolist())]


def carrier(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which values of ``dtype`` are added or compared."""
    return _WIDER.get(dtype, dtype)


def as_movable(tensor: Tensor) -> Tensor:
    """The same bytes, contiguous, in a dtype that every transport copies; ``result.view(dtype)`` undoes it."""
    return tensor.detach().contiguous().view(_SAME_BYTES.get(tensor.dtype, tensor.dtype))


def require_mean_of_floats(dtype: torch.dtype, op: Op) -> None:
    assert op != "mean" or dtype.is_floating_point, f"the mean of {dtype} would be rounded: sum it, or cast it first"


def _to_bytes(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _from_bytes(text: Tensor) -> Any:
    return json.loads(text.numpy().tobytes())
