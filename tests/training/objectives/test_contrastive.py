"""The contrastive loss against loops over the pairs of the whole batch."""

import math

import pytest
import torch

from training.objectives.settings import ContrastiveSettings

FEATURES = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 0, 2, 3, 3, 0, 4])


def slow(features, margin, *, unit_length):
    rows = [row / row.norm() if unit_length else row for row in features]
    near, far = [], []
    for i in range(len(rows)):
        for j in range(i):
            distance = (rows[i] - rows[j]).norm()
            if LABELS[i] == LABELS[j]:
                near.append(distance**2 / 2)
            else:
                far.append((margin - distance).clamp_min(0) ** 2 / 2)
    return torch.stack(near).mean() + torch.stack(far).mean()


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(("margin", "unit_length"), [(1.2, True), (2.5, False)])
def test_loss_and_gradients_are_those_of_the_loop_on_any_number_of_ranks(loss_and_gradient, margin, unit_length, size):
    settings = ContrastiveSettings(margin=margin, unit_length=unit_length)
    losses, gradient = loss_and_gradient(settings, FEATURES, LABELS, size)
    features = FEATURES.clone().requires_grad_()
    expected = slow(features, margin, unit_length=unit_length)
    expected.backward()
    assert all(math.isclose(loss, expected.item(), rel_tol=1e-10) for loss in losses)
    torch.testing.assert_close(gradient, features.grad, rtol=1e-8, atol=1e-10)


def test_a_batch_of_one_identity_is_only_drawn_together(build):
    features = FEATURES[:4]
    loss = build(ContrastiveSettings(), num_classes=5, embedding_dim=5)(features, torch.zeros(4, dtype=torch.int64))
    unit = torch.nn.functional.normalize(features)
    assert math.isclose(loss.item(), torch.pdist(unit).square().mean().item() / 2, rel_tol=1e-10)
