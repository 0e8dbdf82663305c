"""Heads for many identities: seconds of a step, and memory above the weights, of four ways to hold features to classes.

    python tests/bench/heads.py [--ids 10000 100000 1000000 10000000] [--ranks 2] [--batch 64] [--rounds 3]

    full    every centre in every step, shared out over the ranks (model parallelism)
    dense   the peer: Partial FC with a tenth of the centres, whose gradient and update are dense, as in InsightFace's
            second version (partial_fc_v2.py); written here
    sparse  ours: a tenth of the centres, and only those are read, updated and decayed
    pool    F2C's pool, of as many slots whatever number of identities; a step is both of its halves

Each way runs in a launch of its own under horovodrun (one rank: without, which is how it runs on a GPU that has no
Horovod); the pool again with the most and the least identities, whose steps take turns in one launch. Features are
drawn, so that no backbone hides the head. Memory is the largest resident set of a rank (on a GPU: what was allocated)
less what was there before the head; above_mib is that less its weights, or its pool. Figures are medians of the rounds.
The last line is JSON. Goals: dense_over_sparse at 1M above 2 in time and memory, pool_most_over_least below 1.1 in
both, lru_share below 0.05. Sizes that do not fit the memory are left out.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.comm.horovod import HorovodComm
from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.objectives.base_settings import ObjectiveSettings
from training.objectives.build import build_objective
from training.objectives.context import ObjectiveContext
from training.objectives.distributed_softmax import gather_features, sharded_cross_entropy
from training.objectives.head_settings import CosFaceSettings, ShardedSettings
from training.objectives.margin import cosface
from training.objectives.objective import Objective
from training.objectives.settings import ClassPoolSettings, PoolSettings, half_step_pictures
from training.objectives.sharded_centres import classes_of
from training.settings import SgdSettings

REPO = Path(__file__).parents[2]
METHODS = ("full", "dense", "sparse", "pool")
IN_TURNS = "pool in turns"
DIM = 512
RATE = 0.1
MARGIN, SCALE = 0.4, 64.0  # of CosFace
WARM_UP_STEPS = 2
TURNS = 40  # steps of each of two pools
SGD = SgdSettings()


@dataclass
class Head:
    """One way, on one rank."""

    step: Callable[[Tensor, Tensor], None]  # features (B, D) with a gradient, labels (B,)
    weights: int  # bytes
    in_halves: bool = False  # a step is fed a half-step's pictures, twice
    lru_seconds: Callable[[], float] = lambda: 0.0  # so far


def built(settings: ObjectiveSettings, ids: int, comm: Comm, device: torch.device) -> Objective:
    return build_objective(settings, ObjectiveContext(nn.Identity(), comm, device, SGD, 0, ids, DIM))


def sharded_head(ids: int, comm: Comm, device: torch.device, *, sample_rate: float) -> Head:
    centres = ShardedSettings(sample_rate=sample_rate)
    head = built(CosFaceSettings(margin=MARGIN, scale=SCALE, centres=centres), ids, comm, device)
    [local] = head.local_updates
    tables = head.local_rows.tables
    tables["velocity"].zero_()  # memory that is promised, but that no row was ever written to, would not be counted

    def step(features: Tensor, labels: Tensor) -> None:
        head(features, labels).backward()
        local.step(0.1, 1.0)

    return Head(step, tables["weight"].nbytes)


def dense_head(ids: int, comm: Comm, device: torch.device) -> Head:
    """The shard is one parameter of torch's own SGD; rows are ranked by random numbers and gathered with a gradient."""
    mine = classes_of(comm.rank, size=comm.size, num_classes=ids)
    weight = nn.Parameter(torch.empty(len(mine), DIM, device=device).normal_(std=0.01))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=SGD.momentum, weight_decay=SGD.weight_decay)

    def cosines_of(gathered: Tensor, centres: Tensor) -> Tensor:
        return functional.linear(functional.normalize(gathered), functional.normalize(centres))

    def loss_of(cosine: Tensor, places: Tensor) -> Tensor:
        return sharded_cross_entropy(cosface(cosine, places, margin=MARGIN, scale=SCALE), places, comm)

    def step(features: Tensor, labels: Tensor) -> None:
        gathered = gather_features(features, comm, torch.float32)
        rows = comm.allgather(labels, name="labels") - mine.start
        is_here = (rows >= 0) & (rows < len(mine))
        ranks = torch.rand(len(mine), device=device)
        ranks[rows[is_here]] = 2.0
        index = ranks.topk(max(int(RATE * len(mine)), len(rows[is_here].unique()))).indices.sort().values
        places = torch.where(is_here, torch.searchsorted(index, rows), -1)
        optimiser.zero_grad()
        loss_of(cosines_of(gathered, weight[index]), places).backward()
        optimiser.step()

    return Head(step, weight.nbytes)


def pool_head(ids: int, comm: Comm, device: torch.device, *, slots: int) -> Head:
    settings = ClassPoolSettings(margin=MARGIN, scale=SCALE, pool=PoolSettings(slots=slots))
    head = built(settings, ids, comm, device)
    head.pool._lru = Timed(head.pool._lru)

    def step(features: Tensor, labels: Tensor) -> None:
        side = features.detach(), labels.cpu()
        loss = head._half(side, side, lambda _: features, lambda _net, images: images, stays=False)
        loss = loss + head._half(side, side, lambda _: features, lambda _net, images: images, stays=True)
        loss.backward()

    return Head(step, head.pool.features_2QD.nbytes, True, lambda: head.pool._lru.seconds)


class Timed:
    """Another object, and the seconds that its methods took."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def resident(device: torch.device, *, largest: bool) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if largest else torch.cuda.memory_allocated(device)
    if largest:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return psutil.Process().memory_info().rss


@dataclass
class Rank:
    """The rank that makes steps, and the number of their pictures."""

    comm: Comm
    device: torch.device
    batch: int
    drawn: np.random.Generator

    def head(self, method: str, ids: int, *, slots: int) -> Head:
        if method == "dense":
            return dense_head(ids, self.comm, self.device)
        if method == "pool":
            return pool_head(ids, self.comm, self.device, slots=slots)
        return sharded_head(ids, self.comm, self.device, sample_rate=RATE if method == "sparse" else 1.0)

    def seconds_of_step(self, head: Head, ids: int) -> float:
        batch = half_step_pictures(self.batch) if head.in_halves else self.batch
        features = torch.tensor(self.drawn.normal(size=(batch, DIM)), dtype=torch.float32, device=self.device)
        labels = torch.tensor(self.drawn.integers(0, ids, batch), device=self.device)
        self.comm.barrier()
        started = time.perf_counter()
        head.step(features.requires_grad_(), labels)
        self.comm.barrier()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started


def measure_alone(rank: Rank, method: str, ids: int, arguments: argparse.Namespace) -> dict[str, float]:
    before = resident(rank.device, largest=False)
    head = rank.head(method, ids, slots=arguments.slots)
    seconds, lru_seconds = [], []
    for _ in range(WARM_UP_STEPS + arguments.steps):
        lru_before = head.lru_seconds()
        seconds.append(rank.seconds_of_step(head, ids))
        lru_seconds.append(head.lru_seconds() - lru_before)
    total = resident(rank.device, largest=True) - before
    step = statistics.median(seconds[WARM_UP_STEPS:])
    told = {"step_ms": 1000 * step, "head_mib": total / 2**20, "above_mib": (total - head.weights) / 2**20}
    if method == "pool":
        told["lru_share"] = statistics.median(lru_seconds[WARM_UP_STEPS:]) / step
    return told


def measure_in_turns(rank: Rank, least: int, most: int, arguments: argparse.Namespace) -> dict[str, float]:
    """One pool with the fewest, one with the most identities, a step of each at a time."""
    heads = {ids: rank.head("pool", ids, slots=arguments.slots) for ids in (least, most)}
    seconds: dict[int, list[float]] = {ids: [] for ids in heads}
    for _ in range(WARM_UP_STEPS + TURNS):
        for ids, head in heads.items():
            seconds[ids].append(rank.seconds_of_step(head, ids))
    few, many = (statistics.median(seconds[ids][WARM_UP_STEPS:]) for ids in (least, most))
    return {"most_over_least": many / few}


def measure(method: str, arguments: argparse.Namespace) -> None:
    """Print the figures of one way; run by the launcher."""
    comm: Comm = LocalComm() if arguments.ranks == 1 else HorovodComm()
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", comm.local_rank % torch.cuda.device_count()) if has_gpu else torch.device("cpu")
    torch.set_num_threads(1)
    torch.empty(0, device=device)  # what a GPU takes at its first use is not the head's
    rank = Rank(comm, device, arguments.batch, np.random.default_rng(comm.rank))
    if method == IN_TURNS:
        told = measure_in_turns(rank, *arguments.ids, arguments)
    else:
        told = measure_alone(rank, method, *arguments.ids, arguments)
    if comm.rank == 0:
        print(f"measured={json.dumps(told)}", flush=True)
    comm.close()


def launch(method: str, ids: list[int], arguments: argparse.Namespace) -> dict[str, float]:
    launcher = [str(Path(sys.executable).parent / "horovodrun"), "-np", str(arguments.ranks), "--gloo"]
    own = [f"--{name}={getattr(arguments, name)}" for name in ("batch", "steps", "slots", "ranks")]
    command = [sys.executable, __file__, *own, "--ids", *map(str, ids), f"--method={method}"]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*(launcher if arguments.ranks > 1 else []), *command],
        env=environment, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    lines = [line for line in ended.stdout.splitlines() if "measured=" in line]
    if ended.returncode or len(lines) != 1:
        sys.exit(f"{method} at {ids} identities failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    told: dict[str, float] = json.loads(lines[0].split("measured=")[1])
    return told


def fits(ids: int, method: str, batch: int, ranks: int) -> bool:
    """Weights, momentum and gradient of all ranks, and their logits twice, in what is free of the host's memory."""
    if torch.cuda.is_available() or method == "pool":
        return True
    tables = {"full": 3, "dense": 3.5, "sparse": 2.5}[method] * ids * DIM * 4
    return (
        tables + 4 * 4 * batch * ranks * ids * (1.0 if method == "full" else RATE)
        < 0.8 * psutil.virtual_memory().available
    )


def ratio(over: dict[str, float], under: dict[str, float]) -> dict[str, float]:
    return {key: round(over[key] / under[key], 2) for key in ("step_ms", "head_mib", "above_mib")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)  # per rank
    parser.add_argument("--slots", type=int, default=10_000)  # of the pool
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", choices=[*METHODS, IN_TURNS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.method:
        measure(arguments.method, arguments)
        return
    runs: dict[tuple[int, str], list[dict[str, float]]] = {}
    turns: list[float] = []
    least, most = min(arguments.ids), max(arguments.ids)
    for _ in range(arguments.rounds):
        for ids in arguments.ids:
            for method in METHODS:
                if fits(ids, method, arguments.batch, arguments.ranks):
                    told = launch(method, [ids], arguments)
                    print(ids, method, {key: round(value, 3) for key, value in told.items()}, flush=True)
                    runs.setdefault((ids, method), []).append(told)
        turns.append(launch(IN_TURNS, [least, most], arguments)["most_over_least"])
    found = {
        key: {name: statistics.median(told[name] for told in several) for name in several[0]}
        for key, several in runs.items()
    }
    result: dict[str, Any] = {"dim": DIM, "ranks": arguments.ranks, "batch": arguments.batch, "slots": arguments.slots}
    if torch.cuda.is_available():
        result["card"] = torch.cuda.get_device_name()
    for ids, method in found:
        result[f"{method} {ids}"] = {name: round(value, 3) for name, value in found[ids, method].items()}
        if method in ("full", "dense") and (ids, "sparse") in found:
            result[f"{method}_over_sparse {ids}"] = ratio(found[ids, method], found[ids, "sparse"])
    result["pool_most_over_least"] = ratio(found[most, "pool"], found[least, "pool"])
    result["pool_most_over_least"]["step_ms"] = round(statistics.median(turns), 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
