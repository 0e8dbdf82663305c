"""The law of shared-out centres, for any kind of comm: the numbers of one process with all centres on the whole batch.

usage, under horovodrun: sharded_check.py
"""

import copy
import math

import torch
from torch import nn

from training.comm.launch import open_comm
from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.objectives.base_settings import ObjectiveSettings
from training.objectives.build import build_objective
from training.objectives.context import ObjectiveContext
from training.objectives.head_settings import ReplicatedSettings
from training.objectives.loss import Loss
from training.objectives.objective import Objective
from training.objectives.settings import OBJECTIVES
from training.optim import build_optimiser
from training.settings import SgdSettings
from training.strategies.build import build_strategy
from training.strategies.context import StrategyContext
from training.strategies.settings import AllReduceSettings

NUM_CLASSES = 11  # shared out unevenly by 2, 3 and 4
DIM = 5
BATCH = 12
SGD = SgdSettings(momentum=0.9, weight_decay=0.01, clip_norm=0.05)


def settings_of(name: str, *, centres: dict[str, object] | None = None, **more: object) -> ObjectiveSettings:
    """An objective with sharded centres."""
    margins: dict[str, object] = {"margins": (1.1, 0.2, 0.1)} if name == "combined" else {"margin": 0.3}
    extra = {} if name == "softmax" else {**margins, "scale": 8.0}
    sharded = {"kind": "sharded", **(centres or {})}
    return OBJECTIVES.validate({"name": name, **extra, "centres": sharded, **more})


def context_of(comm: Comm, *, seed: int = 3) -> ObjectiveContext:
    return ObjectiveContext(nn.Identity(), comm, torch.device("cpu"), SGD, seed, NUM_CLASSES, DIM)


def sharded(comm: Comm, settings: ObjectiveSettings, dtype: torch.dtype, *, seed: int = 3) -> Objective:
    head = build_objective(settings, context_of(comm, seed=seed)).to(dtype)
    head.centres.weight_RD, head.centres.velocity_RD = (
        table.to(dtype) for table in (head.centres.weight_RD, head.centres.velocity_RD)
    )
    return head


def batch_of(step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(step)
    features = 3 * torch.randn(BATCH, DIM, generator=drawn, dtype=torch.float64)
    return features.to(dtype), torch.randint(0, NUM_CLASSES, (BATCH,), generator=drawn)


def part_of(comm: Comm, tensor: torch.Tensor) -> torch.Tensor:
    share = len(tensor) // comm.size
    return tensor[comm.rank * share : (comm.rank + 1) * share]


def assembled(comm: Comm, head: Objective) -> torch.Tensor:
    return comm.allgather(head.centres.weight_RD, name="assembled")


def train(
    comm: Comm, head: Objective, net: nn.Module, *, steps: range, dtype: torch.dtype
) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step, by the real strategy."""
    context = StrategyContext(
        [net, head],
        build_optimiser(SGD, [net, head]),
        Topology.of(comm),
        clip_norm=SGD.clip_norm,
        local_updates=head.local_updates,
    )
    strategy = build_strategy(AllReduceSettings(), context)
    told = []
    for step in steps:
        features, labels = (part_of(comm, tensor) for tensor in batch_of(step, dtype))
        batch = Batch(features, labels, [""] * len(labels))
        result = strategy.advance(lambda b=batch: b, lambda b: Loss(head(net(b.images), b.labels)), 0.5)
        told.append((result.loss, result.grad_norm))
    return told


def law(comm: Comm, settings: ObjectiveSettings, dtype: torch.dtype, tolerance: float) -> None:
    """Loss, gradients of features and centres, and clipped updates equal those of one process."""
    near = {"rtol": tolerance, "atol": tolerance}
    check_gradients(comm, *heads(comm, settings, dtype), dtype, near)
    check_updates(comm, *heads(comm, settings, dtype), dtype, near)


def heads(comm: Comm, settings: ObjectiveSettings, dtype: torch.dtype) -> tuple[Objective, Objective]:
    """A part of the centres, and all of them in one process."""
    head = sharded(comm, settings, dtype)
    head.centres.weight_RD.mul_(100)  # about unit length, where rounding is not magnified
    whole = settings.model_copy(update={"centres": ReplicatedSettings()})
    reference = build_objective(whole, context_of(LocalComm())).to(dtype)
    with torch.no_grad():
        reference.centres.weight_CD.copy_(assembled(comm, head))
    return head, reference


def check_gradients(comm: Comm, head: Objective, reference: Objective, dtype: torch.dtype, near: dict) -> None:
    features, labels = batch_of(0, dtype)
    mine = part_of(comm, features).clone().requires_grad_()
    loss = head(mine, part_of(comm, labels))
    loss.backward()
    features.requires_grad_()
    expected = reference(features, labels)
    expected.backward()
    torch.testing.assert_close(loss, expected, **near)
    # The strategy averages over the ranks, so that each feature's gradient counts for one rank in so many.
    torch.testing.assert_close(mine.grad / comm.size, part_of(comm, features.grad), **near)
    rows = slice(head.centres.classes.start, head.centres.classes.stop)
    torch.testing.assert_close(head.centres._leaf_SD.grad, reference.centres.weight_CD.grad[rows], **near)
    square = comm.allreduce(head.centres.squared_norm(), name="square").item()
    assert math.isclose(square, reference.centres.weight_CD.grad.double().square().sum().item(), rel_tol=1e-5)


def check_updates(comm: Comm, head: Objective, reference: Objective, dtype: torch.dtype, near: dict) -> None:
    net = nn.Linear(DIM, DIM, bias=False).to(dtype)
    with torch.no_grad():  # threads share torch's own generator
        net.weight.copy_(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)) / 2)
    other = copy.deepcopy(net)
    told = train(comm, head, net, steps=range(4), dtype=dtype)
    optimiser = torch.optim.SGD([*other.parameters(), *reference.parameters()], lr=0.5, momentum=0.9, weight_decay=0.01)
    for step, (loss, norm) in enumerate(told):
        features, labels = batch_of(step, dtype)
        optimiser.zero_grad()
        expected = reference(other(features), labels)
        expected.backward()
        expected_norm = nn.utils.clip_grad_norm_([*other.parameters(), *reference.parameters()], 0.05)
        optimiser.step()
        assert expected_norm > 0.05  # the clip acts
        assert math.isclose(loss, expected.item(), rel_tol=near["rtol"])
        assert math.isclose(norm, expected_norm.item(), rel_tol=near["rtol"])
    torch.testing.assert_close(net.weight, other.weight, **near)
    torch.testing.assert_close(assembled(comm, head), reference.centres.weight_CD.detach(), **near)


def main() -> None:
    comm = open_comm("horovod")
    for name in ("softmax", "arcface", "adaface"):
        law(comm, settings_of(name), torch.float32, 1e-6)
        law(comm, settings_of(name), torch.float64, 1e-12)
    print(f"rank {comm.rank} of {comm.size} passed", flush=True)
    comm.close()


if __name__ == "__main__":
    main()
