"""From embeddings and pairs to accuracy, ROC and TAR@FAR (numpy alone).

The protocol is that of LFW (Huang et al., UMass Amherst TR 07-49, 2007, "unrestricted, labelled outside data"): two
pictures are called the same person where the cosine of their embeddings is at or above a threshold; the pairs lie in K
folds, each fold is judged by the threshold that is best on the K-1 others, and the accuracy is the mean over the folds.
The embedding of a picture is the sum of those of the picture and of its mirror image, scaled to length 1, as in ArcFace
(Deng et al., arXiv 1801.07698, section 3.1).

Not as there: the threshold is the exact best one, halfway between two neighbouring scores, and not the best of a grid.
The deviation is that of the K accuracies (divided by K); the LFW page states it divided by the root of K.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from pipelines.arrays import BoolArray, Float64Array, IntArray, Vectors
from pipelines.settings import Settings, UserError
from training.evaluate.pairs import PairSet

Features = Vectors | Float64Array

MAX_ROC_POINTS = 500


class FoldResult(Settings):
    """One fold, judged by the threshold of the others."""

    accuracy: float = Field(ge=0, le=1)
    threshold: float  # cosine
    num_pairs: int = Field(ge=1)


class Roc(Settings):
    """The receiver operating characteristic: shares of accepted pairs as the threshold falls."""

    far: tuple[float, ...] = ()  # of different people, 0..1, rising; empty where one kind of pair is missing
    tar: tuple[float, ...] = ()  # of the same person


class VerificationResult(Settings):
    """The content of `result.json` in an evaluation artefact."""

    accuracy: float = Field(ge=0, le=1)  # mean over the folds
    accuracy_std: float = Field(ge=0, le=1)
    auc: float | None = Field(ge=0, le=1)  # area under the ROC; null where all pairs are of one kind
    tar_at_far: dict[str, float | None]  # "0.001" -> TAR; null where the pairs are too few to measure it
    threshold: float  # cosine; the best over all pairs
    num_pairs: int = Field(ge=1)
    num_same: int = Field(ge=0)
    folds: tuple[FoldResult, ...]
    roc: Roc  # thinned to 500 points
    pairs: str  # description of the pairs, for people


def verify(pairs: PairSet, embeddings: Features, *, fars: Sequence[float]) -> VerificationResult:
    """Judge every pair by the cosine of its embeddings.

    Args:
        embeddings: (N, D), one row per picture of the pairs, of any length.
        fars: shares of false accepts at which that of true accepts is stated.

    Raises:
        UserError: an embedding is not finite.
    """
    if not np.isfinite(embeddings).all():
        raise UserError(
            "the model gives features that are not finite; it diverged: lower recipe.schedule.base_lr and train again"
        )
    scores = cosines(embeddings, pairs.left, pairs.right)
    far, tar = roc_curve(scores, pairs.is_same)
    folds = cross_validate(scores, pairs.is_same, pairs.fold)
    accuracies = np.array([fold.accuracy for fold in folds])
    num_same = int(pairs.is_same.sum())
    has_both = 0 < num_same < len(pairs)
    return VerificationResult(
        accuracy=float(accuracies.mean()),
        accuracy_std=float(accuracies.std()),
        auc=_area(far, tar) if has_both else None,
        tar_at_far={f"{at:g}": tar_at(at, far, tar, num_different=len(pairs) - num_same) for at in fars},
        threshold=best_threshold(scores, pairs.is_same),
        num_pairs=len(pairs),
        num_same=num_same,
        folds=tuple(folds),
        roc=_thinned(far, tar) if has_both else Roc(),
        pairs=pairs.about,
    )


def _area(x: Float64Array, y: Float64Array) -> float:
    """Area below a curve by the trapezoidal rule, for which numpy 1 and 2 have different names."""
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def cosines(embeddings: Features, left: IntArray, right: IntArray) -> Float64Array:
    """(P,) cosines, -1..1; an embedding of length 0 has cosine 0 with all."""
    exact = embeddings.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    unit = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0)
    scores: Float64Array = np.einsum("pd,pd->p", unit[left], unit[right])
    return scores


def cross_validate(scores: Float64Array, is_same: BoolArray, fold: IntArray) -> list[FoldResult]:
    """Each fold judged by the best threshold of the others."""
    results = []
    for number in np.unique(fold):
        held_out = fold == number
        threshold = best_threshold(scores[~held_out], is_same[~held_out])
        is_right = (scores[held_out] >= threshold) == is_same[held_out]
        results.append(FoldResult(accuracy=float(is_right.mean()), threshold=threshold, num_pairs=len(is_right)))
    return results


def best_threshold(scores: Float64Array, is_same: BoolArray) -> float:
    """The threshold of highest accuracy: halfway between two neighbouring scores; of equals the one in the middle."""
    levels, accepted_same, accepted_different = _accepted(scores, is_same)
    num_right = accepted_same + (~is_same).sum() - accepted_different
    ties = np.flatnonzero(num_right == num_right.max())
    cut = int(ties[len(ties) // 2])
    if cut == 0:
        return float(np.nextafter(levels[0], np.inf))  # nothing is accepted
    if cut == len(levels):
        return float(levels[-1])
    halfway = (levels[cut - 1] + levels[cut]) / 2
    # Between neighbouring floats there is no middle; rounded down to the lower one, it would accept that score.
    return float(halfway if halfway > levels[cut] else levels[cut - 1])


def roc_curve(scores: Float64Array, is_same: BoolArray) -> tuple[Float64Array, Float64Array]:
    """(far, tar) from (0, 0) to (1, 1), a point for every distinct score."""
    _, accepted_same, accepted_different = _accepted(scores, is_same)
    return accepted_different / max(1, accepted_different[-1]), accepted_same / max(1, accepted_same[-1])


def tar_at(at: float, far: Float64Array, tar: Float64Array, *, num_different: int) -> float | None:
    """The highest TAR whose FAR is not above ``at``; None where ``at`` is less than one pair or nothing is the same."""
    if at * num_different < 1 or tar[-1] == 0:
        return None
    return float(tar[np.searchsorted(far, at, side="right") - 1])


def _accepted(scores: Float64Array, is_same: BoolArray) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Distinct scores, falling (M,), and the numbers of pairs accepted at the 0, 1, ... M highest of them (M + 1,)."""
    rising, place = np.unique(scores, return_inverse=True)
    counts = [np.bincount(place[kind], minlength=len(rising))[::-1] for kind in (is_same, ~is_same)]
    same, different = (np.concatenate([[0], np.cumsum(count)]).astype(np.float64) for count in counts)
    return rising[::-1], same, different


def _thinned(far: Float64Array, tar: Float64Array) -> Roc:
    # Evenly along the curve, so that its steep beginning keeps its shape.
    along = np.concatenate([[0.0], np.cumsum(np.diff(far) + np.diff(tar))])
    places = np.linspace(0.0, along[-1], MAX_ROC_POINTS)
    kept = np.unique(np.searchsorted(along, places, side="right").clip(1) - 1)
    return Roc(far=tuple(far[kept].tolist()), tar=tuple(tar[kept].tolist()))
