"""The members of a tar from any header on, by reading headers only (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU).

The standard library's tarfile takes about ten times as long per member, which matters for small pictures, and it stops
at the first damaged header. Here the walk continues at the next valid header and reports the gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512

_ZEROS = bytes(BLOCK)
_OLD_PLAIN = 0  # before POSIX; also a folder, if the name ends in a slash
_REGULAR = frozenset([_OLD_PLAIN, *b"07"])  # plain, contiguous
_WITHOUT_DATA = frozenset(b"123456")  # links, devices, folders, pipes, whatever size they declare
_GNU_LONG_NAME = ord("L")
_PAX = ord("x")
_SEARCHED_AT_ONCE = 1 << 20
_MAX_EXTENSION_BYTES = 1 << 20  # of a long name or a pax header
_MAX_DIGITS = 20  # of a size in a pax header


@dataclass(frozen=True)
class Member:
    """One plain file of the archive."""

    name: bytes
    header: int  # offset of its first header, at which a walk can begin
    data: int  # offset of its bytes
    num_bytes: int


@dataclass(frozen=True)
class Gap:
    """A stretch in which no member can be recognised."""

    offset: int
    num_bytes: int
    reason: str


@dataclass
class _Extension:
    """The properties of a member from the extension headers before it."""

    start: int | None = None
    name: bytes | None = None
    num_bytes: int | None = None


def walk(stream: BinaryIO, start: int, stop: int, size: int) -> Iterator[Member | Gap]:
    """The members whose first header lies in [start, stop).

    Args:
        start: the offset of a header.
        size: the size of the whole file.
    """
    position, pending, zeros = start, _Extension(), 0
    while position < stop or pending.start is not None:
        stream.seek(position)
        block = stream.read(BLOCK)
        if pending.start is None and block == _ZEROS[: len(block)]:
            if len(block) < BLOCK:
                return
            # The end mark; after it comes padding, or another archive that was appended.
            position, zeros = position + BLOCK, zeros + 1
            continue
        content = header_content(block)
        if content is None:
            # An end mark has two blocks of zeros; a single one was a damaged header.
            begin = position - BLOCK * (zeros == 1) if pending.start is None else pending.start
            following = _next_header(stream, position + BLOCK, size)
            is_cut = len(block) < BLOCK
            reason = "the archive ends inside a header" if is_cut else "no tar header is where one should be"
            yield Gap(begin, following - begin, reason)
            position, pending, zeros = following, _Extension(), 0
            continue
        num_bytes, kind = content
        zeros = 0
        if kind in (_GNU_LONG_NAME, _PAX):
            pending.start = position if pending.start is None else pending.start
            _extend(pending, stream.read(min(num_bytes, _MAX_EXTENSION_BYTES)), kind)
            position = _after(position, num_bytes)
            continue
        num_bytes = num_bytes if pending.num_bytes is None else pending.num_bytes
        header = position if pending.start is None else pending.start
        name = _name(block) if pending.name is None else pending.name
        if kind in _WITHOUT_DATA or (kind == _OLD_PLAIN and name.endswith(b"/")):
            position, pending = position + BLOCK, _Extension()
            continue
        if position + BLOCK + num_bytes > size:
            yield Gap(header, size - header, f"the archive ends inside {name.decode('utf-8', 'backslashreplace')}")
            return
        if kind in _REGULAR:
            yield Member(name, header, position + BLOCK, num_bytes)
        position, pending = _after(position, num_bytes), _Extension()


def _after(header: int, num_bytes: int) -> int:
    return header + BLOCK + -(-num_bytes // BLOCK) * BLOCK


def header_content(block: bytes) -> tuple[int, int] | None:
    """Size and type of the member of a header; None if the checksum of the header is wrong."""
    if len(block) < BLOCK:
        return None
    checksum = _number(block[148:156])
    # The checksum is computed with its own field as eight spaces.
    if checksum is None or sum(block) - sum(block[148:156]) + 8 * 32 != checksum:
        return None
    num_bytes = _number(block[124:136])
    return None if num_bytes is None else (num_bytes, block[156])


def _number(field: bytes) -> int | None:
    """Parse an octal number, or GNU's binary form for larger ones; None if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ")
    # int would accept a sign, and a walk with negative sizes would not end.
    if digits.strip(b"01234567"):
        return None
    return int(digits, 8) if digits else 0


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # With GNU's own magic, "ustar  ", these bytes are times; in POSIX they are the first part of a long name.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extend(pending: _Extension, content: bytes, kind: int) -> None:
    if kind == _GNU_LONG_NAME:
        pending.name = content.partition(b"\0")[0]
        return
    # pax: "LENGTH KEY=VALUE\n", where LENGTH counts the whole record
    while content[:1].isdigit():
        digits, _, _ = content.partition(b" ")
        length = _decimal(digits)
        if not length or length > len(content):
            return
        key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if key == b"path":
            pending.name = value
        elif key == b"size":
            pending.num_bytes = _decimal(value)
        content = content[length:]


def _decimal(digits: bytes) -> int | None:
    return int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else None


def _next_header(stream: BinaryIO, position: int, size: int) -> int:
    """The offset of the next valid header; the end of the file if there is none. Headers are aligned to blocks."""
    while position < size:
        stream.seek(position)
        piece = stream.read(_SEARCHED_AT_ONCE)
        place = piece.find(b"ustar")
        while place >= 0:
            start = place - 257
            if start >= 0 and start % BLOCK == 0 and header_content(piece[start : start + BLOCK]) is not None:
                return position + start
            place = piece.find(b"ustar", place + 1)
        position += len(piece) or size
    return size
