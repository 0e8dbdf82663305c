"""The directories of a TIFF (TIFF 6.0, section 2) and of a BigTIFF, parsed within the bounds of the file."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.decode_faults import CORRUPT, TRUNCATED, DecodeError

# More directories, entries or values are never needed, and would only cost time.
_MAX_DIRECTORIES = 64
_MAX_ENTRIES = 4_096

# Type -> letter of numpy and size in bytes. Rationals are pairs of LONG; texts count as bytes.
_TYPES = {
    1: "u1",
    2: "u1",
    3: "u2",
    4: "u4",
    5: "u4",
    6: "i1",
    7: "u1",
    8: "i2",
    9: "i4",
    10: "i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_RATIONALS = frozenset({5, 10})


@dataclass(frozen=True)
class _Form:
    """The lengths of the fields, which differ between TIFF and BigTIFF."""

    order: str  # of struct and numpy: < or >
    count: str  # letter of struct of the number of entries
    offset: str  # letter of struct of offsets and counts of values
    entry_bytes: int
    first: int  # position of the first directory's offset

    @property
    def offset_bytes(self) -> int:
        return struct.calcsize(self.offset)


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    position: int  # of the values, or of their offset


@dataclass(frozen=True)
class Directory:
    """One directory: the description of one picture of the file."""

    data: bytes
    form: _Form
    entries: Mapping[int, _Entry]

    @property
    def order(self) -> str:
        """The byte order of the file: < or >."""
        return self.form.order

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def get(self, tag: int, default: int) -> int:
        """The first value of a tag as an integer."""
        values = self.values(tag)
        return int(values[0]) if len(values) else default

    def values(self, tag: int) -> np.ndarray:
        """All values of a tag, none where it is absent; rationals as floats.

        Raises:
            DecodeError: they lie outside the file, or their type is unknown.
        """
        entry = self.entries.get(tag)
        if entry is None:
            return np.zeros(0, np.int64)
        letter = _TYPES.get(entry.kind)
        if letter is None:
            raise DecodeError(CORRUPT, f"the tag {tag} has the unknown type {entry.kind}")
        dtype = np.dtype(self.form.order + letter)
        num_items = entry.count * (2 if entry.kind in _RATIONALS else 1)
        position = entry.position
        if num_items * dtype.itemsize > self.form.offset_bytes:
            (position,) = struct.unpack_from(self.form.order + self.form.offset, self.data, position)
        if position + num_items * dtype.itemsize > len(self.data):
            raise DecodeError(TRUNCATED, f"the values of the tag {tag} lie beyond the end of the file")
        items = np.frombuffer(self.data, dtype, num_items, position)
        if entry.kind not in _RATIONALS:
            return items
        pairs = items.reshape(-1, 2).astype(np.float64)
        return pairs[:, 0] / np.where(pairs[:, 1] == 0, 1, pairs[:, 1])


def read_directories(data: bytes) -> list[Directory]:
    """The chain of directories from the header on, at least one.

    Raises:
        DecodeError: the first one is missing or damaged; damaged ones after it end the chain.
    """
    form = _form(data)
    (offset,) = struct.unpack_from(form.order + form.offset, data, form.first)
    directory, offset = read_directory(data, form, offset)
    found, seen = [directory], {offset}
    while offset and len(found) < _MAX_DIRECTORIES:
        try:
            directory, offset = read_directory(data, form, offset)
        except DecodeError:  # the first picture is what is read
            break
        found.append(directory)
        if offset in seen:
            break
        seen.add(offset)
    return found


def read_directory(data: bytes, form: _Form, offset: int) -> tuple[Directory, int]:
    """The directory at an offset, and the offset of the next one, 0 for none.

    Raises:
        DecodeError: it lies outside the file, or has too many entries.
    """
    count_bytes = struct.calcsize(form.count)
    if offset < form.first or offset + count_bytes > len(data):
        raise DecodeError(TRUNCATED, f"the directory at byte {offset} lies beyond the end of the file")
    (num_entries,) = struct.unpack_from(form.order + form.count, data, offset)
    end = offset + count_bytes + num_entries * form.entry_bytes
    if not 0 < num_entries <= _MAX_ENTRIES:
        raise DecodeError(CORRUPT, f"a directory of {num_entries} entries")
    if end > len(data):
        raise DecodeError(TRUNCATED, f"ends inside the directory at byte {offset}")
    entries: dict[int, _Entry] = {}
    for position in range(offset + count_bytes, end, form.entry_bytes):
        tag, kind, count = struct.unpack_from(f"{form.order}HH{form.offset}", data, position)
        entries.setdefault(tag, _Entry(kind, count, position + 4 + form.offset_bytes))
    following = data[end : end + form.offset_bytes]
    order = "little" if form.order == "<" else "big"
    return Directory(data, form, entries), int.from_bytes(following, order)  # type: ignore[arg-type]


def sub_directories(directory: Directory, tag: int) -> list[Directory]:
    """The directories at the offsets that a tag states; damaged ones are left out."""
    found = []
    try:
        offsets = directory.values(tag)[:_MAX_DIRECTORIES]
    except DecodeError:
        return []
    for offset in offsets:
        try:
            found.append(read_directory(directory.data, directory.form, int(offset))[0])
        except DecodeError:
            continue
    return found


def _form(data: bytes) -> _Form:
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    if len(data) < 16:
        raise DecodeError(TRUNCATED, "ends inside the header")
    if data[2:4] in {b"+\0", b"\0+"}:
        return _Form(order, count="Q", offset="Q", entry_bytes=20, first=8)
    return _Form(order, count="H", offset="I", entry_bytes=12, first=4)
