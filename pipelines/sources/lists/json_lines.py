"""Lists as JSON lines: an object in each line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.settings import UserError
from pipelines.sources.headings import IDENTITY_COLUMNS, NAME_COLUMNS, find_column
from pipelines.sources.lists.parts import NO_NAME, BadLine, Row

_NO_OBJECT = "lines_that_are_no_JSON_object"
_TWICE = "lines_with_a_key_twice"


class _KeyTwiceError(ValueError):
    """An object that has a key twice, with two values."""


def read(lines: Iterator[str], path: Path, identity_column: str | None) -> Iterator[Row | BadLine]:
    """The objects of a list of JSON lines.

    Raises:
        UserError: the file is a JSON array.
    """
    wanted = (identity_column,) if identity_column else IDENTITY_COLUMNS
    filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    for place, (number, line) in enumerate(filled):
        if place == 0 and line.lstrip().startswith("["):
            raise UserError(f"{path} is a JSON array; write its objects without brackets and commas, one in each line")
        yield _row(number, line, wanted)


def _row(number: int, line: str, wanted: tuple[str, ...]) -> Row | BadLine:
    try:
        row = json.loads(line, object_pairs_hook=_without_twins)
    except _KeyTwiceError:
        return BadLine(number, _TWICE)
    except (ValueError, RecursionError):
        return BadLine(number, _NO_OBJECT)
    if not isinstance(row, dict):
        return BadLine(number, _NO_OBJECT)
    keys = list(row)
    name_key, key = find_column(keys, NAME_COLUMNS), find_column(keys, wanted)
    name = None if name_key is None else row[name_key]
    if not isinstance(name, str) or not name:
        return BadLine(number, NO_NAME)
    return Row(number, name, None if key is None else row[key])


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in pairs:
        if key in row and row[key] != value:
            raise _KeyTwiceError(key)
        row[key] = value
    return row
