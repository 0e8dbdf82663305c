"""Common to all transports of several ranks: making groups, and addressing messages within them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, Protocol

from torch import Tensor

from training.comm.local import LocalComm
from training.comm.protocol import CollectiveError, Comm, LostRankError

_MAX_ASKED_AT_ONCE = 64  # ranks, each by a thread

Box = tuple[int, str]  # the group's number (0: all ranks) and the message's name


class Post(Protocol):
    """The carrier of messages between the ranks of a launch, by their ranks in it."""

    host: str  # this process's address, by which the others reach it

    def send(self, tensor: Tensor, *, to: int, box: Box) -> None:
        """Send; see ``Comm.send``."""
        ...

    def receive(self, sources: Sequence[int], box: Box) -> tuple[int, Tensor]:
        """The next message in a box from any of ``sources``; see ``Comm.recv_any``."""
        ...

    def silence_of(self, rank: int) -> str | None:
        """The words for the silence of a rank that does not answer; None where it does."""
        return None

    def close(self) -> None:
        """End; everyone who waits for this rank's messages gets an error."""
        ...


class PeerComm(Comm):
    """A communicator over several ranks of a launch.

    Args:
        me: this process's rank in the launch.
        ranks: the communicator's ranks in the launch, ascending; it counts them from 0.
        local_rank: this process's number on its host.
        number: 0 for all ranks; groups count from 1 in the order in which they are made, alike on every rank.
    """

    post: Post

    def __init__(self, me: int, ranks: Sequence[int], *, local_rank: int, number: int = 0) -> None:
        self.ranks, self.number = tuple(ranks), number
        self.rank, self.size, self.local_rank = self.ranks.index(me), len(self.ranks), local_rank
        self._num_groups = 0

    def group(self, ranks: Sequence[int]) -> Comm | None:
        assert self.number == 0, "a group is made from the ranks of the launch, not from those of another group"
        members = sorted(ranks)
        assert members, "a group has at least one rank"
        assert len(set(members)) == len(members), f"a rank occurs twice in the group {list(ranks)}"
        assert members[0] >= 0, f"there is no rank {members[0]}"
        assert members[-1] < self.size, f"there is no rank {members[-1]} among {self.size}"
        asked = self.allgather_object(members, name="group")
        if any(other != members for other in asked):
            raise CollectiveError(f"the ranks asked for different groups: {asked}")
        self._num_groups += 1
        if len(members) == 1:
            return LocalComm(self.local_rank) if members[0] == self.rank else None
        return self.make_group(members, self._num_groups)

    def make_group(self, members: list[int], number: int) -> Comm | None:
        """Open a group of at least two ranks, on which all ranks agree; None on a rank outside."""
        ...

    def send(self, tensor: Tensor, *, to: int, name: str) -> None:
        [receiver] = self._others([to], name)
        try:
            self.post.send(tensor, to=receiver, box=(self.number, name))
        except LostRankError as error:
            self._blame(error, name)

    def recv_any(self, *, sources: Sequence[int] | None = None, name: str) -> tuple[int, Tensor]:
        if sources is None:
            sources = [rank for rank in range(self.size) if rank != self.rank]
        senders = self._others(sources, name)
        try:
            sender, tensor = self.post.receive(senders, (self.number, name))
        except LostRankError as error:
            self._blame(error, name)
        return self.ranks.index(sender), tensor

    def failed(self, name: str, error: Exception) -> CollectiveError:
        """The error of a collective, with the ranks that are gone or do not answer: the transport knows no names."""
        said = f"{name!r} failed on rank {self.rank} of {self.size}"
        silent = "; ".join(f"rank {rank} {why}" for rank, why in self._silent().items())
        return CollectiveError(f"{said}: {silent} ({error})" if silent else f"{said}: {error}")

    def _silent(self) -> dict[int, str]:
        """Rank in this communicator -> the words for its silence."""
        # Before the addresses are exchanged nobody can be asked.
        post: Post | None = getattr(self, "post", None)
        if post is None:
            return {}
        others = [rank for rank in range(self.size) if rank != self.rank]
        with ThreadPoolExecutor(_MAX_ASKED_AT_ONCE) as pool:
            answers = list(pool.map(lambda rank: post.silence_of(self.ranks[rank]), others))
        return {rank: why for rank, why in zip(others, answers, strict=True) if why is not None}

    def _others(self, ranks: Sequence[int], name: str) -> list[int]:
        """The ranks in the launch of some ranks of this communicator."""
        assert len(ranks), f"{name!r}: no rank is left to receive from"
        for rank in ranks:
            assert 0 <= rank < self.size, f"{name!r}: there is no rank {rank} among {self.size}"
            assert rank != self.rank, f"{name!r}: rank {rank} sends no messages to itself"
        return [self.ranks[rank] for rank in ranks]

    def _blame(self, error: LostRankError, name: str) -> NoReturn:
        lost = self.ranks.index(error.rank)
        raise LostRankError(f"{name!r} failed on rank {self.rank} of {self.size}: rank {lost} {error}", lost) from error
