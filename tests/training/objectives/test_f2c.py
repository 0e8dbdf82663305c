"""F2C against the step written out slowly: one feature, one identity, one probe at a time."""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.settings import UserError
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.feed.plans.dual import FIRST, IDENTITIES, SECOND
from training.objectives.build import build_objective
from training.objectives.context import ObjectiveContext
from training.objectives.settings import ClassPoolSettings
from training.optim import build_optimiser
from training.settings import SgdSettings
from training.strategies.build import build_strategy
from training.strategies.context import StrategyContext
from training.strategies.settings import AllReduceSettings
from training.testing.threads import run_threads

NUM_IDS, SLOTS, DIM, PER_RANK = 40, 13, 4, 3
SETTINGS = ClassPoolSettings.model_validate(
    {
        "name": "class_pool",
        "margin": 0.3,
        "scale": 8.0,
        "pool": {"slots": SLOTS, "momentum": 0.8, "outside_weight": 0.7, "check_every_steps": 2},
    }
)
OPTIMISER = SgdSettings(momentum=0.9, weight_decay=0.01)


def embed(net, images):
    return net(images)


torch.manual_seed(5)
BACKBONE = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, DIM)).double()


def backbone_of():
    return copy.deepcopy(BACKBONE)


def batch_of(step, rank):
    drawn = torch.Generator().manual_seed(100 * step + rank)
    first, second, instances = (torch.randn(PER_RANK, 6, generator=drawn, dtype=torch.float64) for _ in range(3))
    # Few and many identities by turns: some come several times in a batch, some force others out.
    identities = torch.randint(0, 5 if step % 2 else NUM_IDS, (PER_RANK,), generator=drawn)
    labels = torch.randint(0, NUM_IDS, (PER_RANK - 1,), generator=drawn)
    views = {FIRST: first, SECOND: second, IDENTITIES: identities}
    return Batch(instances[:-1], labels, [""] * len(labels), views)


def made(comm):
    backbone = backbone_of()
    context = ObjectiveContext(backbone, comm, torch.device("cpu"), OPTIMISER, 0, NUM_IDS, DIM)
    objective = build_objective(SETTINGS, context).double()
    drawn = torch.Generator().manual_seed(7)  # threads share torch's own generator
    pool = functional.normalize(torch.rand(2, SLOTS, DIM, generator=drawn, dtype=torch.float64), dim=2)
    objective.pool.features_2QD.copy_(pool)
    modules = [backbone, objective]
    context = StrategyContext(modules, build_optimiser(OPTIMISER, modules), Topology.of(comm))
    strategy = build_strategy(AllReduceSettings(), context)
    return backbone, objective, strategy


def advance(comm, parts, step):
    backbone, objective, strategy = parts
    batch = batch_of(step, comm.rank)
    return strategy.advance(lambda: batch, lambda b: objective.compute(b, backbone, embed), 0.1)


class Slow:
    """All ranks at once, the classes by name."""

    def __init__(self, pool):
        self.probe = backbone_of()
        self.gallery = copy.deepcopy(self.probe)
        self.pool, self.turns, self.slots = pool.clone(), [0] * SLOTS, OrderedDict()
        decaying = [p for p in self.probe.parameters() if p.ndim > 1]
        others = [p for p in self.probe.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.SGD(
            [{"params": decaying, "weight_decay": 0.01}, {"params": others}], lr=0.1, momentum=0.9
        )

    def step(self, batches):
        with torch.no_grad():
            for mine, theirs in zip(self.gallery.parameters(), self.probe.parameters(), strict=True):
                mine.copy_(0.8 * mine + 0.2 * theirs)
        xs, ys = [], []
        for b in batches:
            half = len(b.labels) // 2
            ids = b.extras[IDENTITIES]
            xs.append((torch.cat([b.extras[FIRST], b.images[:half]]), torch.cat([ids, b.labels[:half]])))
            ys.append((torch.cat([b.extras[SECOND], b.images[half:]]), torch.cat([ids, b.labels[half:]])))
        before = self.pool.clone(), list(self.turns), OrderedDict(self.slots)
        loss = self.half(xs, ys)
        self.pool, self.turns, self.slots = before
        loss = loss + self.half(ys, xs)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def half(self, probes, galleries):
        with torch.no_grad():
            features = torch.cat([functional.normalize(self.gallery(images)) for images, _ in galleries])
        ids = torch.cat([labels for _, labels in galleries]).tolist()
        again = set()
        self.pool = self.pool.clone()
        for i in ids:
            if i in self.slots:
                self.slots.move_to_end(i)
        for i, feature in zip(ids, features, strict=True):
            if i not in self.slots:
                is_full = len(self.slots) == SLOTS
                slot = self.slots.popitem(last=False)[1] if is_full else len(self.slots)
                row, self.turns[slot] = 0, 1
            else:
                slot = self.slots.pop(i)
                row = self.turns[slot]
                self.turns[slot] = 1 - row
                again.add(slot)
            self.slots[i] = slot
            self.pool[row, slot] = feature
        second = torch.stack([self.pool[1, s] if s in again else self.pool[0, s] for s in range(SLOTS)])
        losses = []
        for images, labels in probes:
            features = functional.normalize(self.probe(images))
            for classifier in (self.pool[0], second):
                losses.append(self.loss(features @ classifier.T, labels.tolist()) * 2)
        return torch.stack(losses).mean()

    def loss(self, cosines, labels):
        inside, outside = [], []
        for row, label in zip(cosines, labels, strict=True):
            if label in self.slots:
                logits = 8 * (row - 0.3 * functional.one_hot(torch.tensor(self.slots[label]), SLOTS).double())
                inside.append(torch.logsumexp(logits, 0) - logits[self.slots[label]])
            else:
                outside += [value.clamp_min(0) for value in row.sort(descending=True).values[:3]]
        zero = torch.zeros((), dtype=torch.float64)
        return (torch.stack(inside).mean() if inside else zero) + (
            0.7 * torch.stack(outside).mean() if outside else zero
        )


@pytest.mark.parametrize("size", [1, 2])
def test_loss_nets_and_pool_are_those_of_the_slow_step(size):
    def work(comm):
        parts = made(comm)
        start = parts[1].pool.features_2QD.clone()
        losses = [advance(comm, parts, step).loss for step in range(8)]
        return start, losses, parts[0].state_dict(), parts[1]

    start, losses, backbone, objective = run_threads(size, work)[-1]
    slow = Slow(start)
    for step, loss in enumerate(losses):
        assert math.isclose(loss, slow.step([batch_of(step, rank) for rank in range(size)]), rel_tol=1e-10)
    near = {"rtol": 1e-9, "atol": 1e-10}
    for name, parameter in slow.probe.named_parameters():
        torch.testing.assert_close(backbone[name], parameter.detach(), **near)
    for name, parameter in slow.gallery.named_parameters():
        torch.testing.assert_close(objective.gallery.state_dict()[name], parameter, **near)
    torch.testing.assert_close(objective.pool.features_2QD, slow.pool, **near)
    ids, used, turns = objective.pool.get_extra_state().numpy()
    order = [(int(ids[slot]), int(slot)) for slot in used.argsort() if ids[slot] >= 0]
    assert order == list(slow.slots.items())
    assert turns.tolist() == slow.turns


def test_the_half_that_is_undone_leaves_every_bit_of_the_pool():
    backbone, objective, _ = made(LocalComm())
    batch = batch_of(0, 0)
    objective.compute(batch, backbone, embed)
    before = copy.deepcopy(objective.pool.state_dict())
    x = (
        torch.cat([batch.extras[FIRST], batch.images[:1]]),
        torch.cat([batch.extras[IDENTITIES], batch.labels[:1]]),
    )
    objective._half(x, x, backbone, embed, stays=False)
    after = objective.pool.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    objective._half(x, x, backbone, embed, stays=True)
    assert not torch.equal(objective.pool.features_2QD, before["features_2QD"])


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_that_was_saved_goes_on_to_the_same_bits(size):
    def work(comm):
        straight, broken = made(comm), made(comm)
        for step in range(6):
            advance(comm, straight, step)
        for step in range(3):
            advance(comm, broken, step)
        resumed = made(comm)
        for old, new in zip(broken, resumed, strict=True):
            new.load_state_dict(copy.deepcopy(old.state_dict()))
        for step in range(3, 6):
            advance(comm, resumed, step)
        one, other = straight[1].state_dict(), resumed[1].state_dict()
        assert any("running_mean" in name for name in one)
        assert all(torch.equal(one[name], other[name]) for name in one)
        return all(torch.equal(a, b) for a, b in zip(straight[0].parameters(), resumed[0].parameters(), strict=True))

    assert run_threads(size, work) == [True] * size


def test_ranks_keep_the_same_pool_for_five_hundred_steps_and_a_difference_is_told():
    def work(comm):
        parts = made(comm)
        digests = []
        for step in range(500):
            advance(comm, parts, step)
            digests.append(parts[1].pool.digest())
        if comm.rank == 1:
            parts[1].pool.features_2QD += 1e-9
        advance(comm, parts, 500)
        with pytest.raises(RuntimeError, match="no longer the same"):
            advance(comm, parts, 501)
        return digests

    first, second = run_threads(2, work)
    assert first == second
    assert len(set(first)) == 500


def test_a_batch_of_one_view_is_refused():
    backbone, objective, _ = made(LocalComm())
    batch = Batch(torch.zeros(2, 6), torch.zeros(2, dtype=torch.int64), [])
    with pytest.raises(UserError, match="needs batches of two views"):
        objective.compute(batch, backbone, embed)


def test_probes_are_held_against_the_pool_as_it_stands():
    _, objective, _ = made(LocalComm())
    labels = torch.tensor([1, 2, 3])
    features = functional.normalize(torch.randn(3, DIM, dtype=torch.float64))
    cosines = features @ objective.pool.features_2QD[0].T
    expected = 2 * 0.7 * cosines.sort(dim=1, descending=True).values[:, :3].clamp_min(0).mean()
    assert math.isclose(objective(features, labels).item(), expected.item(), rel_tol=1e-12)
