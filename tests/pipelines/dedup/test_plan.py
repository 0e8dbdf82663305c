"""pipelines/dedup/bands: the promised recall is the one that random bits give."""

import numpy as np
import pytest

from pipelines.dedup.bands import expected_recall, plan_bands


@pytest.mark.parametrize(("bits", "distance"), [(8, 31), (8, 40), (16, 15), (16, 24), (16, 31), (32, 12)])
def test_expected_recall_agrees_with_bits_drawn_at_random(bits: int, distance: int) -> None:
    rng = np.random.default_rng(0)
    trials = 4000
    met = sum(len(np.unique(rng.choice(256, distance, replace=False) // bits)) < 256 // bits for _ in range(trials))
    assert expected_recall(bits=bits, distance=distance) == pytest.approx(met / trials, abs=0.03)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_fewer_differing_bits_than_bands_are_always_found(bits: int) -> None:
    assert expected_recall(bits=bits, distance=256 // bits - 1) == 1.0


def test_small_sets_are_searched_without_loss() -> None:
    assert plan_bands(5_000, max_distance=31).recall == 1.0


def test_bands_widen_with_the_number_of_hashes() -> None:
    widths = [plan_bands(count, max_distance=31).bits for count in (1_000, 1_000_000, 100_000_000)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
