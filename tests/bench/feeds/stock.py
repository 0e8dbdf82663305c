"""Petastorm as it comes, with its two loaders; run by a Python in which it does: pyarrow 14 and numpy 1."""

import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from petastorm import make_batch_reader
from petastorm import pytorch as loaders
from petastorm.transform import TransformSpec

sys.path.insert(0, str(Path(__file__).parents[1]))

from feeds import clock
from feeds.clock import Job, Stream

SHUFFLED_ROWS = 1000


def petastorm(job: Job, *, batched: bool) -> Stream:
    """Stock: make_batch_reader, a TransformSpec that decodes as Petastorm's own codec does, and one of its loaders."""
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
    "petastorm": partial(petastorm, batched=False),
    "petastorm-batched": partial(petastorm, batched=True),
}

if __name__ == "__main__":
    clock.main(SYSTEMS)
