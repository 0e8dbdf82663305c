"""The identity of a picture by its name: from a list, from a pattern, or from the folder that it is in."""

import csv
import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from pipelines.settings import UserError
from pipelines.sources.entry import as_bytes, printable, text
from pipelines.sources.settings import ListSettings, NamedSettings, WebDatasetSettings

_NAME_COLUMNS = ("path", "file", "filename", "file_name", "image", "name", "source")
_IDENTITY_COLUMNS = ("identity", "label", "class", "person", "id")


@functools.lru_cache(maxsize=4)
def naming(settings: NamedSettings) -> Callable[[bytes], str | None]:
    """The function that maps a picture's name below its source to its identity; a list is read once per process.

    Raises:
        UserError: the list cannot be read.
    """
    if settings.identity_list is not None:
        column = settings.identity_column if isinstance(settings, ListSettings | WebDatasetSettings) else None
        entries = read_list(settings.identity_list, identity_column=column)
        listed = {_bare(as_bytes(name)): identity for name, identity in entries}
        return lambda name: listed.get(_bare(name))
    if settings.identity_pattern is not None:
        pattern = re.compile(settings.identity_pattern)
        return lambda name: _first_group(pattern, printable(_bare(name)))
    return _folder_of


def read_list(path: Path, *, identity_column: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Names and identities of a list: CSV or TSV with a heading, JSON lines, or plain lines of a name (and identity).

    Raises:
        UserError: the file cannot be read, or a line is invalid; the message has the line's number.
    """
    try:
        # Excel writes a byte order mark, which would become a part of the first name.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            readers = {".csv": _from_csv, ".tsv": _from_csv, ".jsonl": _from_json, ".ndjson": _from_json}
            reader = readers.get(path.suffix.lower(), _from_lines)
            for name, identity in reader(stream, path, identity_column):
                yield name, text(identity) if identity else None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a list of pictures") from None
    except csv.Error as error:
        raise UserError(f"{path} is no table ({error}); mend it, or name a list of pictures") from None


def _from_csv(lines: Iterator[str], path: Path, identity_column: str | None) -> Iterator[tuple[str, str | None]]:
    rows = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    columns = rows.fieldnames or []
    name = _column(columns, _NAME_COLUMNS, str(path))
    identity = identity_column or next((column for column in _IDENTITY_COLUMNS if column in columns), None)
    if identity is not None and identity not in columns:
        raise UserError(f"{path} has no column {identity}, only {', '.join(columns)}; set source.identity_column")
    for row in rows:
        if not row[name]:
            raise UserError(f"{path}, line {rows.line_num}: the column {name} is empty; give the picture's name")
        yield row[name], (row[identity] or None) if identity else None


def _from_json(lines: Iterator[str], path: Path, identity_column: str | None) -> Iterator[tuple[str, str | None]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name = row[_column(list(row), _NAME_COLUMNS, f"{path}, line {number},")]
            if not as_bytes(name):
                raise ValueError(name)
        except (ValueError, TypeError, RecursionError):
            raise UserError(f"{path}, line {number}: no JSON object with a picture's name; mend the line") from None
        key = identity_column or next((column for column in _IDENTITY_COLUMNS if column in row), None)
        value = row.get(key) if key else None
        yield name, None if value is None else str(value)


def _from_lines(lines: Iterator[str], path: Path, identity_column: str | None) -> Iterator[tuple[str, str | None]]:
    for line in lines:
        words = line.rstrip("\r\n")
        # A tab always separates name and identity; without one the last word is the identity, as in CelebA's
        # identity_CelebA.txt, unless it looks like the end of a file's name.
        name, parted, identity = words.partition("\t") if "\t" in words else words.rpartition(" ")
        if not parted or ("\t" not in words and set("./") & set(identity)):
            name, identity = words, ""
        if name.strip():
            yield name.strip(), identity.strip() or None


def _column(columns: Sequence[str], known: tuple[str, ...], place: str) -> str:
    for column in known:
        if column in columns:
            return column
    raise UserError(f"{place} has the columns {', '.join(columns) or 'none'}; call that of the picture's name `path`")


def _bare(name: bytes) -> bytes:
    """Remove `./`, with which archives that were made inside a folder begin every name."""
    return name.removeprefix(b"./")


def _first_group(pattern: re.Pattern[str], name: str) -> str | None:
    match = pattern.search(name)
    return match[1] if match else None


def _folder_of(name: bytes) -> str | None:
    return PurePosixPath(printable(name)).parent.name or None
