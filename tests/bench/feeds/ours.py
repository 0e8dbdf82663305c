"""The systems of our own environment: the bare decoder, our feed, and Petastorm as it comes."""

import contextlib
import itertools
import queue
import sys
import threading
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from feeds import clock
from feeds.clock import Job, Stream
from training.feed import Feed, FeedSettings
from training.feed.augment import AugmentSettings
from training.feed.decode import DecodeSettings, centre_box, jpeg_size, render

SHUFFLED_ROWS = 1000


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
        for batch in feed.epoch(epoch, goes_on=True):
            yield batch.images


def petastorm(job: Job, *, batched: bool) -> Stream:
    """Stock: make_batch_reader, a TransformSpec that decodes as Petastorm's own codec does, and one of its loaders."""
    from petastorm import make_batch_reader
    from petastorm import pytorch as loaders
    from petastorm.transform import TransformSpec

    cv2.setNumThreads(1)
    side = job.side_px

    def decode(rows: pd.DataFrame) -> pd.DataFrame:
        bgr = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in rows["image"])
        rows["image"] = [square(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), side) for picture in bgr]
        return rows

    spec = TransformSpec(decode, edit_fields=[("image", np.uint8, (side, side, 3), False)], selected_fields=["image"])
    reader = make_batch_reader(
        [path.as_uri() for path in sorted((job.folder / "ours" / "train").glob("*.parquet"))],
        schema_fields=["image"],
        transform_spec=spec,
        workers_count=job.workers,
        num_epochs=None,  # with 1 its pool loses row groups
    )
    loader = loaders.BatchedDataLoader if batched else loaders.DataLoader
    with loader(reader, batch_size=job.batch_size, shuffling_queue_capacity=SHUFFLED_ROWS) as batches:
        for batch in batches:
            yield batch["image"].permute(0, 3, 1, 2)


def square(rgb: np.ndarray, side: int) -> np.ndarray:
    """The square at the centre, at the size that is fed."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short == side and height == width:
        return rgb
    top, left = (height - short) // 2, (width - short) // 2
    return cv2.resize(rgb[top : top + short, left : left + short], (side, side), interpolation=cv2.INTER_AREA)


SYSTEMS = {
    "bound": bound,
    "ours": ours,
    "petastorm": partial(petastorm, batched=False),
    "petastorm-batched": partial(petastorm, batched=True),
}

if __name__ == "__main__":
    clock.main(SYSTEMS)
