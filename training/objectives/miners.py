"""The pairs and triplets of a batch that a loss is taken over, by their distances and labels.

A miner chooses and has no gradient. What a batch does not hold, such as another picture of an identity that comes once,
is missing from its choice, which may be empty.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.objectives.settings import PairMinerName, TripletMinerName


@dataclass(frozen=True)
class Pairs:
    """Rows and columns of a table of distances."""

    positives: Tensor  # (2, P): of pairs of one identity
    negatives: Tensor  # (2, N): of pairs of two identities


# Anchors, positives (another picture of the anchor's identity) and negatives (of another identity), (3, T).
Triplets = Tensor
PairMiner = Callable[[Tensor, Tensor], Pairs]  # (distances (B, B), labels (B,))
TripletMiner = Callable[[Tensor, Tensor, float], Triplets]  # the same, and the margin of the loss


@torch.no_grad()
def all_pairs(distance_BB: Tensor, labels_B: Tensor) -> Pairs:
    """Every pair of two pictures, once."""
    is_alike_BB = _is_alike(labels_B)
    return Pairs(
        positives=is_alike_BB.triu(diagonal=1).nonzero().T, negatives=(~is_alike_BB).triu(diagonal=1).nonzero().T
    )


@torch.no_grad()
def hardest_pairs(distance_BB: Tensor, labels_B: Tensor) -> Pairs:
    """Of every picture the pair with the farthest of its identity, and that with the nearest of another one."""
    farthest_B, nearest_B, has_positive_B, has_negative_B = _hardest(distance_BB, labels_B)
    anchors_B = torch.arange(len(labels_B), device=labels_B.device)
    return Pairs(
        positives=torch.stack([anchors_B, farthest_B])[:, has_positive_B],
        negatives=torch.stack([anchors_B, nearest_B])[:, has_negative_B],
    )


@torch.no_grad()
def all_triplets(distance_BB: Tensor, labels_B: Tensor, margin: float) -> Triplets:
    """Every anchor with each of its positives and each of its negatives."""
    anchors_P, positives_P = _positives(labels_B).nonzero().T
    return _with_negatives(anchors_P, positives_P, ~_is_alike(labels_B)[anchors_P])


@torch.no_grad()
def semi_hard_triplets(distance_BB: Tensor, labels_B: Tensor, margin: float) -> Triplets:
    """Those whose negative is farther than the positive, but by less than the margin (arXiv 1503.03832, section 3.2).

    Not as there: all of these negatives count, not one of them for each pair.
    """
    anchors_P, positives_P = _positives(labels_B).nonzero().T
    beyond_PB = distance_BB[anchors_P] - distance_BB[anchors_P, positives_P].unsqueeze(1)
    is_semi_hard_PB = (beyond_PB > 0) & (beyond_PB < margin)
    return _with_negatives(anchors_P, positives_P, is_semi_hard_PB & ~_is_alike(labels_B)[anchors_P])


@torch.no_grad()
def hardest_triplets(distance_BB: Tensor, labels_B: Tensor, margin: float) -> Triplets:
    """Of every anchor the farthest positive and the nearest negative ("batch hard", arXiv 1703.07737, equation 5)."""
    farthest_B, nearest_B, has_positive_B, has_negative_B = _hardest(distance_BB, labels_B)
    anchors_T = (has_positive_B & has_negative_B).nonzero().squeeze(1)
    return torch.stack([anchors_T, farthest_B[anchors_T], nearest_B[anchors_T]])


PAIR_MINERS: dict[PairMinerName, PairMiner] = {"all": all_pairs, "hardest": hardest_pairs}
TRIPLET_MINERS: dict[TripletMinerName, TripletMiner] = {
    "all": all_triplets,
    "semi_hard": semi_hard_triplets,
    "hardest": hardest_triplets,
}


def _is_alike(labels_B: Tensor) -> Tensor:
    return labels_B.unsqueeze(1) == labels_B.unsqueeze(0)


def _positives(labels_B: Tensor) -> Tensor:
    """True where row and column are two pictures of one identity (B, B)."""
    return _is_alike(labels_B).fill_diagonal_(False)


def _with_negatives(anchors_P: Tensor, positives_P: Tensor, is_chosen_PB: Tensor) -> Triplets:
    """Pairs of one identity, each with those of the batch that are chosen for it."""
    pairs_T, negatives_T = is_chosen_PB.nonzero().T
    return torch.stack([anchors_P[pairs_T], positives_P[pairs_T], negatives_T])


def _hardest(distance_BB: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every picture its farthest positive and nearest negative (B,), and whether there is one (B,)."""
    is_positive_BB, is_negative_BB = _positives(labels_B), ~_is_alike(labels_B)
    farthest_B = distance_BB.masked_fill(~is_positive_BB, -torch.inf).argmax(dim=1)
    nearest_B = distance_BB.masked_fill(~is_negative_BB, torch.inf).argmin(dim=1)
    return farthest_B, nearest_B, is_positive_BB.any(dim=1), is_negative_BB.any(dim=1)
