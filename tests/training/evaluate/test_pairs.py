"""The oracle of the folds is scikit-learn's KFold."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from pipelines.settings import UserError
from training.evaluate.pairs import contiguous_folds


@pytest.mark.parametrize(("num_pairs", "folds"), [(10, 10), (11, 3), (6000, 10), (7, 2)])
def test_folds_are_those_of_scikit_learn_without_shuffling(num_pairs, folds):
    fold = contiguous_folds(num_pairs, folds, place="here")
    for number, (_, held_out) in enumerate(KFold(folds).split(np.zeros(num_pairs))):
        np.testing.assert_array_equal(np.flatnonzero(fold == number), held_out)


def test_fewer_pairs_than_folds_are_refused():
    with pytest.raises(UserError, match=r"set folds to at most 3"):
        contiguous_folds(3, 4, place="small.bin")
