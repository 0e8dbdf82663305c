r"""Lists as plain lines: a name and perhaps an identity, or the lists from which MXNet's RecordIO files are packed.

| line | read as |
|---|---|
| `ann/1.jpg` | a name |
| `ann/1.jpg\tAnn Lee`, `ann/1.jpg, Ann Lee` | name and identity |
| `ann/1.jpg Ann Lee`, `000001.jpg 2880` | the same; the name ends like an image's, else before the last blank |
| `Ann Lee\tann/1.jpg` | identity and name; with a number in place of the identity, which may count the lines, neither |
| `17\t3.0\tann/1.jpg`, `17\t3.0\t0.5\tann/1.jpg` | MXNet's im2rec: number, labels of which the first identifies, name |
| `1\tann/1.jpg\t3` and more numbers | InsightFace: flag, name, label |

The form of MXNet or InsightFace is recognised by the first line and then holds for all.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.sources.lists.parts import COMMENT, COMMENTS, MORE_FIELDS, BadLine, Row

_OTHER_FORM = "lines_of_another_form_than_the_first"
_NUMBER_FIRST = "lines_that_begin_with_a_number"
_FORMATS = "jpe?g|jpe|jfif|png|webp|bmp|dib|gif|tiff?|pgm|ppm|pbm|pnm|hei[cf]|avif|jp2|jpx|j2k|tga"
_NAME_ALONE = re.compile(rf".+\.(?:{_FORMATS})", re.IGNORECASE)
_NAME_FIRST = re.compile(rf"(.+\.(?:{_FORMATS}))(?:\s*[,;|]\s*|\s+)(\S.*)", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]+)"[\s,;]*(.*)')
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+")

_Parse = Callable[[int, str], Row | BadLine]


def read(lines: Iterator[str], path: Path, identity_column: str | None) -> Iterator[Row | BadLine]:
    """The rows of plain lines."""
    parse: _Parse | None = None
    for number, line in enumerate(lines, 1):
        if line.startswith(COMMENT):
            yield BadLine(number, COMMENTS)
        elif line.strip():
            parse = parse or _form(line, path)
            yield parse(number, line)


def _form(line: str, path: Path) -> _Parse:
    """The form of all lines, by the first."""
    fields = _split(line, path)
    if len(fields) >= 3 and _DIGITS.fullmatch(fields[0]):
        if all(map(_NUMBER.fullmatch, fields[1:-1])) and not _NUMBER.fullmatch(fields[-1]):
            return lambda number, line: _mxnet(number, _split(line, path))
        if not _NUMBER.fullmatch(fields[1]) and all(map(_NUMBER.fullmatch, fields[2:])):
            return lambda number, line: _insightface(number, _split(line, path))
    return _plain


def _split(line: str, path: Path) -> list[str]:
    """The fields between tabs; in a .lst without tabs, as some are written by hand, between blanks or commas."""
    if "\t" in line or path.suffix.lower() != ".lst":
        return [field.strip() for field in line.rstrip().split("\t")]
    return re.split(r"[\s,]+", line.strip())


def _mxnet(number: int, fields: list[str]) -> Row | BadLine:
    is_one = len(fields) >= 3 and all(map(_NUMBER.fullmatch, fields[:-1])) and not _NUMBER.fullmatch(fields[-1])
    return Row(number, fields[-1], _label(fields[1])) if is_one else BadLine(number, _OTHER_FORM)


def _insightface(number: int, fields: list[str]) -> Row | BadLine:
    is_one = len(fields) >= 3 and all(map(_NUMBER.fullmatch, (fields[0], *fields[2:])))
    return Row(number, fields[1], _label(fields[2])) if is_one else BadLine(number, _OTHER_FORM)


def _unquoted(field: str) -> str:
    return field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field


def _label(written: str) -> int | float:
    return int(written) if _DIGITS.fullmatch(written) else float(written)


def _plain(number: int, line: str) -> Row | BadLine:
    if "\t" in line:
        name, *rest = (_unquoted(field.strip()) for field in line.rstrip().split("\t"))
        if len(rest) > 1:
            return BadLine(number, MORE_FIELDS)
        if not rest or _NAME_ALONE.fullmatch(name) or not _NAME_ALONE.fullmatch(rest[0]):
            return Row(number, name, *rest)
        return BadLine(number, _NUMBER_FIRST) if _NUMBER.fullmatch(name) else Row(number, rest[0], name)
    words = line.strip()
    if match := _QUOTED.fullmatch(words):
        return Row(number, match[1], _unquoted(match[2]))
    if _NAME_ALONE.fullmatch(words):
        return Row(number, words)
    if match := _NAME_FIRST.fullmatch(words):
        return Row(number, match[1], match[2])
    # The last word is the identity, unless it looks like the end of a file's name.
    name, _, identity = words.rpartition(" ")
    if not name or set("./\\") & set(identity):
        return Row(number, words)
    return Row(number, name.rstrip(" ,;"), identity)
