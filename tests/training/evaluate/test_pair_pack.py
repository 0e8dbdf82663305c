"""Packs as pairs: neighbours belong together, in folds of neighbours. What a pack is, is tested where it is read."""

import pickle

import pytest

from pipelines.settings import UserError
from training.evaluate.pair_pack import load_pack

IMAGES = [bytes([place]) * 5 for place in range(8)]
VERDICTS = [True, False, True, False]


def test_neighbours_are_a_pair_in_a_fold_of_neighbours(tmp_path):
    (tmp_path / "pack.bin").write_bytes(pickle.dumps((IMAGES, VERDICTS)))
    pairs = load_pack(tmp_path / "pack.bin", folds=2)
    assert list(pairs.pictures.read(0, 8)) == IMAGES
    assert (pairs.left.tolist(), pairs.right.tolist()) == ([0, 2, 4, 6], [1, 3, 5, 7])
    assert pairs.is_same.tolist() == VERDICTS
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert "4 pairs of pack.bin" in pairs.about


def test_more_folds_than_pairs_are_the_users_error(tmp_path):
    (tmp_path / "pack.bin").write_bytes(pickle.dumps((IMAGES, VERDICTS)))
    with pytest.raises(UserError, match="4 pairs for 5 folds"):
        load_pack(tmp_path / "pack.bin", folds=5)


def test_a_missing_pack_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_pack(tmp_path / "absent.bin", folds=2)
