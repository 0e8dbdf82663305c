"""The members of a tar from any header on, by reading headers only (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU).

The standard library's tarfile takes about ten times as long per member, which matters for small pictures, and it stops
at the first damaged header. Here the walk continues at the next valid header and reports the gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from pipelines.sources import tar_sparse
from pipelines.sources.tar_numbers import BLOCK, after, decimal, octal
from pipelines.sources.tar_sparse import Sparse

_ZEROS = bytes(BLOCK)
_OLD_PLAIN = 0  # before POSIX; also a folder, if the name ends in a slash
_REGULAR = frozenset([_OLD_PLAIN, *b"07"])  # plain, contiguous
_HARD_LINK, _SYMBOLIC_LINK, _FOLDER, _GNU_FOLDER = b"125D"
_DEVICES = frozenset(b"346")  # two kinds of devices, pipes
_WITHOUT_DATA = frozenset(b"123456")  # whatever size they declare
_GNU_SPARSE = ord("S")
_DESCRIPTIONS = frozenset(b"gV")  # of the whole archive: a global pax header, the name of the volume
# Headers that describe the member that follows.
_GNU_LONG_NAME, _GNU_LONG_TARGET = b"LK"
_EXTENSIONS = frozenset(b"LKxX")  # the last two: pax headers of POSIX and Solaris
_SEARCHED_AT_ONCE = 1 << 20
_MAX_EXTENSION_BYTES = 1 << 20  # of a long name or a pax header
# Writers fill the last record of 10,240 bytes, or the block of a tape, with zeros.
_MOST_PADDING = 1 << 20


@dataclass(frozen=True)
class Member:
    """One plain file of the archive."""

    name: bytes
    header: int  # offset of its first header, at which a walk can begin
    data: int  # offset of its bytes
    num_bytes: int
    sparse: Sparse | None = None  # of one that is stored without its runs of zeros
    origin: int = -1  # for a link: the first header of the member that has its bytes


@dataclass(frozen=True)
class Link:
    """A hard or symbolic link: a name for another file, without bytes of its own."""

    name: bytes
    header: int
    target: bytes  # for a hard link the name of a member, else relative to the link's own folder
    is_hard: bool


@dataclass(frozen=True)
class Folder:
    """A folder of the archive."""

    name: bytes


@dataclass(frozen=True)
class Other:
    """A member that is not taken in, and why."""

    name: bytes
    reason: str  # as in entry.PassedOver


@dataclass(frozen=True)
class Gap:
    """A stretch in which no member can be recognised."""

    offset: int
    num_bytes: int
    reason: str


Entry = Member | Link | Folder | Other | Gap


@dataclass
class _Extension:
    """The properties of a member from the extension headers before it."""

    start: int | None = None
    name: bytes | None = None
    target: bytes | None = None
    num_bytes: int | None = None
    records: list[tuple[bytes, bytes]] = field(default_factory=list)  # of pax headers


def walk(stream: BinaryIO, start: int, stop: int, size: int) -> Iterator[Entry]:
    """The members whose first header lies in [start, stop), and what is wrong between them and at the end.

    Args:
        start: the offset of a header.
        size: the size of the whole file.
    """
    position, pending, zeros, found = start, _Extension(), 0, 0
    while position < stop or pending.start is not None:
        stream.seek(position)
        block = stream.read(BLOCK)
        if pending.start is None and block == _ZEROS[: len(block)]:
            if len(block) < BLOCK:
                break
            # The end mark; after it comes padding, or another archive that was appended.
            position, zeros = position + BLOCK, zeros + 1
            continue
        content = header_content(block)
        if content is None:
            gap = _gap(stream, block, position, pending, zeros, size)
            yield gap
            position, pending, zeros = gap.offset + gap.num_bytes, _Extension(), 0
            if position >= size:
                return
            continue
        num_bytes, kind = content
        yield from _blank(position, zeros)
        zeros = 0
        if kind in _EXTENSIONS:
            _extend(pending, stream, position, num_bytes, kind)
            position = after(position, num_bytes)
            continue
        entry, end = _entry(stream, block, position, kind, num_bytes, pending)
        if end > size:
            header = position if pending.start is None else pending.start
            yield Gap(header, size - header, f"the archive ends inside {_shown(_name(block, pending))}")
            return
        if entry is not None:
            yield entry
        # Descriptions and folders are no members that could be missed.
        found += isinstance(entry, Member | Link | Other)
        position, pending = after(position, end - position - BLOCK), _Extension()
    yield from _blank(position, zeros)
    if stop >= size and not zeros:
        reason = f"the archive has no end-of-archive blocks; it may be incomplete (members found: {found:,})"
        yield Gap(size, 0, reason)


def _entry(
    stream: BinaryIO, block: bytes, position: int, kind: int, num_bytes: int, pending: _Extension
) -> tuple[Entry | None, int]:
    """The member of a header, None for a description of the archive, and the end of the member's data."""
    num_bytes = num_bytes if pending.num_bytes is None else pending.num_bytes
    header = position if pending.start is None else pending.start
    name, data = _name(block, pending), position + BLOCK
    if kind in _REGULAR and not pending.records and not name.endswith(b"/"):
        return Member(name, header, data, num_bytes), data + num_bytes
    if kind in (_HARD_LINK, _SYMBOLIC_LINK):
        target = _text(block[157:257]) if pending.target is None else pending.target
        return Link(name, header, target, is_hard=kind == _HARD_LINK), data
    if kind == _FOLDER or (kind == _OLD_PLAIN and name.endswith(b"/")):
        return Folder(name), data
    if kind in _DEVICES:
        return Other(name, "devices_pipes_and_sockets"), data
    if kind in _DESCRIPTIONS:
        return None, data + num_bytes
    if kind == _GNU_FOLDER:
        return Folder(name), data + num_bytes
    if kind == _GNU_SPARSE:
        sparse, data = tar_sparse.of_gnu(stream, position, block)
        return _sparse_member(name, header, sparse, data + num_bytes), data + num_bytes
    if kind in _REGULAR and tar_sparse.has_map(pending.records):
        sparse = tar_sparse.of_pax(stream, data, pending.records)
        name = tar_sparse.name_of(pending.records) or name
        return _sparse_member(name, header, sparse, data + num_bytes), data + num_bytes
    if kind in _REGULAR:
        return Member(name, header, data, num_bytes), data + num_bytes
    return Other(name, "members_of_an_unknown_type"), data + num_bytes


def _sparse_member(name: bytes, header: int, sparse: Sparse | None, end: int) -> Member | Other:
    if sparse is None or sparse.data + sum(length for _, length in sparse.pieces) > end:
        return Other(name, "sparse_members_without_a_valid_map")
    return Member(name, header, sparse.data, sparse.num_bytes, sparse)


def _gap(stream: BinaryIO, block: bytes, position: int, pending: _Extension, zeros: int, size: int) -> Gap:
    """The stretch from a block that is no header, or from what belongs to it before, to the next header."""
    # An end mark has two blocks of zeros; a single one was a damaged header.
    begin = position - BLOCK * (zeros == 1) if pending.start is None else pending.start
    following = _next_header(stream, position + BLOCK, size)
    is_cut = len(block) < BLOCK
    reason = "the archive ends inside a header" if is_cut else "no tar header is where one should be"
    return Gap(begin, following - begin, reason)


def _blank(position: int, zeros: int) -> Iterator[Gap]:
    """The stretch of blocks of zeros before a position, where it is too long to be padding."""
    if zeros * BLOCK > _MOST_PADDING:
        yield Gap(position - zeros * BLOCK, zeros * BLOCK, "only zeros are where members may have been")


def header_content(block: bytes) -> tuple[int, int] | None:
    """Size and type of the member of a header; None if the checksum of the header is wrong."""
    if len(block) < BLOCK:
        return None
    checksum = octal(block[148:156])
    # The checksum is computed with its own field as eight spaces.
    if checksum is None or sum(block) - sum(block[148:156]) + 8 * 32 != checksum:
        return None
    num_bytes = octal(block[124:136])
    return None if num_bytes is None else (num_bytes, block[156])


def _name(block: bytes, pending: _Extension) -> bytes:
    if pending.name is not None:
        return pending.name
    # With GNU's own magic, "ustar  ", these bytes are times; in POSIX they are the first part of a long name.
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + _text(block[:100]) if prefix else _text(block[:100])


def _text(content: bytes) -> bytes:
    return content.partition(b"\0")[0]


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _extend(pending: _Extension, stream: BinaryIO, position: int, num_bytes: int, kind: int) -> None:
    """Take over a header that describes the next member."""
    pending.start = position if pending.start is None else pending.start
    content = stream.read(min(num_bytes, _MAX_EXTENSION_BYTES))
    if kind == _GNU_LONG_NAME:
        pending.name = _text(content)
    elif kind == _GNU_LONG_TARGET:
        pending.target = _text(content)
    else:
        _take_records(pending, content)


def _take_records(pending: _Extension, content: bytes) -> None:
    """Parse the records of a pax header, "LENGTH KEY=VALUE\\n", where LENGTH counts the whole record."""
    while content[:1].isdigit():
        digits, _, _ = content.partition(b" ")
        length = decimal(digits)
        if not length or length > len(content):
            return
        key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
        pending.records.append((key, value))
        if key == b"path":
            pending.name = value
        elif key == b"linkpath":
            pending.target = value
        elif key == b"size":
            pending.num_bytes = decimal(value)
        content = content[length:]


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
