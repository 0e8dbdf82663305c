"""Resident set of a process that does nothing but read epochs, at the end of each: one JSON list of KiB."""

import json
import sys
from pathlib import Path

from training.feed.feed import Feed
from training.feed.settings import FeedSettings

BATCH_SIZE = 256


def main(dataset: Path, epochs: int) -> None:
    feed = Feed(dataset, "train", FeedSettings(), seed=0, global_batch_size=BATCH_SIZE, rank=0, size=1)
    resident_kib = []
    for epoch in range(epochs):
        for _ in feed.epoch(epoch, has_next_epoch=True):
            pass
        resident_kib.append(resident())
    print(json.dumps(resident_kib))


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
