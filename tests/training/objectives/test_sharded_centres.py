"""Which centres a rank has, and what they begin as; how they train is in test_partial_fc.py."""

import pytest
import torch

from training.objectives.sharded_centres import ShardedCentres, classes_of
from training.settings import SgdSettings


@pytest.mark.parametrize(("num_classes", "size"), [(11, 4), (12, 4), (4, 4), (7, 1), (10_000, 3)])
def test_every_class_has_one_rank_and_no_rank_more_than_one_class_above_another(num_classes, size):
    parts = [classes_of(rank, size=size, num_classes=num_classes) for rank in range(size)]
    assert [label for part in parts for label in part] == list(range(num_classes))
    assert [len(part) for part in parts] == [num_classes // size + (rank < num_classes % size) for rank in range(size)]


def centres(classes, *, seed=0):
    return ShardedCentres(classes, 10_000, 4, seed=seed, sgd=SgdSettings(clip_norm=None), bank=torch.device("cpu"))


def test_a_class_begins_alike_whatever_the_number_of_ranks():
    whole = centres(range(10_000)).weight_RD
    parts = [centres(classes_of(rank, size=3, num_classes=10_000)).weight_RD for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.std().item() == pytest.approx(0.01, rel=0.02)
    assert len(whole.unique(dim=0)) == 10_000
    assert not torch.equal(whole, centres(range(10_000), seed=1).weight_RD)


def test_labels_of_other_ranks_are_nowhere_and_discarded_gradients_move_nothing():
    part = centres(range(3, 6))
    before = part.weight_RD.clone()
    leaf, rows = part.sample(torch.tensor([2, 3, 5, 6]))
    assert rows.tolist() == [-1, 0, 2, -1]
    leaf.sum().backward()
    assert part.squared_norm().item() == pytest.approx(12)
    part.discard()
    part.step(1.0, 1.0)
    assert part.squared_norm().item() == 0
    assert torch.equal(part.weight_RD, before)
