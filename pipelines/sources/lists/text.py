"""The text of a list: its encoding recognised, its lines whatever ends them."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from pipelines.settings import UserError
from pipelines.sources.entry import text

_LEGACY = "cp1252"  # of Western Windows, which contains the letters of Latin-1
_LOOKED_AT = 4096
_PIECE = 1 << 20
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r"))
_MIN_TEXT = 0.95  # the least share of other bytes; compressed data has 0.89

# UTF-32 first: its mark of byte order begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a list without their ends (LF, CR LF or CR); bytes that are not UTF-8 become surrogates.

    Raises:
        OSError: the file cannot be read.
        UserError: it is no text.
    """
    encoding = _encoding(path)
    # Names are kept byte for byte, since they must open files. In UTF-16 all bytes belong to a character.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    with path.open(encoding=encoding, errors=errors) as stream:
        for line in stream:
            yield line.removesuffix("\n").removeprefix("\ufeff")  # a mark of byte order where files were joined


def decoded(field: str) -> str:
    """A field in which bytes that are not UTF-8 are surrogates, as text: these are read as Windows-1252."""
    try:
        return field.encode("utf-8", "surrogateescape").decode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON allows
        return text(field)
    except UnicodeDecodeError:
        return _in_legacy(field)


def is_utf8(path: Path) -> bool:
    """False for a list that has bytes that are no UTF-8, and no mark of another encoding.

    Raises:
        OSError, UserError: as `read_lines`.
    """
    if _encoding(path) != "utf-8-sig":
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _in_legacy(field: str) -> str:
    try:
        return field.encode("utf-8", "surrogateescape").decode(_LEGACY)
    except UnicodeDecodeError:
        return text(field)


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        opening = stream.read(_LOOKED_AT)
    for mark, encoding in _MARKS:
        if opening.startswith(mark):
            return encoding
    # The letters of a Western text, of which paths mostly consist, have a zero byte each in UTF-16.
    zeros_in = [opening[place::2].count(0) for place in (0, 1)]
    for many, few, encoding in ((1, 0, "utf-16-le"), (0, 1, "utf-16-be")):
        if zeros_in[many] > len(opening) // 4 and zeros_in[few] <= len(opening) // 100:
            return encoding
    if len(opening.translate(None, _CONTROLS)) < _MIN_TEXT * len(opening):
        raise UserError(f"{path} is no text (it has control characters); unpack it or save it as UTF-8")
    return "utf-8-sig"  # Excel writes a mark of byte order, which would become a part of the first name
