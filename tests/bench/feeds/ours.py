"""The systems of our own environment: the bare decoder and our feed."""

import contextlib
import itertools
import queue
import sys
import threading
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from feeds import clock
from feeds.clock import Job, Stream
from training.feed.decode import centre_box, jpeg_size, render
from training.feed.feed import Feed
from training.feed.settings import AugmentSettings, DecodeSettings, FeedSettings


def bound(job: Job) -> Stream:
    """Nothing but `render`: bytes in memory, and blocks that are there. The threads never wait for one another."""
    cv2.setNumThreads(1)
    settings = DecodeSettings(size_px=job.side_px)
    choose = lru_cache(maxsize=1024)(partial(centre_box, settings=settings))
    images = [path.read_bytes() for path in sorted((job.folder / "jpegs").iterdir())]
    sizes = [jpeg_size(data, settings.limits) for data in images]
    blocks = [np.empty((job.batch_size, job.side_px, job.side_px, 3), np.uint8) for _ in range(job.workers)]
    ready = queue.Queue(maxsize=job.workers)  # who does not take stops them
    stopped = threading.Event()

    def decode(worker: int) -> None:
        for first in itertools.count(worker * job.batch_size, job.workers * job.batch_size):
            for place, picture in enumerate(blocks[worker]):
                number = (first + place) % len(images)
                render(images[number], picture, sizes[number], choose, limits=settings.limits)
            ready.put(blocks[worker])
            if stopped.is_set():
                return

    threads = [threading.Thread(target=decode, args=(worker,)) for worker in range(job.workers)]
    for thread in threads:
        thread.start()
    try:
        while True:
            yield ready.get().transpose(0, 3, 1, 2)
    finally:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.1)


def ours(job: Job) -> Stream:
    settings = FeedSettings(
        threads=job.workers, decode=DecodeSettings(size_px=job.side_px), augment=AugmentSettings(flip=0.0)
    )
    feed = Feed(job.folder / "ours", "train", settings, seed=0, global_batch_size=job.batch_size, rank=0, size=1)
    for epoch in itertools.count():
        for batch in feed.epoch(epoch, has_next_epoch=True):
            yield batch.images


SYSTEMS = {
    "bound": bound,
    "ours": ours,
}

if __name__ == "__main__":
    clock.main(SYSTEMS)
