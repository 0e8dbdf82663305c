"""Buckets hold every gradient once, whatever the order in which backward makes them."""

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from training.comm.local import LocalComm
from training.strategies.buckets import GradientBuckets, compose
from training.testing.threads import run_threads


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(4, 200))
def test_composition_is_the_reverse_order_cut_where_the_next_would_not_fit(sizes, bucket_bytes):
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    buckets = compose(parameters, bucket_bytes=bucket_bytes)
    assert [id(p) for bucket in buckets for p in bucket] == [id(p) for p in reversed(parameters)]
    totals = [4 * sum(p.numel() for p in bucket) for bucket in buckets]
    assert all(total <= bucket_bytes or len(bucket) == 1 for total, bucket in zip(totals, buckets, strict=True))
    for total, following in zip(totals, buckets[1:], strict=False):
        assert total + 4 * following[0].numel() > bucket_bytes


def test_a_bucket_has_one_dtype():
    parameters = [nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.float32)]
    assert [len(bucket) for bucket in compose(parameters, bucket_bytes=1000)] == [1, 1, 1]


def averaged(comm, net, images, *, bucket_bytes=100, is_halved=False):
    buckets = GradientBuckets(list(net.parameters()), comm, bucket_bytes=bucket_bytes, is_halved=is_halved)
    net(images[comm.rank]).square().mean().backward()
    buckets.finish()
    return [parameter.grad for parameter in net.parameters()]


def networks(size):
    """The same convolution net for every rank, its kernels in channels_last memory."""
    nets = []
    for _ in range(size):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1, bias=False), nn.Flatten(), nn.Linear(45, 2))
        nets.append(net.double().to(memory_format=torch.channels_last))
    return nets


@pytest.mark.parametrize("bucket_bytes", [1, 100, 10_000])
def test_gradients_are_the_mean_over_ranks_in_the_layout_of_their_parameters(bucket_bytes):
    images = torch.randn(3, 4, 3, 5, 5, dtype=torch.float64)
    nets = networks(4)
    results = run_threads(3, lambda comm: averaged(comm, nets[comm.rank], images, bucket_bytes=bucket_bytes))
    nets[3](images.flatten(0, 1)).square().mean().backward()
    for gradients in results:
        for gradient, parameter in zip(gradients, nets[3].parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=1e-14)
            assert gradient.stride() == parameter.stride()


def test_float16_on_the_wire_rounds_and_does_not_overflow_where_only_the_sum_would():
    nets = [nn.Linear(1, 1, bias=False) for _ in range(2)]
    for net in nets:
        nn.init.ones_(net.weight)
    images = torch.full((2, 1, 1), 20_000**0.5)  # the gradient is 2 x^2 = 40,000; twice that is no float16
    results = run_threads(2, lambda comm: averaged(comm, nets[comm.rank], images, is_halved=True))
    assert results[0][0].dtype == torch.float32
    torch.testing.assert_close(results[0][0].item(), 40_000.0, rtol=1e-3, atol=0)


def test_a_parameter_that_one_rank_does_not_use_counts_as_zero_there():
    nets = [nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)]) for _ in range(2)]

    def work(comm):
        used, sometimes_used = nets[comm.rank]
        buckets = GradientBuckets(list(nets[comm.rank].parameters()), comm, bucket_bytes=1, is_halved=False)
        loss = used.weight.sum() + (sometimes_used.weight.sum() if comm.rank == 0 else 0.0)
        loss.backward()
        buckets.finish()
        return used.weight.grad.item(), sometimes_used.weight.grad.item()

    assert run_threads(2, work) == [(1.0, 0.5), (1.0, 0.5)]


def test_buckets_leave_while_backward_is_still_at_work():
    started = []

    class Watching(LocalComm):
        def allreduce_async(self, tensor, *, op, name):
            started.append(name)
            return super().allreduce_async(tensor, op=op, name=name)

    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    seen_at_first = []
    first.weight.register_hook(lambda gradient: seen_at_first.append(list(started)))
    buckets = GradientBuckets([first.weight, last.weight], Watching(), bucket_bytes=1, is_halved=False)
    last(first(torch.ones(1, 2))).sum().backward()
    buckets.finish()
    assert seen_at_first == [["gradients.0"]]
    assert started == ["gradients.0", "gradients.1"]


def test_buckets_that_are_forgotten_let_their_parameters_go():
    net = nn.Linear(3, 2)
    buckets = GradientBuckets(list(net.parameters()), LocalComm(), bucket_bytes=64, is_halved=False)
    left = [weakref.ref(net.weight), weakref.ref(buckets)]
    del buckets
    net(torch.ones(1, 3)).sum().backward()  # the hooks stay, and do nothing
    del net
    gc.collect()
    assert [reference() for reference in left] == [None, None]
