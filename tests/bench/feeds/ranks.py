"""One of the ranks that horovodrun starts: trains a small network from the feed, and says how long it waited for it.

Rank 0 answers in one JSON line: seconds of a step, the share of it that the slowest rank waited for its batch, and the
share that a batch takes where nothing is trained, which says whether decoding fits into the time to spare.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from training.comm.horovod import HorovodComm
from training.feed.feed import Feed
from training.feed.settings import FeedSettings
from training.models.backbones import normalise
from training.optim import build_optimiser
from training.settings import SgdSettings
from training.strategies.build import build_strategy
from training.strategies.settings import StrategySettings

BATCH_SIZE = 64  # of each rank
WARM_STEPS = 5


def main(dataset: Path, steps: int) -> None:
    torch.set_num_threads(1)
    comm = HorovodComm()
    feed = Feed(
        dataset,
        "train",
        FeedSettings(),
        seed=0,
        global_batch_size=BATCH_SIZE * comm.size,
        rank=comm.rank,
        size=comm.size,
    )
    batches = (batch for epoch in itertools.count() for batch in feed.epoch(epoch))
    alone = seconds_of(lambda: next(batches), steps)
    net = network()
    optimiser = build_optimiser(SgdSettings(clip_norm=None), [net])
    strategy = build_strategy(StrategySettings(), [net], optimiser, comm, clip_norm=None, has_loss_scaling=False)

    def step() -> None:
        strategy.advance(
            lambda: next(batches),
            lambda batch: nn.functional.cross_entropy(net(normalise(batch.images)), batch.labels),
            0.01,
        )

    for _ in range(WARM_STEPS):
        step()
    waited = feed.wait_seconds
    training = seconds_of(step, steps)
    share = (feed.wait_seconds - waited) / (training * steps)
    worst = comm.allreduce(torch.tensor([share, alone / training]), op="max", name="shares").tolist()
    if comm.rank == 0:
        print(json.dumps({"step_seconds": training, "wait_of_step": worst[0], "decode_of_step": worst[1]}), flush=True)
    batches.close()
    comm.close()


def network() -> nn.Module:
    torch.manual_seed(0)
    widths = (3, 32, 64, 128)
    blocks = [
        nn.Sequential(nn.Conv2d(before, width, 3, stride=2, padding=1), nn.ReLU())
        for before, width in itertools.pairwise(widths)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1000))


def seconds_of(work: Callable[[], object], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
