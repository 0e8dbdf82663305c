"""Faults that pass are tried again with growing, drawn waits; the others are not."""

import errno
from collections.abc import Callable

import pytest
import scipy.stats

from pipelines.settings import UserError
from training.feed.retry import is_passing, with_retries
from training.feed.settings import RetrySettings

SETTINGS = RetrySettings(tries=4, first_wait_seconds=1.0, longest_wait_seconds=3.0)


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.ESTALE, "stale"), True),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28, Timeout was reached"), True),
        (OSError("AWS Error SLOW_DOWN during ListObjectsV2 operation: Please reduce"), True),
        (OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body."), True),
        (HttpError(502), True),
        (HttpError(429), True),
        (HttpError(404), False),
        (OSError("AWS Error ACCESS_DENIED during GetObject operation: Access Denied"), False),
        (OSError("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body."), False),
        (FileNotFoundError(errno.ENOENT, "a shard named SLOW_DOWN"), False),
        (OSError(errno.EIO, "a broken disk"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_what_passes(error: Exception, passes: bool) -> None:
    assert is_passing(error) is passes


def test_passing_faults_are_survived_one_fewer_than_the_tries() -> None:
    waits: list[float] = []
    assert with_retries(failing(*[TimeoutError()] * 3), name="x", settings=SETTINGS, pause=waits.append) == "done"
    assert len(waits) == 3
    faults = failing(TimeoutError(), TimeoutError(), TimeoutError(), TimeoutError("the last\nof all"))
    with pytest.raises(UserError, match=r"^a shard could not be read in 4 tries \(the last\); .*feed\.remote\.tries$"):
        with_retries(faults, name="a shard", settings=SETTINGS, pause=waits.append)


def test_other_faults_are_raised_at_once() -> None:
    with pytest.raises(PermissionError):
        with_retries(failing(PermissionError()), name="x", settings=SETTINGS, pause=pytest.fail)


def test_waits_are_uniform_below_a_bound_that_doubles_up_to_the_longest() -> None:
    waits: list[list[float]] = []
    for _ in range(400):
        waits.append([])
        with_retries(failing(*[TimeoutError()] * 3), name="x", settings=SETTINGS, pause=waits[-1].append)
    for drawn, bound in zip(zip(*waits, strict=True), (1.0, 2.0, 3.0), strict=True):
        assert scipy.stats.kstest(drawn, scipy.stats.uniform(0, bound).cdf).pvalue > 1e-4


def test_a_pause_that_is_cut_short_ends_the_trying_with_the_fault() -> None:
    with pytest.raises(TimeoutError):
        with_retries(failing(*[TimeoutError()] * 3), name="x", settings=SETTINGS, pause=lambda seconds: True)
