"""Lists as tables: CSV as RFC 4180 has it, or with semicolons, tabs or bars; the first line names the columns."""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources.headings import IDENTITY_COLUMNS, NAME_COLUMNS, find_column
from pipelines.sources.lists.parts import (
    COMMENT,
    COMMENTS,
    FEWER_FIELDS,
    MORE_FIELDS,
    NO_NAME,
    OPEN_QUOTES,
    BadLine,
    Row,
)

_HEADING_AGAIN = "headings_that_are_repeated"  # where lists were joined to one file
_DELIMITERS = (",", ";", "\t", "|")
_MOST_LINES = 20  # of one row: a text in quotes may go over several
_AFTER_QUOTES = re.compile(r'"[ \t]+(?=[,;\t|]|$)')


@dataclass(frozen=True)
class _Heading:
    delimiter: str
    columns: list[str]
    name: int  # place of the column of names
    identity: int | None


def has_heading(opening: Sequence[str], identity_column: str | None) -> bool:
    """True where the first line of a text names a column of names and one of identities."""
    first = next((line for line in opening if line.strip() and not line.startswith(COMMENT)), "")
    columns = _split_heading(first, _DELIMITERS)[1]
    wanted = (identity_column,) if identity_column else IDENTITY_COLUMNS
    return find_column(columns, NAME_COLUMNS) is not None and find_column(columns, wanted) is not None


def read(lines: Iterator[str], path: Path, identity_column: str | None) -> Iterator[Row | BadLine]:
    """The rows of a table.

    Raises:
        UserError: it has no column of names, or not the named column of identities.
    """
    waiting = _Lines(lines)
    heading = None
    for number, line in waiting:
        if not line.strip() or line.startswith("sep="):  # by which Excel names the delimiter
            continue
        heading = _heading(line, path, identity_column)
        if heading is not None:
            break
        yield BadLine(number, COMMENTS)
    if heading is None:
        raise _no_name_column([], path)
    for number, line in waiting:
        if line.startswith(COMMENT):
            yield BadLine(number, COMMENTS)
        elif line.strip():
            fields = _fields(line, waiting, heading)
            yield BadLine(number, OPEN_QUOTES) if fields is None else _row(number, fields, heading)


class _Lines:
    """Numbered lines, which can be looked at before they are taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._numbered = enumerate(lines, 1)
        self._ahead: deque[tuple[int, str]] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> tuple[int, str]:
        return self._ahead.popleft() if self._ahead else next(self._numbered)

    def peek(self, place: int) -> str | None:
        """A later line, the next being 0; None after the last."""
        self._ahead.extend(itertools.islice(self._numbered, max(0, place + 1 - len(self._ahead))))
        return self._ahead[place][1] if place < len(self._ahead) else None


def _heading(line: str, path: Path, identity_column: str | None) -> _Heading | None:
    """The columns of a heading; None for a comment before it."""
    own = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter, columns = _split_heading(line, (own, *_DELIMITERS))
    name = find_column(columns, NAME_COLUMNS)
    if name is None and line.startswith(COMMENT):
        return None
    if name is None:
        raise _no_name_column(columns, path)
    identity = find_column(columns, (identity_column,) if identity_column else IDENTITY_COLUMNS)
    if identity is None and identity_column is not None:
        has = ", ".join(columns)
        raise UserError(f"{path} has no column {identity_column}, only {has}; set source.identity_column")
    for used in filter(None, (name, identity)):
        if columns.count(used) > 1:
            raise UserError(f"{path} has the column {used} twice; remove one, or set source.identity_column")
    return _Heading(delimiter, columns, columns.index(name), None if identity is None else columns.index(identity))


def _split_heading(line: str, delimiters: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter of a heading and its columns; the first that gives a column of names, else the first of all."""
    splits = []
    for delimiter in delimiters:
        parsed = _parsed(line.lstrip("#").strip(" "), delimiter) or [line]
        columns = [column.strip() for column in parsed]
        if find_column(columns, NAME_COLUMNS) is not None:
            return delimiter, columns
        splits.append((delimiter, columns))
    return splits[0]


def _no_name_column(columns: Sequence[str], path: Path) -> UserError:
    has = ", ".join(columns).replace("\0", "\\0") or "none"
    return UserError(f"{path} has the columns {has}; call that of the picture's name `path`")


def _fields(line: str, waiting: _Lines, heading: _Heading) -> list[str] | None:
    """The fields of the row that begins with a line; None where its quotes do not match.

    A text in quotes may go over several lines, in other columns than the two that are read: a missing quote must cost
    its own line and not those up to the next one.
    """
    fields = _parsed(line, heading.delimiter)
    used = 0
    while fields is None and used < _MOST_LINES and (following := waiting.peek(used)) is not None:
        line, used = f"{line}\n{following}", used + 1
        fields = _parsed(line, heading.delimiter) if '"' in following else None
    if fields is None or not used:
        return fields
    if len(fields) != len(heading.columns) or any("\n" in field for field in _read_fields(fields, heading)):
        return None
    for _ in range(used):
        next(waiting)
    return fields


def _read_fields(fields: list[str], heading: _Heading) -> list[str]:
    return [fields[heading.name], "" if heading.identity is None else fields[heading.identity]]


def _parsed(line: str, delimiter: str) -> list[str] | None:
    """The fields of a row without the blanks around them; None where its quotes do not match."""
    if '"' not in line:
        return [field.strip() for field in line.split(delimiter)]
    for text in (line, _AFTER_QUOTES.sub('"', line)):
        try:
            rows = list(csv.reader([text], delimiter=delimiter, skipinitialspace=True, strict=True))
        except csv.Error:
            continue
        return [field.strip() for field in rows[0]]
    return None


def _row(number: int, fields: list[str], heading: _Heading) -> Row | BadLine:
    expected = len(heading.columns)
    if fields == heading.columns:
        return BadLine(number, _HEADING_AGAIN)
    if any(fields[expected:]):
        return BadLine(number, MORE_FIELDS)
    identity = heading.identity
    if len(fields) < expected:
        # A name alone at the beginning is unmistakable.
        if heading.name or (identity is not None and identity < len(fields)):
            return BadLine(number, FEWER_FIELDS)
        identity = None
    name = fields[heading.name]
    return Row(number, name, None if identity is None else fields[identity]) if name else BadLine(number, NO_NAME)
