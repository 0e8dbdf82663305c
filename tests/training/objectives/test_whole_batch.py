"""The features of all ranks, with the gradients of one process that has them all."""

import torch

from training.objectives.whole_batch import gather_batch
from training.testing.threads import run_threads

FEATURES = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(6)


def loss_of(features):
    return (features @ features.T).square().mean()


def test_every_rank_has_all_features_and_the_mean_over_the_ranks_is_the_gradient_of_the_whole():
    whole = FEATURES.clone().requires_grad_()
    loss_of(whole).backward()

    def work(comm):
        rows = slice(2 * comm.rank, 2 * comm.rank + 2)
        mine = FEATURES[rows].clone().requires_grad_()
        gathered, labels = gather_batch(mine, LABELS[rows], comm)
        assert torch.equal(gathered, FEATURES)
        assert torch.equal(labels, LABELS)
        loss_of(gathered).backward()
        torch.testing.assert_close(mine.grad / comm.size, whole.grad[rows])

    run_threads(3, work)


def test_half_features_are_gathered_in_float32_and_get_half_gradients():
    def work(comm):
        mine = FEATURES[:2].half().requires_grad_()
        gathered, _ = gather_batch(mine, LABELS[:2], comm)
        assert gathered.dtype == torch.float32
        gathered.sum().backward()
        assert mine.grad.dtype == torch.float16

    run_threads(2, work)
