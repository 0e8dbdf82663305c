"""The timing of a feed, the same for all; needs only Python and numpy, for the peers' environment too.

A system is a function from a `Job` to an endless stream of batches. Its clock starts some steps after the first batch,
so that neither the start of workers nor what they had ready counts, and runs over at least so many seconds, and on
until as many pictures have come as the set has, or twice the seconds are over; the turns of epochs count.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

WARM_STEPS = 8  # before the clock starts: more than any queue here holds, and enough to fill it where the step is slow
TURNS = 15  # of two systems beside one another
MOST_QUEUED = 6  # batches that a system makes after it was last asked
TRIALS = 7  # of the bisection, which begins with a span of a factor of 16: the last step is one of 2 %
MIN_UTILISATION = 0.9  # MLPerf Storage's, for ResNet-50


@dataclass(frozen=True)
class Job:
    """The data to be fed."""

    folder: Path  # of one set of pictures, as `data` made it
    side_px: int
    workers: int
    batch_size: int
    images: int  # in the set
    decoder: str  # of the peers that leave the choice to the user: pil or cv2


Stream = Iterator[Any]  # of arrays or tensors, uint8 (B, 3, S, S)
System = Callable[[Job], Stream]


def main(systems: dict[str, System], writers: dict[str, Callable[[Job], None]] | None = None) -> None:
    """Time the system that the command line names, or write its format; the last line printed is the answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["write", "rate", "beside", "accelerate"])
    parser.add_argument("system")
    parser.add_argument("job", type=json.loads)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--other", help="the system that `beside` compares with")
    parser.add_argument("--most", type=float, help="images/s at which the bisection of `accelerate` begins")
    options = parser.parse_args()
    job = Job(**options.job | {"folder": Path(options.job["folder"])})
    if options.verb == "write":
        (writers or {}).get(options.system, lambda _: None)(job)
        answer: dict[str, Any] = {}
    else:
        stream = checked(systems[options.system](job), job)
        if options.verb == "rate":
            answer = rate(stream, job, options.seconds)
        elif options.verb == "beside":
            # In small batches, so that a turn has many of them.
            small = replace(job, batch_size=job.batch_size // 16)
            answer = beside(stream, checked(systems[options.other](small), small), options.seconds)
        else:
            answer = {"images_per_second": most_fed(stream, job, options.seconds, options.most)}
    print(json.dumps(answer), flush=True)


def checked(stream: Stream, job: Job) -> Stream:
    """The stream, whose first batch must be what all are asked for."""
    first = next(stream)
    shape = (job.batch_size, 3, job.side_px, job.side_px)
    assert tuple(first.shape) == shape, f"{tuple(first.shape)} is not {shape}"
    pixels = np.asarray(first)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 10, "the pictures are empty"
    assert pixels.mean(axis=(1, 2, 3)).std() > 1, "the pictures are all alike"
    return itertools.chain([first], stream)


def rate(stream: Stream, job: Job, seconds: float) -> dict[str, float]:
    """Images per second of the clock, and of this process's CPU (which says little of systems with workers)."""
    for _ in range(WARM_STEPS):
        next(stream)
    wall, cpu, images = time.perf_counter(), time.process_time(), 0
    while (elapsed := time.perf_counter() - wall) < seconds or (images < job.images and elapsed < 2 * seconds):
        images += len(next(stream))
    return {"images_per_second": images / elapsed, "images_per_cpu_second": images / (time.process_time() - cpu)}


def beside(stream: Stream, other: Stream, seconds: float) -> dict[str, float]:
    """The stream's rate by that of another, which takes turns with it in one process; medians over the turns.

    A shared machine changes its speed within seconds: two processes, one after the other, tell more of it than of the
    streams. Who is not asked stands still, once its queues are full.
    """
    by_clock, by_cpu = [], []
    for _ in range(TURNS):
        before, measured, after = turn(other, seconds / 4), turn(stream, seconds), turn(other, seconds / 4)
        by_clock.append(2 * measured[0] / (before[0] + after[0]))
        by_cpu.append(2 * measured[1] / (before[1] + after[1]))
    return {"by_clock": statistics.median(by_clock), "by_cpu": statistics.median(by_cpu)}


def turn(stream: Stream, seconds: float) -> tuple[float, float]:
    """Images per second of the clock and of the CPU, without the batches that were ready."""
    for _ in range(WARM_STEPS):
        next(stream)
    wall, cpu, images, steps = time.perf_counter(), time.process_time(), 0, 0
    while (elapsed := time.perf_counter() - wall) < seconds:
        images += len(next(stream))
        steps += 1
    cpu = time.process_time() - cpu
    time.sleep(MOST_QUEUED * elapsed / steps)
    return images / elapsed, images / cpu


def most_fed(stream: Stream, job: Job, seconds: float, most: float) -> float | None:
    """The highest rate at which an accelerator with a fixed time per step is still busy, by bisection."""
    low, high, found = most / 16, most, None
    for _ in range(TRIALS):
        images_per_second = (low * high) ** 0.5
        if utilisation(stream, job.batch_size / images_per_second, seconds) >= MIN_UTILISATION:
            low = found = images_per_second
        else:
            high = images_per_second
    return found


def utilisation(stream: Stream, step_seconds: float, seconds: float) -> float:
    """Busy time by wall time of an accelerator that takes so long for each step, whatever is in it."""
    steps = max(10, round(seconds / step_seconds))
    for number in range(WARM_STEPS + steps):
        if number == WARM_STEPS:
            begin = time.perf_counter()
        next(stream)
        end = time.perf_counter() + step_seconds
        while (left := end - time.perf_counter()) > 0:
            time.sleep(left)
    return steps * step_seconds / (time.perf_counter() - begin)
