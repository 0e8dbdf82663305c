"""The oracles are the F of scipy, the adjusted R squared of a regression on indicators, and shuffled labels."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from jobs.report.sections import identities
from jobs.report.sections.identities import LARGE_SHARE, MEASURED, share_between, spreads


def _sums(groups):
    return (np.array([of(np.asarray(g, float)) for g in groups], float) for of in (len, np.sum, lambda g: (g**2).sum()))


def _table(identities, **columns):
    """A piece with these measurements, the others unknown."""
    nothing = pa.nulls(len(identities), pa.float32())
    given = {name: pa.array(values, pa.float32()) for name, values in columns.items()}
    return pa.table({"identity": pa.array(identities), **{name: given.get(name, nothing) for name in MEASURED}})


values = st.lists(st.integers(0, 255).map(float), min_size=2, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.lists(values, min_size=2, max_size=6))
def test_the_share_is_that_of_scipys_f_and_of_the_adjusted_r_squared(groups):
    everything = np.concatenate(groups)
    share, _ = share_between(*_sums(groups))
    if np.ptp(everything) == 0:
        assert share is None
        return
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    k, n = len(groups), len(everything)
    indicators = np.eye(k)[labels]
    r_squared = LinearRegression().fit(indicators, everything).score(indicators, everything)
    assert share == pytest.approx(1 - (1 - r_squared) * (n - 1) / (n - k), abs=1e-9)
    if 1 - r_squared > 1e-9:
        f = scipy.stats.f_oneway(*groups).statistic
        assert share == pytest.approx((k - 1) * (f - 1) / ((k - 1) * f + n - k), abs=1e-6)


def test_labels_that_mean_nothing_have_no_share_on_average_and_are_not_marked():
    rng = np.random.default_rng(0)
    told = [share_between(*_sums(np.split(rng.gamma(1.0, 30.0, 600), 200))) for _ in range(300)]
    shares = np.array([share for share, _ in told])
    assert abs(shares.mean()) < 4 * shares.std() / len(shares) ** 0.5
    assert not any(predicts for _, predicts in told)


def test_a_planted_share_is_found_and_marked_from_the_documented_bound_on():
    rng = np.random.default_rng(1)
    for planted in (0.05, 0.3):
        means = rng.normal(0, planted**0.5, (400, 1))
        share, predicts = share_between(*_sums(means + rng.normal(0, (1 - planted) ** 0.5, (400, 25))))
        assert share == pytest.approx(planted, abs=0.04)
        assert predicts == (planted > LARGE_SHARE)


def test_a_large_share_of_few_pictures_is_not_marked():
    share, predicts = share_between(*_sums([[1.0, 2.0], [2.0, 4.0], [3.0, 5.0]]))
    assert share > LARGE_SHARE
    assert not predicts


@pytest.mark.parametrize("groups", [[[1.0, 2.0]], [[1.0], [2.0]], [[3.0, 3.0], [3.0]]])
def test_what_cannot_be_told_is_not_told(groups):
    assert share_between(*_sums(groups)) == (None, False)


@pytest.mark.parametrize("merge_rows", [1, 1_000_000])
def test_pieces_give_what_the_whole_gives(monkeypatch, merge_rows):
    monkeypatch.setattr(identities, "_MERGE_ROWS", merge_rows)
    rng = np.random.default_rng(2)
    names = rng.choice([f"p{number:03}" for number in range(90)], 3000)
    blur = (rng.normal(500, 9, 3000) + 2e6).astype(np.float32)
    cuts = [0, 1, 700, 701, 1900, 3000]
    whole = _table(names, blur=blur)
    (found,) = spreads(whole.slice(low, high - low) for low, high in itertools.pairwise(cuts))
    groups = {name: blur[names == name].astype(np.float64) for name in sorted(set(names))}
    f = scipy.stats.f_oneway(*groups.values()).statistic
    k, n = len(groups), len(blur)
    assert found.measurement == "blur"
    assert found.share == pytest.approx((k - 1) * (f - 1) / ((k - 1) * f + n - k), abs=1e-6)
    means = {name: group.mean() for name, group in groups.items()}
    lowest, highest = min(means, key=means.get), max(means, key=means.get)
    assert (found.lowest.identity, found.lowest.mean) == (lowest, pytest.approx(means[lowest]))
    assert (found.highest.identity, found.highest.mean) == (highest, pytest.approx(means[highest]))


def test_unknown_values_are_left_out():
    (found,) = spreads([_table(["a", "a", "b", "b", "c"], blur=[1, 3, 9, 11, None])])
    assert found.share == pytest.approx(share_between(*_sums([[1, 3], [9, 11]]))[0])
    assert (found.lowest.identity, found.highest.identity) == ("a", "b")


def test_a_measurement_that_does_not_vary_has_no_share():
    (found,) = spreads([_table(["a", "a", "b", "b"], brightness=[47.3] * 4)])
    assert (found.share, found.predicts_label, found.lowest.identity) == (None, False, "a")
    assert spreads([]) == []


def test_every_quantity_of_the_records_is_looked_at():
    assert set(MEASURED) >= {
        "num_bytes", "width", "height", "blur", "brightness", "contrast", "entropy", "dominance", "hash_quality",
    }  # fmt: skip
