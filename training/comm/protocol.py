"""What a rank can ask of the others: the collectives, their names and the dtypes that travel.

Every rank calls the same collectives in the same order, with the same ``name``; results have the dtype and device
of the input, and the same bits on every rank. A name may be used again once its collective is over.
"""

import json
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
    """A collective did not come to its end: another rank died, left early or asked for something else."""


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

    def close(self) -> None:
        """Leave; no collective may follow."""
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
