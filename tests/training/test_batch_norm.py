"""Running statistics become their mean over the ranks."""

import numpy as np
import torch
from torch import nn

from training.batch_norm import average_running_statistics
from training.testing.threads import run_threads


def test_means_and_variances_become_the_mean_over_ranks_and_weights_stay():
    nets = [nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3))) for _ in range(3)]
    for index, net in enumerate(nets):
        net[0].running_mean.fill_(index)
        net[1][0].running_var.fill_(10 * index + 1)
        net[0].weight.data.fill_(index)
    run_threads(3, lambda comm: average_running_statistics(nets[comm.rank], comm))
    for index, net in enumerate(nets):
        np.testing.assert_allclose(net[0].running_mean.numpy(), [1, 1])
        np.testing.assert_allclose(net[0].running_var.numpy(), [1, 1])
        np.testing.assert_allclose(net[1][0].running_var.numpy(), [11, 11, 11])
        assert (net[0].weight == index).all()


def test_a_net_without_batch_norm_asks_nothing_of_the_others():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    run_threads(2, lambda comm: average_running_statistics(net, comm) if comm.rank == 0 else None)
    assert not torch.isnan(net[0].weight).any()
