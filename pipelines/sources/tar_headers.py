"""The members of a tar from any header on, by reading headers only (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU).

The standard library's tarfile takes about ten times as long per member, which would show beside the decoding of small
pictures, and it ends at the first damaged header. Here the walk goes on at the next sound one and names the gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512

_ZEROS = bytes(BLOCK)
_REGULAR = frozenset(b"0\x007")  # plain, plain as old tars say it, contiguous
_GNU_LONG_NAME = ord("L")
_PAX = ord("x")
_SEARCHED_AT_ONCE = 1 << 20
_MAX_EXTENSION_BYTES = 1 << 20  # of a long name or a pax header; more is no name


@dataclass(frozen=True)
class Member:
    """One plain file of the archive."""

    name: bytes
    header: int  # offset of its first header, where a walk may begin
    data: int  # offset of its bytes
    num_bytes: int


@dataclass(frozen=True)
class Gap:
    """A stretch in which no member can be told."""

    offset: int
    num_bytes: int
    reason: str


@dataclass
class _Extension:
    """What the headers before a member say of it."""

    start: int | None = None
    name: bytes | None = None
    num_bytes: int | None = None


def walk(stream: BinaryIO, start: int, stop: int, size: int) -> Iterator[Member | Gap]:
    """The members whose first header lies in [start, stop).

    Args:
        start: of a header.
        size: of the whole file.
    """
    position, pending = start, _Extension()
    while position < stop or pending.start is not None:
        stream.seek(position)
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            if any(block):
                yield Gap(position, len(block), "the archive ends inside a header")
            return
        if block == _ZEROS:
            # The end mark; what follows it is padding, or another archive that was appended.
            position += BLOCK
            continue
        content = _content(block)
        if content is None:
            following = _next_header(stream, position + BLOCK, size)
            yield Gap(position, following - position, "no tar header is where one should be")
            position, pending = following, _Extension()
            continue
        num_bytes, kind = content
        if kind in (_GNU_LONG_NAME, _PAX):
            pending.start = position if pending.start is None else pending.start
            _extend(pending, stream.read(min(num_bytes, _MAX_EXTENSION_BYTES)), kind)
            position = _after(position, num_bytes)
            continue
        num_bytes = num_bytes if pending.num_bytes is None else pending.num_bytes
        header = position if pending.start is None else pending.start
        name = _name(block) if pending.name is None else pending.name
        if position + BLOCK + num_bytes > size:
            yield Gap(header, size - header, f"the archive ends inside {name.decode('utf-8', 'backslashreplace')}")
            return
        if kind in _REGULAR and not name.endswith(b"/"):
            yield Member(name, header, position + BLOCK, num_bytes)
        position, pending = _after(position, num_bytes), _Extension()


def _after(header: int, num_bytes: int) -> int:
    return header + BLOCK + -(-num_bytes // BLOCK) * BLOCK


def _content(block: bytes) -> tuple[int, int] | None:
    """Size and type that a header declares; None where its checksum, which spans them all, is wrong."""
    told = _number(block[148:156])
    # The checksum is taken with its own field as eight spaces.
    if told is None or sum(block) - sum(block[148:156]) + 8 * 32 != told:
        return None
    num_bytes = _number(block[124:136])
    return None if num_bytes is None else (num_bytes, block[156])


def _number(field: bytes) -> int | None:
    """An octal number, or GNU's binary form for what octal digits cannot hold."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b" \0").lstrip(b" ")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        return None


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # GNU's own magic, "ustar  ", keeps times where POSIX keeps the first part of a long name.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extend(pending: _Extension, content: bytes, kind: int) -> None:
    if kind == _GNU_LONG_NAME:
        pending.name = content.partition(b"\0")[0]
        return
    # pax: "LENGTH KEY=VALUE\n", where LENGTH counts the whole record
    while content[:1].isdigit():
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(content):
            return
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            pending.name = value
        elif key == b"size" and value.isdigit():
            pending.num_bytes = int(value)
        content = content[int(length) :]


def _next_header(stream: BinaryIO, position: int, size: int) -> int:
    """The next sound header; the end of the file where there is none. Headers lie on block boundaries."""
    while position < size:
        stream.seek(position)
        piece = stream.read(_SEARCHED_AT_ONCE)
        place = piece.find(b"ustar")
        while place >= 0:
            start = place - 257
            if start >= 0 and start % BLOCK == 0 and _content(piece[start : start + BLOCK]) is not None:
                return position + start
            place = piece.find(b"ustar", place + 1)
        position += len(piece) or size
    return size
