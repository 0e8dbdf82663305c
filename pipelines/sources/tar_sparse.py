"""Sparse members of a tar: files whose runs of zeros are not stored (GNU tar manual, "Storing Sparse Files").

GNU's own header and the three forms in pax headers, 0.0, 0.1 and 1.0, give the same map: offset and length of each
stored piece. The pieces lie one after the other in the archive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from pipelines.sources.tar_numbers import BLOCK, decimal, octal

# A header of 512 bytes may declare any size; no picture is larger.
_MAX_BYTES = 1 << 30
_MAX_PIECES = 1 << 12

_PAX = b"GNU.sparse."
# Offsets in GNU's header, and in the blocks that continue its map: where the map begins, its entries, the mark of a
# further block. An entry is two numbers of 12 bytes.
_IN_HEADER, _IN_EXTENSION = (386, 4, 482), (0, 21, 504)
_FULL_SIZE = slice(483, 495)

Pieces = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sparse:
    """The map of a sparse member."""

    num_bytes: int  # of the whole file
    pieces: Pieces  # offset in the file and bytes of each stored piece
    data: int  # offset of the first stored piece in the archive


class Expanded:
    """The bytes of a sparse member as one stream."""

    def __init__(self, stream: BinaryIO, sparse: Sparse) -> None:
        self._stream = stream
        self._sparse = sparse
        self._place = 0

    def read(self, num_bytes: int, /) -> bytes:
        """The next bytes; fewer only at the end."""
        start = self._place
        stop = self._place = min(start + num_bytes, self._sparse.num_bytes)
        content, stored = bytearray(stop - start), self._sparse.data
        for offset, length in self._sparse.pieces:
            first, last = max(offset, start), min(offset + length, stop)
            if first < last:
                self._stream.seek(stored + first - offset)
                piece = self._stream.read(last - first)
                if len(piece) < last - first:
                    raise OSError("the archive ends inside a sparse member")
                content[first - start : last - start] = piece
            stored += length
        return bytes(content)


def has_map(records: Sequence[tuple[bytes, bytes]]) -> bool:
    """True where the records of a pax header make the member a sparse one."""
    return any(key.startswith(_PAX) for key, _ in records)


def of_gnu(stream: BinaryIO, header: int, block: bytes) -> tuple[Sparse | None, int]:
    """The map in GNU's own header (None if it is invalid), and the offset of the stored bytes."""
    numbers = _entries(block, _IN_HEADER)
    data, mark = header + BLOCK, block[_IN_HEADER[2]]
    while mark and len(numbers) <= 2 * _MAX_PIECES:
        stream.seek(data)
        block_of_map = stream.read(BLOCK)
        if len(block_of_map) < BLOCK:
            return None, data
        numbers += _entries(block_of_map, _IN_EXTENSION)
        data, mark = data + BLOCK, block_of_map[_IN_EXTENSION[2]]
    return _valid(octal(block[_FULL_SIZE]), numbers, data), data


def of_pax(stream: BinaryIO, data: int, records: Sequence[tuple[bytes, bytes]]) -> Sparse | None:
    """The map from the records of a pax header, in 1.0 from the beginning of the member's data; None if invalid."""
    values = dict(records)
    full_size = decimal(values.get(_PAX + b"realsize", values.get(_PAX + b"size", b"")))
    if _PAX + b"major" in values:
        stream.seek(data)
        return _from_data(stream, data, full_size)
    if _PAX + b"map" in values:
        numbers = [decimal(one) for one in values[_PAX + b"map"].split(b",") if one]
    else:
        kinds = (_PAX + b"offset", _PAX + b"numbytes")
        numbers = [decimal(value) for key, value in records if key in kinds]
    return _valid(full_size, numbers, data)


def name_of(records: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """The name of a sparse member; the member's own header has a made-up one."""
    return dict(records).get(_PAX + b"name")


def _from_data(stream: BinaryIO, data: int, full_size: int | None) -> Sparse | None:
    """Parse a map of lines of decimal numbers, their count first, padded to a block."""
    content = b""
    while len(content) < 32 * 2 * _MAX_PIECES:
        block = stream.read(BLOCK)
        content += block
        lines = content.split(b"\n")[:-1]
        count = decimal(lines[0]) if lines else None
        if count is not None and len(lines) > 2 * count:
            return _valid(full_size, [decimal(line) for line in lines[1 : 1 + 2 * count]], data + len(content))
        if len(block) < BLOCK or (lines and count is None):
            break
    return None


def _entries(block: bytes, where: tuple[int, int, int]) -> list[int | None]:
    start, most, _ = where
    fields = [block[start + 12 * place : start + 12 * (place + 1)] for place in range(2 * most)]
    used = next((place for place in range(0, len(fields), 2) if not fields[place].strip(b"\0")), len(fields))
    return [octal(one) for one in fields[:used]]


def _valid(num_bytes: int | None, numbers: Sequence[int | None], data: int) -> Sparse | None:
    known = [number for number in numbers if number is not None]
    if num_bytes is None or num_bytes > _MAX_BYTES or len(known) < len(numbers) or len(known) % 2:
        return None
    pieces = tuple(zip(known[::2], known[1::2], strict=True))
    in_order = all(first + length <= following for (first, length), (following, _) in pairwise(pieces))
    if len(pieces) > _MAX_PIECES or not in_order or (pieces and sum(pieces[-1]) > num_bytes):
        return None
    return Sparse(num_bytes, pieces, data)
