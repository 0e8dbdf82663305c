"""Messages that have arrived and wait to be received."""

import threading
from collections import deque
from collections.abc import Sequence

from torch import Tensor

from training.comm.peers import Box
from training.comm.protocol import CollectiveError, LostRankError


class Inbox:
    """A thread-safe queue for each box; it also knows which senders are connected and which are gone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._boxes: dict[Box, deque[tuple[int, Tensor]]] = {}
        self._heard: set[int] = set()
        self._lost: dict[int, str] = {}
        self.is_closed = False

    def hear(self, source: int) -> None:
        """A sender has connected: the end of its connection will tell that it is gone."""
        with self._changed:
            self._heard.add(source)

    def hears(self, source: int) -> bool:
        return source in self._heard

    def put(self, source: int, box: Box, tensor: Tensor) -> None:
        with self._changed:
            self._boxes.setdefault(box, deque()).append((source, tensor))
            self._changed.notify_all()

    def lose(self, source: int, reason: str) -> None:
        """A sender is gone, and nothing more of it will be put here."""
        with self._changed:
            self._lost.setdefault(source, reason)
            self._changed.notify_all()

    def take_waiting(self, sources: Sequence[int], box: Box) -> tuple[int, Tensor] | None:
        """The oldest message in a box from any of ``sources``; None where none waits."""
        with self._changed:
            waiting = self._boxes.get(box, ())
            for place, (source, tensor) in enumerate(waiting):
                if source in sources:
                    del self._boxes[box][place]
                    if not self._boxes[box]:
                        del self._boxes[box]
                    return source, tensor
        return None

    def take(self, sources: Sequence[int], box: Box) -> tuple[int, Tensor]:
        """The same; blocks until there is one.

        Raises:
            LostRankError: one of ``sources`` is gone.
            CollectiveError: this inbox was closed.
        """
        with self._changed:
            while True:
                found = self.take_waiting(sources, box)
                if found is not None:
                    return found
                for source in sources:
                    if source in self._lost:
                        raise LostRankError(f"is gone ({self._lost[source]})", source)
                if self.is_closed:
                    raise CollectiveError(f"this rank left while it waited for {box[1]!r}")
                self._changed.wait()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
