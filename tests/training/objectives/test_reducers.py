"""Reducers against means by hand."""

import pytest
import torch

from training.objectives.reducers import REDUCERS, mean, mean_nonzero


def test_means_are_over_all_losses_or_over_those_above_zero():
    losses = torch.tensor([0.0, 3.0, 0.0, 1.0])
    assert mean(losses).item() == 1.0
    assert mean_nonzero(losses).item() == 2.0


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("size", [0, 3])
def test_without_a_loss_the_result_and_its_gradient_are_zero(reducer, size):
    features = torch.ones(size, requires_grad=True)
    found = REDUCERS[reducer](features * 0)
    found.backward()
    assert found.item() == 0
    assert torch.equal(features.grad, torch.zeros(size))
