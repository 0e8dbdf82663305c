"""Shared-out centres against one process with all of them; samples of them against what must not change."""

import importlib.util
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from training import checkpoint
from training.checkpoint import Contents, Position
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.objectives.build import build_objective
from training.objectives.loss import Loss
from training.row_shards import load_rows
from training.strategies.build import build_strategy
from training.strategies.context import StrategyContext
from training.strategies.settings import AllReduceSettings
from training.strategies.strategy import NotFiniteError
from training.testing.threads import run_threads

REPO = Path(__file__).parents[3]
_spec = importlib.util.spec_from_file_location("sharded_check", Path(__file__).with_name("sharded_check.py"))
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

POSITION = Position(step=3, epoch=0, step_in_epoch=3, seed=3, global_batch_size=12, world_size=4)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["softmax", "arcface", "cosface", "combined", "adaface"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_any_number_of_ranks_is_one_process_with_all_centres(size, name, dtype, tolerance):
    settings = check.settings_of(name)
    run_threads(size, lambda comm: check.law(comm, settings, dtype, tolerance))


@pytest.mark.parametrize("size", [1, 3])
def test_suspects_are_left_out_alike(size):
    settings = check.settings_of("cosface", filter_threshold=0.2)
    run_threads(size, lambda comm: check.law(comm, settings, torch.float64, 1e-12))


@pytest.mark.parallel
def test_horovod_gives_the_same_law():
    command = [Path(sys.executable).parent / "horovodrun", "-np", "2", "--gloo", sys.executable, check.__file__]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*map(str, command)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said = process.communicate(timeout=90)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "rank 0 of 2 passed" in said, said
    assert "rank 1 of 2 passed" in said, said


def test_logits_are_float32_under_autocast_and_half_features_get_half_gradients():
    head = check.sharded(LocalComm(), check.settings_of("arcface"), torch.float32)
    features, labels = check.batch_of(0, torch.bfloat16)
    expected = head(features.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        loss = head(features.requires_grad_(), labels)
    assert torch.equal(loss, expected)
    loss.backward()
    assert features.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("bank", ["device", "host"])
def test_a_sample_holds_the_true_classes_and_what_was_not_sampled_keeps_every_bit(bank):
    settings = check.settings_of("cosface", centres={"sample_rate": 0.3, "bank": bank})

    def work(comm):
        head = check.sharded(comm, settings, torch.float32)
        for step in range(5):
            # Few classes, so that the sample is filled up by chance.
            labels = torch.randint(0, 2, (4,), generator=torch.Generator().manual_seed(step))
            features = torch.randn(4, check.DIM, generator=torch.Generator().manual_seed(step))
            weight, velocity = head.centres.weight_RD.clone(), head.centres.velocity_RD.clone()
            head(features, labels).backward()
            index = set(head.centres._index_S.tolist())
            mine = {label - head.centres.classes.start for label in labels.tolist() if label in head.centres.classes}
            assert mine <= index
            assert len(index) == max(len(mine), math.ceil(0.3 * len(weight)))
            head.centres.step(0.1, 1.0)
            others = [row for row in range(len(weight)) if row not in index]
            assert others
            assert torch.equal(head.centres.weight_RD[others], weight[others])
            assert torch.equal(head.centres.velocity_RD[others], velocity[others])
            assert not (head.centres.weight_RD[sorted(index)] == weight[sorted(index)]).all(dim=1).any()

    run_threads(2, work)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_sampled_step_is_one_process_over_the_sampled_classes_the_slow_way(size):
    """Loss, gradients of the features, and the rows that change; in the end those of every class."""
    settings = check.settings_of("cosface", centres={"sample_rate": 0.6})

    def work(comm):
        head = check.sharded(comm, settings, torch.float64)
        for step in range(4):
            features, _ = check.batch_of(step, torch.float64)
            labels = torch.randint(0, 3, (check.BATCH,), generator=torch.Generator().manual_seed(step)) * 4
            mine = check.part_of(comm, features).clone().requires_grad_()
            weight = check.assembled(comm, head)
            velocity = comm.allgather(head.centres.velocity_RD, name="velocity")
            loss = head(mine, check.part_of(comm, labels))
            loss.backward()
            here = torch.tensor(sorted(head.centres._index_S.tolist())) + head.centres.classes.start
            sampled = comm.allgather_object(here.tolist(), name="sampled")
            classes = [label for part in sampled for label in part]
            assert set(labels.tolist()) < set(classes) < set(range(check.NUM_CLASSES))  # filled up, and not to all
            expected = sampled_by_hand(features, labels, weight, velocity, classes=classes, rate=0.1, factor=0.5)
            head.centres.step(0.1, 0.5)
            assert loss.item() == pytest.approx(expected[0], rel=1e-12)
            # The strategy averages over the ranks, so that each feature's gradient counts for one rank in so many.
            torch.testing.assert_close(mine.grad / comm.size, check.part_of(comm, expected[1]), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(check.assembled(comm, head), expected[2], rtol=1e-9, atol=1e-12)
            found = comm.allgather(head.centres.velocity_RD, name="velocity")
            torch.testing.assert_close(found, expected[3], rtol=1e-9, atol=1e-12)

    run_threads(size, work)


def sampled_by_hand(features, labels, weight, velocity, *, classes, rate, factor):
    """CosFace over some classes, number by number: the loss, the features' gradient, all centres and their momentum."""
    features = features.clone().requires_grad_()
    centres = {label: weight[label].clone().requires_grad_() for label in classes}
    losses = []
    for feature, label in zip(features, labels.tolist(), strict=True):
        logits = {
            name: 8.0 * (torch.dot(feature, centre) / feature.norm() / centre.norm() - 0.3 * (name == label))
            for name, centre in centres.items()
        }
        losses.append(sum(logit.exp() for logit in logits.values()).log() - logits[label])
    loss = sum(losses) / len(losses)
    loss.backward()
    weight, velocity = weight.clone(), velocity.clone()
    for label, centre in centres.items():
        gradient = factor * centre.grad + check.SGD.weight_decay * weight[label]
        velocity[label] = check.SGD.momentum * velocity[label] + gradient
        weight[label] -= rate * velocity[label]
    return loss.item(), features.grad, weight, velocity


def test_a_bank_on_the_host_trains_to_the_same_bits():
    def centres(bank):
        head = check.sharded(
            LocalComm(), check.settings_of("cosface", centres={"sample_rate": 0.5, "bank": bank}), torch.float32
        )
        for step in range(3):
            features, labels = check.batch_of(step, torch.float32)
            head(features, labels).backward()
            head.centres.step(0.1, 0.5)
        return head.centres.weight_RD

    assert torch.equal(centres("host"), centres("device"))


@pytest.mark.parametrize("sample_rate", [0.3, 1.0])
@pytest.mark.parametrize("then", [4, 3, 1])
def test_what_four_ranks_saved_any_number_reads_to_the_bit_and_goes_on(tmp_path, sample_rate, then):
    settings = check.settings_of("cosface", centres={"sample_rate": sample_rate})
    features, labels = check.batch_of(9, torch.float64)

    def loss_of(comm, head):
        return head.eval()(check.part_of(comm, features), check.part_of(comm, labels)).item()

    def first(comm):
        head = check.sharded(comm, settings, torch.float64)
        torch.manual_seed(0)
        check.train(comm, head, nn.Linear(check.DIM, check.DIM).double(), steps=range(3), dtype=torch.float64)
        contents = Contents(model={}, objective=head.state_dict(), optimiser={}, rows=head.local_rows)
        checkpoint.save(tmp_path, POSITION, contents, comm, keep=1)
        velocity = comm.allgather(head.centres.velocity_RD, name="v")
        return check.assembled(comm, head), velocity, loss_of(comm, head), head.state_dict()

    def second(comm):
        head = check.sharded(comm, settings, torch.float64, seed=99)
        _, contents, path = checkpoint.restore(tmp_path, comm)
        head.load_state_dict(contents.objective)
        load_rows(path, head.local_rows)
        velocity = comm.allgather(head.centres.velocity_RD, name="v")
        return check.assembled(comm, head), velocity, loss_of(comm, head), head.state_dict()

    expected = run_threads(4, first)[0]
    for found in run_threads(then, second):
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert math.isclose(found[2], expected[2], rel_tol=1e-14)
        assert found[3]["_extra_state"].item() == expected[3]["_extra_state"].item() == 3


def test_each_rank_and_each_step_draws_a_sample_of_its_own():
    settings = check.settings_of("cosface", centres={"sample_rate": 0.5})

    def work(comm):
        head = build_objective(settings, replace(check.context_of(comm), num_classes=400))
        drawn = []
        for _ in range(3):
            # The first class of each rank, so that nothing but the draw tells their samples apart.
            head(torch.ones(1, check.DIM), torch.tensor([200 * comm.rank]))
            drawn.append(tuple(head.centres._index_S.tolist()))
        return drawn

    samples = [sample for drawn in run_threads(2, work) for sample in drawn]
    assert {len(sample) for sample in samples} == {100}
    assert len(set(samples)) == 6


def test_a_resumed_run_draws_the_samples_that_it_would_have_drawn():
    settings = check.settings_of("cosface", centres={"sample_rate": 0.3})

    def draws(head, count):
        drawn = []
        for _ in range(count):
            head(*check.batch_of(0, torch.float32))
            drawn.append(head.centres._index_S.tolist())
        return drawn

    straight = draws(check.sharded(LocalComm(), settings, torch.float32), 4)
    broken = check.sharded(LocalComm(), settings, torch.float32)
    draws(broken, 2)
    resumed = check.sharded(LocalComm(), settings, torch.float32)
    resumed.load_state_dict(broken.state_dict())
    assert draws(resumed, 2) == straight[2:]


def test_an_infinite_gradient_of_one_ranks_centres_stops_all_ranks():
    settings = check.settings_of("softmax")

    def work(comm):
        head = check.sharded(comm, settings, torch.float32)
        net = nn.Linear(check.DIM, check.DIM)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        context = StrategyContext([net, head], optimiser, Topology.of(comm), local_updates=head.local_updates)
        strategy = build_strategy(AllReduceSettings(), context)
        before = head.centres.weight_RD.clone(), net.weight.detach().clone()
        features, labels = (check.part_of(comm, tensor) for tensor in check.batch_of(0, torch.float32))

        def loss_of(batch):
            loss = head(net(batch.images), batch.labels)
            if comm.rank == 1:
                head.centres._leaf_SD.register_hook(lambda gradient: gradient * math.inf)
            return Loss(loss)

        with pytest.raises(NotFiniteError, match="gradient norm"):
            strategy.advance(lambda: Batch(features, labels, []), loss_of, 0.1)
        return torch.equal(head.centres.weight_RD, before[0]) and torch.equal(net.weight, before[1])

    assert run_threads(3, work) == [True] * 3
