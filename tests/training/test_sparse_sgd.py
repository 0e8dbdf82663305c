"""SGD on chosen rows against torch's own on tables of those rows; all other rows keep every bit."""

import pytest
import torch

from training.settings import SgdSettings
from training.sparse_sgd import sparse_sgd

STEPS = [([0, 3, 4], 0.1), ([3], 0.5), ([1, 3, 4], 0.02)]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_each_row_moves_as_by_torchs_sgd_on_the_steps_in_which_it_was_chosen(momentum, nesterov):
    drawn = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 3, generator=drawn, dtype=torch.float64)
    velocity = torch.zeros_like(weight)
    rows = [weight[row].clone().requires_grad_() for row in range(6)]
    optimisers = [
        torch.optim.SGD([row], lr=0.0, momentum=momentum, nesterov=nesterov, weight_decay=0.01) for row in rows
    ]
    settings = SgdSettings(momentum=momentum, nesterov=nesterov, weight_decay=0.01, clip_norm=None)
    for index, rate in STEPS:
        gradient = torch.randn(len(index), 3, generator=drawn, dtype=torch.float64)
        others = [row for row in range(6) if row not in index]
        before = weight[others].clone(), velocity[others].clone()
        for row, part in zip(index, gradient, strict=True):
            rows[row].grad = part.clone()
            optimisers[row].param_groups[0]["lr"] = rate
            optimisers[row].step()
        sparse_sgd(weight, velocity, torch.tensor(index), gradient, learning_rate=rate, settings=settings)
        assert torch.equal(weight[others], before[0])
        assert torch.equal(velocity[others], before[1])
    torch.testing.assert_close(weight, torch.stack(rows).detach(), rtol=1e-13, atol=1e-13)


def test_all_rows_at_once_are_all_rows_by_their_numbers():
    drawn = torch.Generator().manual_seed(0)
    weight, velocity, gradient = (torch.randn(5, 3, generator=drawn) for _ in range(3))
    other = weight.clone(), velocity.clone()
    settings = SgdSettings(momentum=0.9, nesterov=True, weight_decay=0.1, clip_norm=None)
    sparse_sgd(weight, velocity, None, gradient.clone(), learning_rate=0.1, settings=settings)
    sparse_sgd(*other, torch.arange(5), gradient.clone(), learning_rate=0.1, settings=settings)
    assert torch.equal(weight, other[0])
    assert torch.equal(velocity, other[1])
