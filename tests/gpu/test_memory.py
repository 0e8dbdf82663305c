"""Memory that a head takes of the device against what `ringmill plan` tells of it.

On a GPU the peak is what its allocator counts, at sizes of hundreds of megabytes; on a CPU what torch's profiler
counts, at sizes of a few.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs.heads import head_size
from jobs.settings import RunSettings
from training.build import Builder
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.objectives.capacity import HeadCost, HeadSize, head_costs
from training.objectives.head_settings import HeadSettings
from training.objectives.loss import Loss
from training.objectives.objective import Objective
from training.objectives.settings import half_step_pictures
from training.optim import build_optimiser
from training.strategies.build import build_strategy
from training.strategies.context import StrategyContext
from training.strategies.settings import AllReduceSettings
from training.strategies.strategy import Strategy
from training.testing.memory import peak_of

CONF = Path(__file__).parents[2] / "conf" / "objective"
WAYS = ("full", "sharded", "dense", "sampled", "banked", "pool")  # in the order of the plan
# How far the peak may be from the plan: so much of it, or so many bytes where a GPU rounds sizes up.
TOLERANCE, ROUNDING = 0.15, 16 * 2**20
WORKSPACE = 160 * 2**20  # that the library of matrix products may keep, of each thread that calls it

# Identities, embedding, pictures, slots: centres that decide the peak, and pictures that do.
Sizes = tuple[int, int, int, int]
LARGE: tuple[Sizes, ...] = (300_000, 512, 128, 20_000), (20_000, 128, 4096, 10_000)
SMALL: tuple[Sizes, ...] = (60_000, 64, 32, 6000), (8000, 8, 1000, 2000)


@dataclass(frozen=True)
class Case:
    """An objective of conf/ with the row of the plan that tells of it."""

    objective: str
    way: str
    settings: tuple[str, ...]


CASES = [
    Case("cosface", "full", ()),
    Case("partial_fc", "sharded", ("objective.centres.sample_rate=1.0",)),
    Case("partial_fc", "sampled", ("objective.centres.sample_rate=0.25",)),
    Case("partial_fc", "banked", ("objective.centres.sample_rate=0.25", "objective.centres.bank=host")),
    Case("f2c", "pool", ()),
]


class Held:
    """A head on the device, and one update of it; features come from nowhere."""

    def __init__(self, settings: RunSettings, size: HeadSize, device: torch.device) -> None:
        builder = Builder(settings, Topology.of(LocalComm()), device, size.identities)
        self.head: Objective = builder.build_objective(nn.Identity())
        self.strategy = self._strategy(builder) if list(self.head.parameters()) else None
        self._is_pool = settings.objective.pool_slots is not None
        pictures = half_step_pictures(size.batch) if self._is_pool else size.batch
        torch.manual_seed(0)
        self._features = torch.randn(pictures, size.embedding_dim, device=device, requires_grad=True)
        self._labels = torch.randint(0, size.identities, (pictures,))

    def step(self) -> None:
        if self._is_pool:
            self._both_halves()
            return
        labels = self._labels.to(self._features.device)
        if self.strategy is not None:
            self.strategy.advance(lambda: None, lambda _: Loss(self.head(self._features, labels)), 0.1)
            return
        self.head(self._features, labels).backward()
        for local in self.head.local_updates:
            local.step(0.1, 1.0)

    def _strategy(self, builder: Builder) -> Strategy:
        self.optimiser = build_optimiser(builder.settings.recipe.optimiser, [self.head])
        context = StrategyContext([self.head], self.optimiser, builder.topology, clip_norm=5.0)
        return build_strategy(AllReduceSettings(), context)

    def _both_halves(self) -> None:
        for stays in (False, True):
            side = self._features.detach(), self._labels
            loss = self.head._half(side, side, lambda _: self._features, lambda _, images: images, stays=stays)
            loss.backward()

    def tables(self) -> list[Tensor]:
        """What exists between steps: weights, momentum, buckets of gradients; or the pool."""
        if self._is_pool:
            return [self.head.pool.features_2QD]
        if self.head.local_rows is not None:
            return list(self.head.local_rows.tables.values())
        (weight,) = self.head.parameters()
        buckets = [bucket.flat for bucket in self.strategy._buckets._buckets]
        return [weight, self.optimiser.state[weight]["momentum_buffer"], *buckets]


def planned(settings: RunSettings, way: str, identities: int) -> tuple[HeadSize, HeadCost]:
    size = head_size(settings, identities)
    return size, dict(zip(WAYS, head_costs(size), strict=True))[way]


@pytest.mark.parametrize("number", [0, 1], ids=["many identities", "many pictures"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.objective} {case.way}")
def test_a_head_takes_the_memory_that_a_plan_tells(
    case: Case,
    number: int,
    device: torch.device,
    run_settings: Callable[..., RunSettings],
    figures: dict[str, Any],
) -> None:
    identities, dim, batch, slots = (LARGE if device.type == "cuda" else SMALL)[number]
    pool = [f"objective.pool.slots={slots}"] if case.way == "pool" else []
    settings = run_settings(
        f"objective={case.objective}",
        f"model.embedding_dim={dim}",
        f"recipe.batch_size={batch}",
        *case.settings,
        *pool,
    )
    size, cost = planned(settings, case.way, identities)
    gc.collect()  # hooks and parameters hold one another
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    held = Held(settings, size, device)
    peak = peak_of(held.step, device)
    assert sum(table.nbytes for table in held.tables()) == cost.held + cost.host * (case.way == "banked")
    assert {table.device.type for table in held.tables()} == {"cpu" if case.way == "banked" else device.type}
    assert peak == pytest.approx(cost.peak, rel=TOLERANCE, abs=ROUNDING if device.type == "cuda" else 0)
    if device.type == "cuda":
        assert torch.cuda.memory_allocated() - before == pytest.approx(cost.held, rel=0.02, abs=WORKSPACE)
    told = figures.setdefault("peak_over_plan", {})
    told[f"{case.objective} {case.way} {identities}"] = round(peak / cost.peak, 3)


def test_every_objective_has_a_row_in_the_plan(run_settings: Callable[..., RunSettings]) -> None:
    """One that is none of these holds all centres on every rank, as those that are tried do, or no table at all."""
    ways = {case.way for case in CASES}
    for path in sorted(CONF.glob("*.yaml")):
        objective = run_settings(f"objective={path.stem}").objective
        if isinstance(objective, HeadSettings):
            assert ("full" if objective.sample_rate is None else "sampled") in ways
        elif objective.pool_slots is not None:
            assert "pool" in ways
