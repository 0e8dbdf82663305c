"""Images as records of MXNet RecordIO files (.rec), with or without their index (.idx); MXNet is not needed.

Framing (dmlc-core, recordio.h): every part is `magic, length word, data, padding to 4 bytes`; the upper 3 bits of the
length word mean whole (0), first (1), middle (2) or last (3) part. A payload that has the magic on a 4-byte boundary
is split there and the magic omitted, so that an aligned magic always starts a part: after damage the walk continues at
the next one. The payload of an image is `flag u32, label f32, id u64, id2 u64`, `flag` more labels, the bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipelines.sources import storage
from pipelines.sources.entry import INSIDE, Break, Container, Part, Portion, PortionCutter, RawImage, lost, take
from pipelines.sources.identities import identity_of
from pipelines.sources.locate import Found as Located
from pipelines.sources.locate import find
from pipelines.sources.recordio_ends import Found, check
from pipelines.sources.settings import SourceSettings

SUFFIXES = (".rec",)

_MAGIC = 0xCED7230A
_MAGIC_BYTES = _MAGIC.to_bytes(4, "little")
_PART = struct.Struct("<II")
_LABEL = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_SEARCHED_AT_ONCE = 1 << 20
_MAX_LABELS = 1 << 16


@dataclass(frozen=True)
class Record:
    """One record: its start, and the parts of its payload as (offset, bytes)."""

    start: int
    parts: tuple[tuple[int, int], ...]

    @property
    def num_bytes(self) -> int:
        """The size of the payload, including the omitted magics."""
        return sum(length for _, length in self.parts) + 4 * (len(self.parts) - 1)


@dataclass(frozen=True)
class Label:
    """The label of an image, from the header of its record."""

    identity: str | None
    num_bytes: int  # of the header
    is_listed: bool  # true for a list of labels, which InsightFace's records without an image have
    value: float


def containers(settings: SourceSettings) -> Iterator[Located]:
    """The .rec files that the path names."""
    return find(settings, SUFFIXES, companions=(".idx", ".lst"))


def scan(container: Container, settings: SourceSettings) -> Iterator[Part]:
    """Cut one file into portions, and compare its index, where there is one, with the records found."""
    found = Found()
    try:
        with storage.open_binary(container.path) as stream:
            if not container.num_bytes:
                yield Break(container.path, 0, 0, "the file is empty")
                return
            cutter = PortionCutter(container.path, settings)
            for record in walk(stream, 0, container.num_bytes, container.num_bytes):
                if isinstance(record, Break):
                    found.is_broken = True
                    yield Break(container.path, record.offset, record.num_bytes, record.reason)
                    continue
                label = _label(_Payload(stream, record))
                has_image = _has_image(record, label)
                found.add(record.start, sum(record.parts[-1]), has_image=has_image, label=label.value if label else 0.0)
                if not has_image:
                    continue
                if cutter.is_full:
                    yield from cutter.cut(record.start)
                cutter.add(record.num_bytes - (label.num_bytes if label else 0))
            yield from cutter.cut(container.num_bytes)
    except OSError as error:
        yield Break(container.path, 0, container.num_bytes, f"it cannot be read ({error.strerror or error})")
        return
    yield from check(container, found)


def read(portion: Portion, settings: SourceSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The images of one portion; a record is named by the offset of its start, so no index is needed."""
    size = storage.size_of(portion.container)
    with storage.open_binary(portion.container) as stream:
        for record in walk(stream, portion.start, portion.stop, size):
            if isinstance(record, Break):
                continue
            payload = _Payload(stream, record)
            label = _label(payload)
            if not _has_image(record, label):
                continue
            source = f"{portion.container}{INSIDE}{record.start}"
            if label is None:
                yield lost(source, None)
                continue
            num_bytes = record.num_bytes - label.num_bytes
            yield take(payload, num_bytes, source=source, identity=label.identity, max_bytes=max_bytes)


def walk(stream: BinaryIO, start: int, stop: int, size: int) -> Iterator[Record | Break]:
    """The records that start in [start, stop), and the stretches in which none can be recognised.

    Args:
        start: the start of a record.
        size: the size of the whole file.
    """
    position, stop = start, min(stop, size)
    before: Record | None = None  # not yielded until a valid record or the end follows
    while position < stop:
        parts, place, fault = _record(stream, position, size)
        if not fault:
            if before is not None:
                yield before
            before, position = Record(position, parts), place
            continue
        # A record that starts inside the one before means that the length of that one is wrong.
        begin = position if before is None else before.start
        following = _next_record(stream, begin + 4, position, size)
        if following == position:
            if before is not None:
                yield before
            begin, following = position, _next_record(stream, position + 4, size, size)
        yield Break("", begin, following - begin, fault)
        before, position = None, following
    if before is not None:
        yield before


def _record(stream: BinaryIO, start: int, size: int) -> tuple[tuple[tuple[int, int], ...], int, str]:
    """The parts of a record, its end, and its fault (empty if it has none)."""
    parts: list[tuple[int, int]] = []
    place = start
    while True:
        fault, kind, length = _part(stream, place, size, is_first=not parts)
        if fault:
            return (), start, fault
        parts.append((place + _PART.size, length))
        place += _PART.size + -(-length // 4) * 4
        if kind in (_WHOLE, _LAST):
            return tuple(parts), place, ""


def _part(stream: BinaryIO, place: int, size: int, *, is_first: bool) -> tuple[str, int, int]:
    """The fault at a position (empty if there is none), the kind of the part there, and its length."""
    stream.seek(place)
    head = stream.read(_PART.size)
    if len(head) < _PART.size:
        return "the file ends inside a record", 0, 0
    magic, word = _PART.unpack(head)
    kind, length = word >> 29, word & ((1 << 29) - 1)
    if magic != _MAGIC:
        return "no record starts where one should", 0, 0
    if kind not in ((_WHOLE, _FIRST) if is_first else (_MIDDLE, _LAST)):
        return f"a part of kind {kind} is out of order", 0, 0
    if place + _PART.size + length > size:
        return "the file ends inside a record", 0, 0
    return "", kind, length


def _next_record(stream: BinaryIO, position: int, stop: int, size: int) -> int:
    """The position of the next aligned magic before `stop` that starts a record; `stop` if there is none."""
    while position < stop:
        stream.seek(position)
        piece = stream.read(min(_SEARCHED_AT_ONCE, stop - position))
        place = piece.find(_MAGIC_BYTES)
        while place >= 0:
            if place % 4 == 0:
                fault, kind, _ = _part(stream, position + place, size, is_first=True)
                if not fault and kind in (_WHOLE, _FIRST):
                    return position + place
            place = piece.find(_MAGIC_BYTES, place + 1)
        # The length of a piece is a multiple of 4, so an aligned magic is never cut in two.
        position += len(piece) or stop
    return stop


class _Payload:
    """The payload of a record as one stream: its parts, and the omitted magics between them."""

    def __init__(self, stream: BinaryIO, record: Record) -> None:
        self._stream = stream
        self._parts = iter(record.parts)
        self._place, self._left = next(self._parts)
        self._ahead = b""  # the unread rest of a magic

    def read(self, num_bytes: int, /) -> bytes:
        """The next bytes; fewer only at the end."""
        pieces: list[bytes] = []
        while num_bytes:
            piece = self._piece(num_bytes)
            if not piece:
                break
            pieces.append(piece)
            num_bytes -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, most: int) -> bytes:
        """At least one of the next bytes, empty at the end."""
        if not self._ahead and not self._left:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._place, self._left = part
            self._ahead = _MAGIC_BYTES
        if self._ahead:
            piece, self._ahead = self._ahead[:most], self._ahead[most:]
            return piece
        self._stream.seek(self._place)
        piece = self._stream.read(min(most, self._left))
        self._place += len(piece)
        self._left -= len(piece)
        return piece


def _label(payload: _Payload) -> Label | None:
    """The label before the image; None if the record is too short for one."""
    head = payload.read(_LABEL.size)
    if len(head) < _LABEL.size:
        return None
    flag, label, _, _ = _LABEL.unpack(head)
    if flag > _MAX_LABELS:
        return None
    if flag:
        labels = payload.read(4 * flag)
        if len(labels) < 4 * flag:
            return None
        (label,) = struct.unpack_from("<f", labels)
    return Label(identity_of(label), _LABEL.size + 4 * flag, flag > 0, label)


def _has_image(record: Record, label: Label | None) -> bool:
    """False for InsightFace's header record and those of its identities, which are a list of labels only."""
    return label is None or not label.is_listed or label.num_bytes < record.num_bytes
