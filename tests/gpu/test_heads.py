"""The benchmark of heads (tests/bench/heads.py) in one process: milliseconds and memory of a step."""

import argparse
import gc
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from training.comm.local import LocalComm

BENCH = Path(__file__).parents[1] / "bench" / "heads.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_heads", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["full", "dense", "sparse", "pool"])
def test_a_step_of_every_head_is_measured(
    method: str, bench: ModuleType, device: torch.device, figures: dict[str, Any]
) -> None:
    identities, batch, slots = ((100_000, 1_000_000), 128, 10_000) if device.type == "cuda" else ((2000,), 16, 200)
    arguments = argparse.Namespace(slots=slots, steps=10 if device.type == "cuda" else 1)
    for ids in identities:
        gc.collect()
        if device.type == "cuda":
            torch.empty(0, device=device)
            torch.cuda.reset_peak_memory_stats()
        rank = bench.Rank(LocalComm(), device, batch, np.random.default_rng(0))
        told = bench.measure_alone(rank, method, ids, arguments)
        figures.setdefault("heads", {})[f"{method} {ids}"] = {name: round(value, 3) for name, value in told.items()}
        assert told["step_ms"] > 0
        if device.type == "cuda":
            # Weights and momentum at least; what a CPU's process holds cannot be told from what it held before.
            weights = (2 * slots if method == "pool" else ids) * bench.DIM * 4 / 2**20
            assert told["head_mib"] > weights * (1 if method == "pool" else 2)
