"""Heads for many identities: seconds of a step, and memory above the weights, of four ways to hold features to classes.

usage: python tests/bench/heads.py [--ids 10000 100000 1000000] [--ranks 2] [--batch 64] [--steps 10]

    full    every centre in every step, shared out over the ranks (model parallelism)
    dense   Partial FC with a tenth of the centres, whose gradient and update are dense, as InsightFace's second version
            does it: written here, the peer
    sparse  ours: a tenth of the centres, and only those are read, updated and decayed
    pool    F2C's pool with slots for a hundredth of the identities; the same features stand for both nets'

Each way runs in a launch of its own. Features come as they are, so that no backbone hides the head. Memory is the
largest resident set of a rank (on a GPU: allocated) less what was there before the head, less its centres or pool. The
last line is JSON; ratios are dense over sparse, and full over sparse. Sizes that do not fit the memory are left out.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from training.comm import Comm
from training.comm.horovod import HorovodComm
from training.objectives import ObjectiveSettings, Surroundings, build_objective
from training.objectives.distributed_softmax import gather_features, sharded_cross_entropy
from training.objectives.logits import Logits
from training.objectives.margin import cosface
from training.objectives.sharded_centres import classes_of
from training.optim import OptimiserSettings

REPO = Path(__file__).parents[2]
METHODS = ("full", "dense", "sparse", "pool")
DIM = 512
RATE = 0.1
WARM_UP_STEPS = 2
SGD = OptimiserSettings()

# One step of one rank, and the bytes of what it holds features against.
Head = tuple[Callable[[Tensor, Tensor], None], int]


def sharded_head(ids: int, comm: Comm, device: torch.device, *, sample_rate: float) -> Head:
    settings = ObjectiveSettings(name="cosface", margin=0.4, scale=64.0, sharded=True, sample_rate=sample_rate)
    around = Surroundings(nn.Identity(), comm, device, SGD, 0)
    head = build_objective(settings, around, num_classes=ids, embedding_dim=DIM)
    [local] = head.local_updates

    def step(features: Tensor, labels: Tensor) -> None:
        head(features, labels).backward()
        local.step(0.1, 1.0)

    return step, head.local_rows.tables["weight"].nbytes


def dense_head(ids: int, comm: Comm, device: torch.device) -> Head:
    """The shard is one parameter of torch's own SGD; rows are ranked by random numbers and gathered with a gradient."""
    mine = classes_of(comm.rank, size=comm.size, num_classes=ids)
    weight = nn.Parameter(torch.empty(len(mine), DIM, device=device).normal_(std=0.01))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=SGD.momentum, weight_decay=SGD.weight_decay)
    logits = Logits(lambda cosine, labels, _norms: cosface(cosine, labels, margin=0.4, scale=64.0))

    def step(features: Tensor, labels: Tensor) -> None:
        gathered = gather_features(features, comm, torch.float32)
        rows = comm.allgather(labels, name="labels") - mine.start
        is_here = (rows >= 0) & (rows < len(mine))
        ranks = torch.rand(len(mine), device=device)
        ranks[rows[is_here]] = 2.0
        index = ranks.topk(int(RATE * len(mine))).indices.sort().values
        places = torch.where(is_here, torch.searchsorted(index, rows), -1)
        optimiser.zero_grad()
        sharded_cross_entropy(logits(gathered, weight[index], places), places, comm).backward()
        optimiser.step()

    return step, weight.nbytes


def pool_head(ids: int, comm: Comm, device: torch.device, *, slots: int) -> Head:
    settings = ObjectiveSettings.model_validate(
        {"name": "class_pool", "margin": 0.4, "scale": 32.0, "pool": {"slots": slots}}
    )
    head = build_objective(
        settings, Surroundings(nn.Identity(), comm, device, SGD, 0), num_classes=ids, embedding_dim=DIM
    )

    def step(features: Tensor, labels: Tensor) -> None:
        side = features.detach(), labels.cpu()
        loss = head._half(side, side, lambda _: features, lambda _net, images: images, stays=False)
        loss = loss + head._half(side, side, lambda _: features, lambda _net, images: images, stays=True)
        loss.backward()

    return step, head.pool.features_2QD.nbytes


def resident(device: torch.device, *, largest: bool) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if largest else torch.cuda.memory_allocated(device)
    if largest:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return psutil.Process().memory_info().rss


def measure(method: str, ids: int, arguments: argparse.Namespace) -> None:
    """Print seconds and bytes of one way; run by the launcher."""
    comm = HorovodComm()
    device = (
        torch.device("cuda", comm.local_rank % torch.cuda.device_count())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
    torch.set_num_threads(1)
    before = resident(device, largest=False)
    slots = max(ids // 100, 2 * comm.size * arguments.batch)
    step, held = {
        "full": lambda: sharded_head(ids, comm, device, sample_rate=1.0),
        "dense": lambda: dense_head(ids, comm, device),
        "sparse": lambda: sharded_head(ids, comm, device, sample_rate=RATE),
        "pool": lambda: pool_head(ids, comm, device, slots=slots),
    }[method]()
    drawn = np.random.default_rng(comm.rank)
    seconds = []
    for _ in range(WARM_UP_STEPS + arguments.steps):
        features = torch.tensor(drawn.normal(size=(arguments.batch, DIM)), dtype=torch.float32, device=device)
        labels = torch.tensor(drawn.integers(0, ids, arguments.batch), device=device)
        comm.barrier()
        started = time.perf_counter()
        step(features.requires_grad_(), labels)
        comm.barrier()
        seconds.append(time.perf_counter() - started)
    above = resident(device, largest=True) - before - held
    if comm.rank == 0:
        told = {"step_ms": 1000 * statistics.median(seconds[WARM_UP_STEPS:]), "above_mib": above / 2**20}
        print(f"measured={json.dumps(told)}", flush=True)
    comm.close()


def launch(method: str, ids: int, arguments: argparse.Namespace) -> dict[str, float]:
    launcher = [str(Path(sys.executable).parent / "horovodrun"), "-np", str(arguments.ranks), "--gloo"]
    own = ["--batch", str(arguments.batch), "--steps", str(arguments.steps), "--ids", str(ids), "--method", method]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*launcher, sys.executable, __file__, *own], env=environment, capture_output=True, text=True, timeout=3600
    )
    lines = [line for line in ended.stdout.splitlines() if "measured=" in line]
    if ended.returncode or len(lines) != 1:
        sys.exit(f"{method} at {ids} identities failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    return {name: round(value, 2) for name, value in json.loads(lines[0].split("measured=")[1]).items()}


def fits(ids: int, method: str, batch: int, ranks: int) -> bool:
    """Weights, momentum and gradient of all ranks, and their logits twice, in what is free of the host's memory."""
    if torch.cuda.is_available() or method == "pool":
        return True
    tables = {"full": 3, "dense": 3.5, "sparse": 2.5}[method] * ids * DIM * 4
    return (
        tables + 4 * 4 * batch * ranks * ids * (1.0 if method == "full" else RATE)
        < 0.8 * psutil.virtual_memory().available
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)  # per rank
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--method", choices=METHODS)
    arguments = parser.parse_args()
    if arguments.method:
        measure(arguments.method, arguments.ids[0], arguments)
        return
    found: dict[str, dict[str, dict[str, float]]] = {}
    for ids in arguments.ids:
        found[str(ids)] = {
            method: launch(method, ids, arguments)
            for method in METHODS
            if fits(ids, method, arguments.batch, arguments.ranks)
        }
        print(ids, found[str(ids)], flush=True)
    ratios = {
        ids: {
            f"{other}_over_sparse": {key: round(ways[other][key] / ways["sparse"][key], 2) for key in ways["sparse"]}
            for other in ("full", "dense")
            if other in ways and "sparse" in ways
        }
        for ids, ways in found.items()
    }
    print(
        json.dumps({"dim": DIM, "ranks": arguments.ranks, "batch": arguments.batch, "heads": found, "ratios": ratios})
    )


if __name__ == "__main__":
    main()
