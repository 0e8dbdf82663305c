"""The one rule by which a value of a source is an identity or none; every kind of source applies it.

| value | identity |
|---|---|
| null, NaN, NaT, an infinite number, true or false | none |
| a whole number | its digits, so that 1, 1.0 and the text `1.0` are one person |
| a negative number, also as text (`-1`, `-1.0`) | none: labels count from 0, and -1 marks a missing one |
| any other number | as Python writes it |
| text | in Unicode's composed form (NFC), without blanks and control characters at its ends; none if it is empty |
| bytes | as UTF-8 text; other bytes become escapes |
| a list of one value | that value |
| a list of none or several values, an object | none |

Words such as `nan`, `none` or `null` are names: people are called Nan and None. `pipelines.identity_hints` notes them.
"""

import functools
import re
import unicodedata
from decimal import Decimal
from typing import Any

from pipelines.sources.entry import printable, text

# Written as a whole number; 007 is a name, since 007 and 7 may be two people.
_WHOLE = re.compile(r"-?(0)(?:\.0*)?|([1-9][0-9]*)(?:\.0*)?")
_NEGATIVE = re.compile(r"-[0-9]+(?:\.[0-9]*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# Blanks of Unicode, and characters without a width: marks of byte order and direction, joiners, soft hyphens.
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff\u200b\u200c\u200d\u2060\u200e\u200f\u00ad"
_CACHED_LENGTH = 200  # longer texts are no names, and would fill the memory
_MAX_DIGITS = 100


def identity_of(value: Any) -> str | None:
    """The identity that a value of a source stands for; None where it stands for none."""
    if isinstance(value, str):
        return _of_name(value) if len(value) <= _CACHED_LENGTH else _of_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return identity_of(printable(bytes(value)))
    if value is None or isinstance(value, bool | dict):
        return None
    if isinstance(value, int):
        return None if value < 0 else str(value)
    if isinstance(value, float):
        return _of_decimal(Decimal(value), str(value))
    if isinstance(value, Decimal):
        return _of_decimal(value, str(value))
    # numpy's scalars and arrays, and all else that turns into plain values
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list | tuple | set | frozenset):
        return identity_of(next(iter(plain))) if len(plain) == 1 else None
    if plain is not value:
        return identity_of(plain)
    return None if _is_missing(value) else _of_text(str(value))


def _of_decimal(value: Decimal, written: str) -> str | None:
    if not value.is_finite() or value < 0:
        return None
    is_whole = value.adjusted() < _MAX_DIGITS and value == value.to_integral_value()
    return str(int(value)) if is_whole else written


def _of_text(value: str) -> str | None:
    name = unicodedata.normalize("NFC", _CONTROL.sub(" ", text(value))).strip(_BLANKS)
    if number := _WHOLE.fullmatch(name):
        return number[1] or number[2]
    return None if _NEGATIVE.fullmatch(name) else name or None


_of_name = functools.lru_cache(maxsize=4096)(_of_text)


def _is_missing(value: Any) -> bool:
    """True for values that are unlike themselves (NaT), or that cannot be compared (pandas' NA)."""
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return True
