"""Lists of pictures: a name, and perhaps an identity, in each line of a table, of JSON lines, or of plain text.

A line that does not parse cleanly gives no picture: it is passed over, by its number. Nothing is guessed from it.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.settings import UserError
from pipelines.sources.entry import PassedOver, as_bytes
from pipelines.sources.identities import identity_of
from pipelines.sources.lists import json_lines, plain_lines, tables
from pipelines.sources.lists.parts import BadLine, Row
from pipelines.sources.lists.text import decoded, read_lines

# A function of the lines, the list's path, and the column of the identity.
Form = Callable[[Iterator[str], Path, str | None], Iterator[Row | BadLine]]

_BY_SUFFIX: dict[str, Form] = {
    ".csv": tables.read,
    ".tsv": tables.read,
    ".jsonl": json_lines.read,
    ".ndjson": json_lines.read,
    ".json": json_lines.read,
}
_MOST_TEXT = 100_000  # characters of a line that can be one


class Entry(NamedTuple):
    """A picture of a list: its name as written, with surrogates for bytes that are not UTF-8, and its identity."""

    name: str
    identity: str | None


def read_list(path: Path, *, identity_column: str | None = None) -> Iterator[Entry | PassedOver]:
    """The pictures of a list, and the lines that name none.

    Raises:
        UserError: the file cannot be read, has no column of names, or not one line names a picture.
    """
    first_bad: BadLine | None = None
    num_entries = 0
    try:
        for row in _rows(path, identity_column):
            if isinstance(row, BadLine):
                first_bad = first_bad or row
                yield PassedOver(f"{path}, line {row.number}", "", row.reason)
                continue
            value = decoded(row.identity) if isinstance(row.identity, str) else row.identity
            num_entries += 1
            yield Entry(row.name, identity_of(value))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a list of pictures") from None
    if first_bad is not None and not num_entries:
        reason = first_bad.reason.replace("_", " ")
        raise UserError(f"{path}: not one line names a picture (line {first_bad.number} and on: {reason}); mend it")


def _rows(path: Path, identity_column: str | None) -> Iterator[Row | BadLine]:
    lines = read_lines(path)
    opening = list(itertools.islice(lines, 100))
    form = _BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        form = tables.read if tables.has_heading(opening, identity_column) else plain_lines.read
    for row in form(itertools.chain(opening, lines), path, identity_column):
        yield row if isinstance(row, BadLine) else _checked(row)


def _checked(row: Row) -> Row | BadLine:
    """The row, if its name can be that of a file."""
    try:
        name = as_bytes(row.name)
    except UnicodeEncodeError:
        return BadLine(row.number, "lines_whose_name_is_no_text")
    if b"\0" in name:
        return BadLine(row.number, "lines_with_a_zero_byte")
    if not name.strip():
        return BadLine(row.number, "lines_without_a_name")
    return BadLine(row.number, "lines_whose_name_is_too_long") if len(name) > _MOST_TEXT else row
