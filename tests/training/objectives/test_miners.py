"""Miners against loops over the pictures, one pair or triplet at a time."""

from itertools import product

import pytest
import torch

from training.objectives.miners import PAIR_MINERS, TRIPLET_MINERS

MARGIN = 0.3
BATCHES = {
    "several of most": [0, 1, 0, 2, 2, 1, 0, 3],
    "one identity": [5, 5, 5],
    "all different": [4, 3, 2, 1],
    "one picture": [7],
}


def batch(name):
    labels = torch.tensor(BATCHES[name])
    points = torch.rand(len(labels), 3, generator=torch.Generator().manual_seed(len(labels)))
    return torch.cdist(points, points), labels


def partners(labels, anchor):
    own = [i for i in range(len(labels)) if labels[i] == labels[anchor] and i != anchor]
    return own, [i for i in range(len(labels)) if labels[i] != labels[anchor]]


def slow_pairs(miner, distance, labels):
    positives, negatives = set(), set()
    for anchor in range(len(labels)):
        own, others = partners(labels, anchor)
        if miner == "all":
            positives |= {(anchor, i) for i in own if anchor < i}
            negatives |= {(anchor, i) for i in others if anchor < i}
        else:
            positives |= {(anchor, max(own, key=lambda i: distance[anchor, i]))} if own else set()
            negatives |= {(anchor, min(others, key=lambda i: distance[anchor, i]))} if others else set()
    return positives, negatives


def slow_triplets(miner, distance, labels):
    found = set()
    for anchor in range(len(labels)):
        own, others = partners(labels, anchor)
        if miner == "hardest":
            own = [max(own, key=lambda i: distance[anchor, i])] if own else []
            others = [min(others, key=lambda i: distance[anchor, i])] if others else []
        for positive, negative in product(own, others):
            near, far = distance[anchor, positive], distance[anchor, negative]
            if miner != "semi_hard" or near < far < near + MARGIN:
                found.add((anchor, positive, negative))
    return found


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("miner", PAIR_MINERS)
def test_pairs_are_those_of_the_loop_each_once(miner, name):
    distance, labels = batch(name)
    pairs = PAIR_MINERS[miner](distance, labels)
    expected = slow_pairs(miner, distance, labels.tolist())
    for found, wanted in zip((pairs.positives, pairs.negatives), expected, strict=True):
        assert found.shape == (2, len(wanted))
        assert {tuple(pair) for pair in found.T.tolist()} == wanted


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("miner", TRIPLET_MINERS)
def test_triplets_are_those_of_the_loop_each_once(miner, name):
    distance, labels = batch(name)
    found = TRIPLET_MINERS[miner](distance, labels, MARGIN)
    expected = slow_triplets(miner, distance, labels.tolist())
    assert found.shape == (3, len(expected))
    assert {tuple(triplet) for triplet in found.T.tolist()} == expected


def test_the_miners_choose_differently_where_there_is_a_choice():
    distance, labels = batch("several of most")
    counts = [TRIPLET_MINERS[miner](distance, labels, MARGIN).shape[1] for miner in ("all", "semi_hard", "hardest")]
    assert counts[0] > counts[1] > 0
    assert counts[2] == 7  # of the picture that is alone there is none
