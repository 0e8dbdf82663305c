"""The thread ahead of the consumer: order, bounds, errors, and above all its end."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator

import pytest

from training.feed import prefetch
from training.feed.prefetch import Prefetch


def counting(end: int, *, closed: threading.Event | None = None) -> Generator[int, None, None]:
    try:
        yield from range(end)
    finally:
        if closed is not None:
            closed.set()


def threads() -> int:
    return sum(thread.name == "feed-prefetch" for thread in threading.enumerate())


def soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5.0
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_items_come_in_order_and_end() -> None:
    ahead = Prefetch(counting(100), depth=3)
    assert list(ahead) == list(range(100))
    assert list(ahead) == []
    assert threads() == 0


def test_it_runs_no_further_ahead_than_its_depth() -> None:
    made: list[int] = []

    def source() -> Generator[int, None, None]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = Prefetch(source(), depth=2)
    assert next(ahead) == 0
    time.sleep(0.1)
    assert len(made) <= 4  # one taken, two in the queue, one that waits for room
    ahead.close()


def test_an_error_reaches_the_consumer_after_the_items_before_it() -> None:
    def source() -> Generator[int, None, None]:
        yield 1
        raise ArithmeticError("planted")

    ahead = Prefetch(source(), depth=2)
    assert next(ahead) == 1
    with pytest.raises(ArithmeticError, match="planted"):
        next(ahead)
    assert list(ahead) == []


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_closing_ends_the_thread_and_closes_the_source(taken: int) -> None:
    closed = threading.Event()
    ahead = Prefetch(counting(10**9, closed=closed), depth=1)
    for _ in range(taken):
        next(ahead)
    ahead.close()
    assert closed.is_set()
    assert threads() == 0


def test_forgetting_it_ends_the_thread() -> None:
    closed = threading.Event()
    ahead = Prefetch(counting(10**9, closed=closed), depth=1)
    next(ahead)
    del ahead
    gc.collect()
    assert closed.wait(5.0)
    assert soon(lambda: threads() == 0)


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_a_process_ends_after_what_makes_the_items(is_forgotten: bool) -> None:
    program = f"""
import time
from training.feed.prefetch import Prefetch

def source():
    try:
        while True:
            yield 1
    finally:
        time.sleep(1)
        print("closed", flush=True)

ahead = Prefetch(source(), depth=2)
next(ahead)
if {is_forgotten}:
    del ahead
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


def test_waiting_is_counted() -> None:
    def slow() -> Generator[int, None, None]:
        time.sleep(0.05)
        yield 1

    ahead = Prefetch(slow(), depth=1)
    next(ahead)
    assert 0.02 < ahead.wait_seconds < 5.0


def test_a_thread_that_dies_without_a_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_produce", lambda source, line: line.items.put(1))
    ahead = Prefetch(counting(3), depth=2)
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="is dead"):
        next(ahead)
