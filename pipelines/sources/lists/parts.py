"""The parts of a list: a row that names a picture, or a line that does not parse cleanly."""

from dataclasses import dataclass
from typing import Any

MORE_FIELDS = "lines_with_more_fields_than_their_heading"
FEWER_FIELDS = "lines_with_fewer_fields_than_their_heading"
OPEN_QUOTES = "lines_whose_quotes_do_not_match"
NO_NAME = "lines_without_a_name"
COMMENTS = "comment_lines"
COMMENT = "# "  # a line that begins so names no picture; #selfie/1.jpg does


@dataclass(frozen=True)
class Row:
    """A picture's name, with surrogates for bytes that are not UTF-8, and the value that identifies it."""

    number: int  # of the line, from 1
    name: str
    identity: Any = None


@dataclass(frozen=True)
class BadLine:
    """A line that is passed over, and the reason: the plural of what it is, in snake_case."""

    number: int
    reason: str
