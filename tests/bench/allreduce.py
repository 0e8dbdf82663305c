"""Our bucketed allreduce against Horovod's own DistributedOptimizer: seconds per step of a net that is all weights.

usage: python tests/bench/allreduce.py [--ranks 2] [--width 1024]

Each method runs in launches of its own, in turn, since one process has one fusion setting: ours runs without Horovod's
fusion (reproducible sums), Horovod's optimiser with its default. One line of JSON; the ratio is ours over Horovod's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from training.comm.horovod import HorovodComm
from training.feed.batch import Batch
from training.optim import build_optimiser
from training.settings import SgdSettings
from training.strategies.build import build_strategy
from training.strategies.settings import StrategySettings

REPO = Path(__file__).parents[2]
METHODS = ("ours", "horovod")
ROUNDS = 2
WARM_UP_STEPS = 5
STEPS = 20


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(width, width), nn.ReLU())))


def our_step(net: nn.Module, images: torch.Tensor):
    comm = HorovodComm()
    optimiser = build_optimiser(SgdSettings(clip_norm=None), [net])
    strategy = build_strategy(StrategySettings(), [net], optimiser, comm, clip_norm=None, has_loss_scaling=False)
    batch = Batch(images=images, labels=torch.zeros(len(images), dtype=torch.int64), image_ids=[])
    return lambda: strategy.advance(lambda: batch, lambda b: net(b.images).square().mean(), 0.01)


def horovods_step(net: nn.Module, images: torch.Tensor):
    import horovod.torch as hvd

    hvd.init()
    hvd.broadcast_parameters(net.state_dict(), root_rank=0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005)
    optimiser = hvd.DistributedOptimizer(optimiser, named_parameters=net.named_parameters())

    def step() -> None:
        optimiser.zero_grad()
        loss = net(images).square().mean()
        loss.backward()
        optimiser.step()
        hvd.allreduce(loss.detach(), name="loss")

    return step


def measure(method: str, width: int) -> None:
    """Print the median seconds of a step; run by the launcher."""
    step = {"ours": our_step, "horovod": horovods_step}[method](network(width), torch.randn(8, width))
    seconds = []
    for _ in range(WARM_UP_STEPS + STEPS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    if os.environ["HOROVOD_RANK"] == "0":
        print(f"seconds={statistics.median(seconds[WARM_UP_STEPS:])}", flush=True)


def launch(method: str, arguments: argparse.Namespace) -> float:
    launcher = [str(Path(sys.executable).parent / "horovodrun"), "-np", str(arguments.ranks), "--gloo"]
    command = [*launcher, sys.executable, __file__, "--width", str(arguments.width), "--method", method]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout
    [line] = [line for line in said.splitlines() if "seconds=" in line]
    return float(line.split("seconds=")[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--method", choices=METHODS)
    arguments = parser.parse_args()
    if arguments.method:
        measure(arguments.method, arguments.width)
        return
    seconds = {method: [] for method in METHODS}
    for _ in range(ROUNDS):
        for method in METHODS:
            seconds[method].append(launch(method, arguments))
    best = {method: min(values) for method, values in seconds.items()}
    result = {
        "parameters": sum(parameter.numel() for parameter in network(arguments.width).parameters()),
        "ranks": arguments.ranks,
        "step_ms": {method: round(1000 * value, 2) for method, value in best.items()},
        "ratio": round(best["ours"] / best["horovod"], 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
