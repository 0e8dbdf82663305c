"""The arithmetic of heads against what a peer and the host allocate and what the ranks send.

The memory of our own heads is held against it in tests/gpu/test_memory.py, on a GPU where there is one.
"""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.comm.local import LocalComm
from training.objectives.build import build_objective
from training.objectives.capacity import HeadCost, HeadSize, head_costs
from training.objectives.class_pool import ClassPool
from training.objectives.context import ObjectiveContext
from training.objectives.distributed_softmax import sharded_cross_entropy
from training.objectives.margin import cosface
from training.objectives.settings import OBJECTIVES
from training.settings import SgdSettings
from training.testing.memory import peak_of
from training.testing.threads import run_threads

SGD = SgdSettings()
BASE = HeadSize(
    identities=60_000, embedding_dim=64, ranks=1, batch=32, sample_rate=0.25, slots=6000, feature_bytes=4,
    gradient_bytes=4,
)  # fmt: skip
# Wide tables and few pictures, so that the centres decide the peak; and the other way round.
SIZES = [BASE, replace(BASE, identities=8000, embedding_dim=8, batch=1000, slots=2000)]
WAYS = ("full", "sharded", "dense", "sampled", "banked", "pool")


def cost_of(size: HeadSize, way: str) -> HeadCost:
    return dict(zip(WAYS, head_costs(size), strict=True))[way]


def built(size: HeadSize, comm=None, **settings):
    context = ObjectiveContext(
        nn.Identity(), comm or LocalComm(), torch.device("cpu"), SGD, 0, size.identities, size.embedding_dim
    )
    return build_objective(OBJECTIVES.validate(settings), context)


def batch(size: HeadSize) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(size.batch, size.embedding_dim, requires_grad=True)
    return features, torch.randint(0, size.identities, (size.batch,))


@pytest.mark.parametrize("size", SIZES)
def test_centres_updated_densely(size: HeadSize) -> None:
    """The peer, as in InsightFace's second version: torch's own SGD over the whole part."""
    weight = nn.Parameter(torch.randn(size.identities, size.embedding_dim))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4)
    features, _ = batch(size)
    labels = torch.randint(0, size.sampled, (size.batch,))

    def loss_of(cosine: Tensor) -> Tensor:
        return sharded_cross_entropy(cosface(cosine, labels, margin=0.4, scale=64.0), labels, LocalComm())

    def step() -> None:
        optimiser.zero_grad()
        index = torch.arange(size.sampled)
        loss_of(functional.linear(functional.normalize(features), functional.normalize(weight[index]))).backward()
        optimiser.step()

    peak = peak_of(step, torch.device("cpu"))
    cost = cost_of(size, "dense")
    assert cost.held == weight.nbytes + optimiser.state[weight]["momentum_buffer"].nbytes
    assert cost.peak == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize("slots", [2000, 6000])
def test_what_the_host_knows_of_a_full_pool(slots: int) -> None:
    features = torch.zeros(slots, 1)
    ClassPool(10, 1).write(np.arange(3), features[:3])  # what the first use of a process loads is not the pool's
    tracemalloc.start()
    pool = ClassPool(slots, 1)
    pool.write(10_000_000 + np.arange(slots), features)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cost_of(replace(BASE, slots=slots), "pool").host == pytest.approx(used, rel=0.2)


@pytest.mark.parametrize("ranks", [2, 4])
def test_what_the_ranks_send(ranks: int) -> None:
    size = replace(BASE, identities=120, embedding_dim=8, ranks=ranks, batch=6, slots=40)

    def work(comm) -> tuple[int, int]:
        sent = counted(comm)
        features, labels = batch(size)
        head = built(size, comm, name="cosface", centres={"kind": "sharded"})
        head(features, labels).backward()
        sharded = sum(sent)
        sent.clear()
        pool = built(size, comm, name="class_pool", pool={"slots": size.slots})
        features, labels = batch(replace(size, batch=9))
        for stays in (False, True):
            side = features.detach(), labels
            pool._half(side, side, lambda _: features, lambda _, images: images, stays=stays)
        return sharded, sum(sent)

    for told in run_threads(ranks, work):
        assert told == (cost_of(size, "sharded").sent, cost_of(size, "pool").sent)


def counted(comm) -> list[int]:
    """Note what each collective of a rank would send on a ring."""
    sent: list[int] = []
    within: list[str] = []
    shares = {
        "allreduce": lambda nbytes: 2 * (comm.size - 1) * nbytes // comm.size,
        "allgather": lambda nbytes: (comm.size - 1) * nbytes,
        "reducescatter": lambda nbytes: (comm.size - 1) * nbytes // comm.size,
    }

    def note(collective: str) -> None:
        inner = getattr(comm, collective)

        def noting(tensor: Tensor, **options) -> Tensor:
            if within:
                return inner(tensor, **options)  # of another collective, which ranks that are threads make of this one
            within.append(collective)
            sent.append(shares[collective](tensor.nbytes))
            received = inner(tensor, **options)
            within.clear()
            return received

        setattr(comm, collective, noting)

    for collective in shares:
        note(collective)
    return sent


def test_a_table_of_known_size() -> None:
    """Ten million identities of 512 numbers are 20.48 GB, and their average over a ring of 64 travels almost twice."""
    size = replace(BASE, identities=10_000_000, embedding_dim=512, ranks=64)
    cost = cost_of(size, "full")
    assert cost.held == 3 * 20_480_000_000
    assert cost.sent == 2 * 63 * 20_480_000_000 // 64
    assert cost_of(replace(size, gradient_bytes=2), "full").sent == cost.sent // 2
    assert cost_of(size, "sharded").held == 2 * 320_000_000
    assert cost_of(size, "banked").held == 0
