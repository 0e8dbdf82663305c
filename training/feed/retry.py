"""Retries after transient faults: full jitter over exponentially growing waits.

The waits are those of "Exponential Backoff and Jitter" (M. Brooker, AWS Architecture Blog, 2015): the n-th is uniform
between 0 and ``min(longest, first * 2**(n-1))``, so that ranks that failed together do not come back together.
"""

import errno
import itertools
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from pipelines.settings import UserError
from training.feed.settings import RetrySettings

Result = TypeVar("Result")

# The answers of a network or a store in trouble; a wrong name, a refused key and a damaged file are not among them.
_PASSING_ERRNOS = {
    errno.EAGAIN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.ENETUNREACH,
    errno.ESTALE,
    errno.ETIMEDOUT,
}
_PASSING_STATUSES = {408, 425, 429, *range(500, 600)}
# Arrow reports an S3 fault in words alone.
_PASSING_AWS = re.compile(
    r"AWS Error (INTERNAL_FAILURE|NETWORK_CONNECTION|REQUEST_TIMEOUT|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING)\b"
    r"|HTTP status (408|425|429|5\d\d)\b"
)

_random = random.Random()  # apart from the generator that a seed sets


def with_retries(
    work: Callable[[], Result],
    *,
    name: str,
    settings: RetrySettings,
    pause: Callable[[float], object] = time.sleep,
) -> Result:
    """The result of ``work``, which is called again as long as its faults are transient.

    Args:
        name: of what is read, for the error.
        pause: waits for so many seconds; what it returns, where true, ends the trying with the last fault.

    Raises:
        UserError: every try failed.
    """
    for number in itertools.count(1):
        try:
            return work()
        except Exception as error:
            if not is_passing(error):
                raise
            if number == settings.tries:
                raise UserError(
                    f"{name} could not be read in {number} tries ({first_line(error)}); "
                    "see whether the store can be reached, or raise feed.remote.tries"
                ) from None
            if pause(
                _random.uniform(0, min(settings.longest_wait_seconds, settings.first_wait_seconds * 2 ** (number - 1)))
            ):
                raise
    raise AssertionError("the count has no end")


def is_passing(error: BaseException) -> bool:
    """True of a fault after which a second try may succeed."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    if any(getattr(error, name, None) in _PASSING_STATUSES for name in ("status", "status_code", "code")):
        return True  # as the HTTP clients behind fsspec report it
    return isinstance(error, OSError) and (
        error.errno in _PASSING_ERRNOS or (error.errno is None and bool(_PASSING_AWS.search(str(error))))
    )


def first_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
