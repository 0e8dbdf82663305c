"""One update by allreduce: the step of a single process on the whole batch, or no step at all."""

import copy
import math

import pytest
import torch
from torch import nn

from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.objectives.loss import Loss
from training.optim import build_optimiser
from training.settings import SgdSettings
from training.strategies.build import build_strategy
from training.strategies.context import StrategyContext
from training.strategies.settings import AllReduceSettings
from training.strategies.strategy import NotFiniteError
from training.testing.threads import run_threads

SMALL_BUCKETS = AllReduceSettings(bucket_mib=0.001)


def strategy_for(net, comm, *, clip_norm=None, settings=SMALL_BUCKETS):
    optimiser = build_optimiser(SgdSettings(weight_decay=0.01), [net])
    return build_strategy(settings, StrategyContext([net], optimiser, Topology.of(comm), clip_norm=clip_norm))


def numbers(rank, step=0):
    drawn = torch.randn(4, 3, generator=torch.Generator().manual_seed(100 * rank + step), dtype=torch.float64)
    return Batch(images=drawn, labels=torch.zeros(4, dtype=torch.int64), image_ids=[""] * 4)


def advance(strategy, net, batch, *, learning_rate=0.1):
    return strategy.advance(lambda: batch, lambda b: Loss(net(b.images).square().mean()), learning_rate)


def test_ranks_start_from_the_weights_and_buffers_of_rank_zero():
    nets = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(3)]
    for index, net in enumerate(nets):
        net[1].running_mean.fill_(index)
    run_threads(3, lambda comm: strategy_for(nets[comm.rank], comm))
    for net in nets[1:]:
        for tensor, expected in zip(net.state_dict().values(), nets[0].state_dict().values(), strict=True):
            assert torch.equal(tensor, expected)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_loss_norm_and_clipped_step_are_those_of_one_process_on_the_whole_batch(size):
    reference = nn.Linear(3, 2).double()
    nets = [copy.deepcopy(reference) for _ in range(size)]
    clip_norm = 0.05

    def work(comm):
        strategy = strategy_for(nets[comm.rank], comm, clip_norm=clip_norm)
        return [advance(strategy, nets[comm.rank], numbers(comm.rank, step)) for step in range(5)]

    results = run_threads(size, work)
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for step in range(5):
        loss = reference(torch.cat([numbers(rank, step).images for rank in range(size)])).square().mean()
        optimiser.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in reference.parameters()]).norm().item()
        for parameter in reference.parameters():
            parameter.grad *= min(1.0, clip_norm / (norm + 1e-6))
        reference.weight.grad += 0.01 * reference.weight.detach()  # biases do not decay
        optimiser.step()
        for result in results:
            assert math.isclose(result[step].loss, loss.item(), rel_tol=1e-12)
            assert math.isclose(result[step].grad_norm, norm, rel_tol=1e-12)
    for net in nets:
        torch.testing.assert_close(net.weight, reference.weight, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(net.bias, reference.bias, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wire", ["same", "fp16"])
def test_weights_stay_the_same_on_all_ranks_to_the_bit(wire):
    nets = [nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2)).double() for _ in range(3)]

    def work(comm):
        strategy = strategy_for(nets[comm.rank], comm, settings=AllReduceSettings(bucket_mib=0.0001, wire=wire))
        for step in range(5):
            advance(strategy, nets[comm.rank], numbers(comm.rank, step))
        return torch.cat([p.detach().flatten() for p in nets[comm.rank].parameters()])

    first, *others = run_threads(3, work)
    assert all(torch.equal(first, other) for other in others)


def test_one_ranks_infinite_loss_stops_all_before_any_weight_changes():
    nets = [nn.Linear(3, 2).double() for _ in range(3)]

    def work(comm):
        strategy = strategy_for(nets[comm.rank], comm)
        before = nets[comm.rank].weight.detach().clone()
        batch = numbers(comm.rank)
        if comm.rank == 2:
            batch.images[0, 0] = math.inf
        with pytest.raises(NotFiniteError, match="loss is inf"):
            advance(strategy, nets[comm.rank], batch)
        return torch.equal(nets[comm.rank].weight, before)

    assert run_threads(3, work) == [True, True, True]


def test_an_infinite_gradient_under_a_finite_loss_changes_nothing():
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    strategy = strategy_for(net, LocalComm())
    with pytest.raises(NotFiniteError, match="gradient norm is inf"):
        strategy.advance(lambda: numbers(0), lambda _: Loss(net.weight.sum().sqrt()), 0.1)
    assert net.weight.item() == 0


def test_state_goes_on_where_it_was_saved():
    net = nn.Linear(3, 2).double()
    strategy = strategy_for(net, LocalComm())
    advance(strategy, net, numbers(0, 0))
    twin = copy.deepcopy(net)
    continued = strategy_for(twin, LocalComm())
    continued.load_state_dict(copy.deepcopy(strategy.state_dict()))
    advance(strategy, net, numbers(0, 1))
    advance(continued, twin, numbers(0, 1))
    assert torch.equal(net.weight, twin.weight)


def test_the_parts_of_a_loss_are_averaged_over_the_ranks_with_it_and_in_one_collective():
    net = nn.Linear(3, 2).double()

    def work(comm):
        mine, names = copy.deepcopy(net), []
        strategy = strategy_for(mine, comm)
        start = comm.allreduce_async
        comm.allreduce_async = lambda tensor, **options: (names.append(options["name"]), start(tensor, **options))[1]

        def loss_of(batch):
            squared = mine(batch.images).square().mean()
            return Loss(squared, {"own": torch.tensor(float(comm.rank)), "half": squared / 2})

        result = strategy.advance(lambda: numbers(comm.rank), loss_of, 0.1)
        assert result.parts == {"own": 1.0, "half": pytest.approx(result.loss / 2, rel=1e-12)}
        assert list(result.parts) == ["own", "half"]
        return names.count("loss"), [name for name in names if not name.startswith("gradients")]

    assert run_threads(3, work) == [(1, ["loss"])] * 3


class OwnRow:
    """One number per rank that nobody else has."""

    def __init__(self, value):
        self.row = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        self.factors = []

    def squared_norm(self):
        return torch.zeros((), dtype=torch.float64) if self.row.grad is None else self.row.grad.square().sum()

    def step(self, learning_rate, gradient_factor):
        self.factors.append(gradient_factor)
        with torch.no_grad():
            self.row -= learning_rate * gradient_factor * self.row.grad

    def discard(self):
        self.row.grad = None


def with_own_row(comm, net, own, *, clip_norm=None, has_loss_scaling=False):
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    context = StrategyContext(
        [net],
        optimiser,
        Topology.of(comm),
        clip_norm=clip_norm,
        has_loss_scaling=has_loss_scaling,
        local_updates=(own,),
    )
    return build_strategy(SMALL_BUCKETS, context)


@pytest.mark.parametrize("has_loss_scaling", [False, True])
def test_what_ranks_own_counts_in_the_norm_and_is_clipped_and_unscaled_alike(has_loss_scaling):
    net = nn.Linear(1, 1, bias=False).double()

    def work(comm):
        mine, own = copy.deepcopy(net), OwnRow(float(comm.rank))
        strategy = with_own_row(comm, mine, own, clip_norm=1.0, has_loss_scaling=has_loss_scaling)
        result = strategy.advance(
            lambda: numbers(0), lambda _: Loss(3 * mine.weight.sum() + (comm.rank + 1) * 2 * own.row.sum()), 0.1
        )
        return result.grad_norm, own.row.item(), mine.weight.item(), own.row.grad

    norm = math.sqrt(3**2 + 2**2 + 4**2)
    for rank, (told, row, weight, gradient) in enumerate(run_threads(2, work)):
        assert math.isclose(told, norm, rel_tol=1e-6)
        assert math.isclose(row, rank - 0.1 * 2 * (rank + 1) / norm, rel_tol=1e-6)
        assert math.isclose(weight, net.weight.item() - 0.1 * 3 / norm, rel_tol=1e-6)
        assert gradient is None


def test_an_overflow_in_what_one_rank_owns_skips_the_update_of_all_and_lowers_the_scale():
    net = nn.Linear(1, 1, bias=False).double()

    def work(comm):
        mine, own = copy.deepcopy(net), OwnRow(1.0)
        strategy = with_own_row(comm, mine, own, has_loss_scaling=True)
        before = strategy.state_dict()["scaler"]["scale"]
        factor = torch.tensor(math.inf if comm.rank == 1 else 1.0)

        def loss_of(_):
            own.row.register_hook(lambda gradient: gradient * factor)
            return Loss(mine.weight.sum() + own.row.sum())

        result = strategy.advance(lambda: numbers(0), loss_of, 0.1)
        assert not math.isfinite(result.grad_norm)
        return mine.weight.item(), own.row.item(), strategy.state_dict()["scaler"]["scale"] / before

    assert run_threads(3, work) == [(net.weight.item(), 1.0, 0.5)] * 3
