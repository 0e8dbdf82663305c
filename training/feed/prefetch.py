"""Run an iterator in a thread of its own, a few items ahead of its consumer.

What the iterator raises is raised to the consumer. The thread ends when the consumer closes or forgets the prefetcher
and when the interpreter exits, also while it waits for room.
"""

import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

LIFE_CHECK_SECONDS = 1.0


class Prefetch(Generic[Item]):
    """An iterator over the items of a generator; the generator is closed in the thread that runs it."""

    def __init__(self, source: Generator[Item, None, None], *, depth: int) -> None:
        self.wait_seconds = 0.0  # that the consumer has spent waiting for items
        self._line: _Line[Item] = _Line(depth)
        # The thread must not hold the prefetcher, else nobody could forget it. It is a daemon since the interpreter
        # joins all others before it asks them to stop.
        self._thread = threading.Thread(target=_produce, args=(source, self._line), name="feed-prefetch", daemon=True)
        # At exit the latest of these is called first. The line lives as long as the thread: where the prefetcher was
        # forgotten a moment ago the thread is still ending, and one that is in foreign code then aborts the process.
        weakref.finalize(self._line, _join, self._thread)
        self._stop = weakref.finalize(self, _stop, self._line)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if not self._stop.alive:
            raise StopIteration
        begin = time.perf_counter()
        outcome = self._next_outcome()
        self.wait_seconds += time.perf_counter() - begin
        if isinstance(outcome, _End):
            self.close()
            if outcome.error is not None:
                raise outcome.error
            raise StopIteration
        return outcome

    def _next_outcome(self) -> "Item | _End":
        while True:
            try:
                return self._line.items.get(timeout=LIFE_CHECK_SECONDS)
            except queue.Empty:
                # A thread that ends normally leaves an `_End`; without one it died unnoticed by Python.
                if not self._thread.is_alive() and self._line.items.empty():
                    return _End(RuntimeError("the thread that makes the batches is dead"))

    def close(self) -> None:
        """End the thread and wait until it has let go of everything."""
        self._stop()
        self._thread.join()


class _End:
    """The last item, with the error that ended the thread if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Line(Generic[Item]):
    """The queue and the flag that the two threads share."""

    def __init__(self, depth: int) -> None:
        self.items: queue.Queue[Item | _End] = queue.Queue(depth)
        self.stopped = threading.Event()


def _produce(source: Generator[Item, None, None], line: _Line[Item]) -> None:
    error = None
    try:
        for item in source:
            line.items.put(item)
            if line.stopped.is_set():
                break
    except BaseException as raised:  # whatever it is, the consumer must not wait for ever
        error = raised
    finally:
        source.close()
    if not line.stopped.is_set():
        line.items.put(_End(error))


def _join(thread: threading.Thread) -> None:
    if thread is not threading.current_thread():
        thread.join()


def _stop(line: _Line[Item]) -> None:
    line.stopped.set()
    # Makes room for an item that is waiting for it; no other can follow, since the thread looks at `stopped` next.
    with contextlib.suppress(queue.Empty):
        while True:
            line.items.get_nowait()
