"""Oracles: scikit-learn's ROC and AUC, and every threshold tried in turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from pipelines.settings import UserError
from training.evaluate.pairs import PairSet, contiguous_folds, held
from training.evaluate.verification import (
    MAX_ROC_POINTS,
    best_threshold,
    cosines,
    cross_validate,
    roc_curve,
    tar_at,
    verify,
)


def _scores(seed, num_pairs=400, levels=None):
    rng = np.random.default_rng(seed)
    is_same = rng.random(num_pairs) < 0.5
    is_same[:2] = (True, False)
    scores = rng.normal(is_same * 0.3, 0.25).clip(-1, 1)
    return (scores if levels is None else np.round(scores * levels) / levels), is_same


def _pair_set(is_same, folds=5):
    pairs = np.arange(len(is_same))
    names = [str(place) for place in range(2 * len(is_same))]
    fold = contiguous_folds(len(is_same), folds, place="here")
    return PairSet(held(names, [b""] * len(names)), 2 * pairs, 2 * pairs + 1, is_same, fold, "drawn by the test")


def _embeddings(scores):
    """Pairs of vectors in the plane, of random lengths, with the wanted cosines."""
    lengths = np.random.default_rng(0).uniform(0.5, 40, (2 * len(scores), 1))
    angles = np.stack([np.zeros(len(scores)), np.arccos(scores)], axis=1).reshape(-1)
    return lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize("levels", [None, 5])
def test_the_roc_and_its_area_are_those_of_scikit_learn(levels):
    scores, is_same = _scores(1, levels=levels)
    far, tar = roc_curve(scores, is_same)
    expected_far, expected_tar, _ = sklearn_roc_curve(is_same, scores, drop_intermediate=False)
    np.testing.assert_allclose(far, expected_far)
    np.testing.assert_allclose(tar, expected_tar)
    assert auc(far, tar) == pytest.approx(roc_auc_score(is_same, scores))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=1, max_size=12))
def test_no_other_threshold_is_better_than_the_best(pairs):
    scores = np.array([score / 6 for score, _ in pairs])
    is_same = np.array([verdict for _, verdict in pairs])
    candidates = [-2.0, *(scores + 1e-9), *(scores - 1e-9), 2.0]
    best = max(np.mean((scores >= candidate) == is_same) for candidate in candidates)
    assert np.mean((scores >= best_threshold(scores, is_same)) == is_same) == best


def test_the_threshold_lies_in_the_middle_of_the_gap_between_the_kinds():
    assert best_threshold(np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True])) == pytest.approx(0.4)


def test_neighbouring_floats_are_told_apart():
    lower = 0.3
    upper = np.nextafter(lower, 1)
    assert lower < best_threshold(np.array([lower, upper]), np.array([False, True])) <= upper


def test_each_fold_is_judged_by_the_threshold_of_the_others():
    scores, is_same = _scores(2, num_pairs=60)
    fold = np.arange(60) % 3
    for number, result in enumerate(cross_validate(scores, is_same, fold)):
        others, inside = fold != number, fold == number
        assert result.threshold == best_threshold(scores[others], is_same[others])
        assert result.accuracy == np.mean(
            [(s >= result.threshold) == v for s, v in zip(scores[inside], is_same[inside], strict=True)]
        )


def test_a_fold_that_is_unlike_the_others_gets_no_threshold_of_its_own():
    # The third fold would be perfect at 0.9; the others part at 0.5.
    scores = np.array([0.2, 0.8, 0.2, 0.8, 0.85, 0.95])
    is_same = np.array([False, True] * 3)
    assert [f.accuracy for f in cross_validate(scores, is_same, np.array([0, 0, 1, 1, 2, 2]))][2] == 0.5


@pytest.mark.parametrize("at", [0.1, 0.01])
def test_tar_at_far_is_the_best_of_all_thresholds_that_keep_the_far(at):
    scores, is_same = _scores(3, num_pairs=1000, levels=40)
    rates = [(np.mean(scores[~is_same] >= t), np.mean(scores[is_same] >= t)) for t in [*np.unique(scores), 2.0]]
    far, tar = roc_curve(scores, is_same)
    expected = max(tar for far, tar in rates if far <= at)
    assert tar_at(at, far, tar, num_different=int((~is_same).sum())) == pytest.approx(expected)


def test_a_far_below_one_pair_is_not_measurable():
    scores, is_same = _scores(4, num_pairs=200)
    result = verify(_pair_set(is_same), _embeddings(scores), fars=(0.1, 0.001))
    assert result.tar_at_far["0.1"] is not None
    assert result.tar_at_far["0.001"] is None


def test_the_length_of_an_embedding_does_not_matter():
    scores, _ = _scores(5)
    pairs = 2 * np.arange(len(scores))
    np.testing.assert_allclose(cosines(_embeddings(scores), pairs, pairs + 1), scores, atol=1e-9)


def test_an_embedding_of_length_zero_is_like_none():
    assert cosines(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0]), np.array([1]))[0] == 0.0


def test_the_result_states_mean_and_deviation_of_the_folds():
    scores, is_same = _scores(6)
    result = verify(_pair_set(is_same), _embeddings(scores), fars=(0.1,))
    accuracies = [fold.accuracy for fold in result.folds]
    assert result.accuracy == pytest.approx(sum(accuracies) / 5)
    assert result.accuracy_std == pytest.approx((sum((a - result.accuracy) ** 2 for a in accuracies) / 5) ** 0.5)
    assert result.auc == pytest.approx(roc_auc_score(is_same, scores))


def test_the_thinned_curve_keeps_its_ends_and_its_area():
    scores, is_same = _scores(7, num_pairs=20_000)
    result = verify(_pair_set(is_same), _embeddings(scores), fars=())
    far, tar = result.roc.far, result.roc.tar
    assert len(far) <= MAX_ROC_POINTS
    assert (far[0], tar[0], far[-1], tar[-1]) == (0, 0, 1, 1)
    assert auc(far, tar) == pytest.approx(result.auc, abs=0.002)


def test_pairs_of_one_kind_have_an_accuracy_but_no_area():
    result = verify(_pair_set(np.ones(10, dtype=bool)), _embeddings(np.full(10, 0.7)), fars=(0.1,))
    assert (result.accuracy, result.auc, result.tar_at_far, result.roc.far) == (1.0, None, {"0.1": None}, ())


def test_a_model_that_diverged_is_named_as_such():
    with pytest.raises(UserError, match="diverged"):
        verify(_pair_set(np.array([True, False] * 5)), np.full((20, 2), np.nan), fars=())
