"""The triplet loss against loops over the anchors of the whole batch."""

import math

import pytest
import torch

from training.objectives.settings import TripletSettings

FEATURES = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 2, 1, 1, 0, 2, 3, 3, 0, 4])


def slow(features, margin, *, is_semi_hard):
    unit = [row / row.norm() for row in features]
    losses = []
    for a in range(len(unit)):
        for p in range(len(unit)):
            for n in range(len(unit)):
                if a == p or LABELS[a] != LABELS[p] or LABELS[a] == LABELS[n]:
                    continue
                near, far = (unit[a] - unit[p]).square().sum(), (unit[a] - unit[n]).square().sum()
                if not is_semi_hard or near < far < near + margin:
                    losses.append((near - far + margin).clamp_min(0))
    return losses


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("miner", ["semi_hard", "all"])
def test_loss_and_gradients_are_those_of_the_loop_on_any_number_of_ranks(loss_and_gradient, miner, size):
    settings = TripletSettings(miner=miner, margin=0.5)
    losses, gradient = loss_and_gradient(settings, FEATURES, LABELS, size)
    features = FEATURES.clone().requires_grad_()
    chosen = slow(features, 0.5, is_semi_hard=miner == "semi_hard")
    expected = torch.stack(chosen).mean()
    expected.backward()
    assert all(math.isclose(loss, expected.item(), rel_tol=1e-12) for loss in losses)
    torch.testing.assert_close(gradient, features.grad, rtol=1e-9, atol=1e-12)


def test_the_reducer_and_the_distance_are_those_of_the_settings(loss_and_gradient):
    settings = TripletSettings(miner="all", margin=0.1, reducer="mean_nonzero", distance="cosine")
    losses, _ = loss_and_gradient(settings, FEATURES, LABELS, 1)
    # Half of the squared distance of unit features is their cosine distance.
    halves = [loss / 2 for loss in slow(FEATURES, 0.2, is_semi_hard=False)]
    above = [loss for loss in halves if loss > 0]
    assert len(above) < len(halves)
    assert math.isclose(losses[0], torch.stack(above).mean().item(), rel_tol=1e-12)


def test_a_batch_without_triplets_has_no_loss_and_no_gradient(build):
    features = FEATURES[:3].clone().requires_grad_()
    loss = build(TripletSettings(), num_classes=5, embedding_dim=5)(features, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
