"""The check of a PNG before its decoding: chunks, their checksums, and the completeness of the compressed pixels.

Pillow skips the checksums of the pixel data, takes a stream that ends early for a picture whose last rows are black,
and ignores chunks that it does not know. Sections are those of the PNG specification, third edition.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from isal import igzip_lib, isal_zlib

from pipelines.decode_faults import CORRUPT, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.settings import PixelSettings

_SIGNATURE_BYTES = 8
_IHDR = struct.Struct(">IIBBBBB")
# Section 11.2.1: the colour types, how many samples a pixel has in each, and their depths.
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, _PALETTE: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# Section 8: first column and row, and their steps, of each pass of Adam7.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_AT_ONCE_BYTES = 1 << 20


@dataclass(frozen=True)
class PngHeader:
    """The facts of the chunks that Pillow does not use as the specification asks."""

    bits: int  # per sample
    colour: int  # colour type
    num_palette: int  # entries
    transparency: bytes  # the content of tRNS; empty where there is none


def check_png(data: bytes, settings: PixelSettings) -> PngHeader:
    """Verify all that precedes IEND.

    Raises:
        DecodeError: a checksum or the sequence of chunks is wrong, the file or its compressed stream ends early or is
            damaged, or a chunk is critical and unknown, as in Apple's variant of PNG.
    """
    header: tuple[int, ...] = ()
    found: dict[bytes, memoryview] = {}
    pieces: list[memoryview] = []
    previous = b""
    for kind, content in _chunks(data):
        if (previous == b"") != (kind == b"IHDR") and kind in _CRITICAL:
            raise DecodeError(CORRUPT, "IHDR is not the first chunk, or not the only one")
        if kind == b"IDAT":
            if pieces and previous != b"IDAT":
                raise DecodeError(CORRUPT, "the chunks of pixels are not consecutive")
            pieces.append(content)
        elif kind == b"IHDR":
            header = _header(content, settings)
        elif kind[0] < ord("a") and kind not in _CRITICAL:
            raise DecodeError(UNSUPPORTED_CODING, f"has the critical chunk {kind!r}")
        elif kind in (b"PLTE", b"tRNS") and not pieces:
            found[kind] = content
        previous = kind
    width, height, bits, colour, _, _, interlace = header
    palette = found.get(b"PLTE", b"")
    if colour == _PALETTE and (not palette or len(palette) % 3):
        raise DecodeError(CORRUPT, f"has a palette of {len(palette)} bytes")
    _check_stream(pieces, _num_stream_bytes(width, height, bits * _SAMPLES[colour], interlace))
    return PngHeader(bits, colour, len(palette) // 3, bytes(found.get(b"tRNS", b"")))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks up to IEND, with right checksums."""
    view = memoryview(data)
    position = _SIGNATURE_BYTES
    kind = b""
    while kind != b"IEND":
        content = position + 8
        if content + 4 > len(data):
            raise DecodeError(TRUNCATED, "ends before the IEND chunk")
        end = content + int.from_bytes(view[position : position + 4], "big")
        if end + 4 > len(data):
            raise DecodeError(TRUNCATED, f"ends inside the chunk at byte {position}")
        if isal_zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise DecodeError(CORRUPT, f"wrong checksum of the chunk at byte {position}")
        kind = data[position + 4 : content]
        if not kind.isalpha():
            raise DecodeError(CORRUPT, f"a chunk of the type {kind!r} at byte {position}")
        yield kind, view[content:end]
        position = end + 4


def _header(content: memoryview, settings: PixelSettings) -> tuple[int, ...]:
    if len(content) != _IHDR.size:
        raise DecodeError(CORRUPT, f"IHDR of {len(content)} bytes")
    header = _IHDR.unpack(content)
    width, height, bits, colour, compression, filtering, interlace = header
    check_size(width, height, settings)
    if bits not in _DEPTHS.get(colour, set()) or compression or filtering or interlace > 1:
        raise DecodeError(CORRUPT, f"colour type {colour} of {bits} bits, methods {compression, filtering, interlace}")
    return header


def _num_stream_bytes(width: int, height: int, pixel_bits: int, interlace: int) -> int:
    """The length of the decompressed stream: a filter byte before each row of each pass."""
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    total = 0
    for column, row, column_step, row_step in passes:
        num_columns, num_rows = -(-(width - column) // column_step), -(-(height - row) // row_step)
        if num_columns > 0 and num_rows > 0:
            total += num_rows * (1 + (num_columns * pixel_bits + 7) // 8)
    return total


def _check_stream(pieces: list[memoryview], num_expected: int) -> None:
    """Inflate the pixels without keeping them: the stream must be sound to its checksum, and long enough."""
    inflater = isal_zlib.decompressobj()
    num_bytes = 0
    try:
        for piece in pieces:
            waiting: bytes | memoryview = piece
            while not inflater.eof:
                produced = len(inflater.decompress(waiting, _AT_ONCE_BYTES))
                num_bytes += produced
                waiting = inflater.unconsumed_tail
                if not waiting and produced < _AT_ONCE_BYTES:
                    break
                if num_bytes > 2 * num_expected + _AT_ONCE_BYTES:  # a bomb; the picture is complete already
                    return
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub leaves out the base class
        raise DecodeError(CORRUPT, f"the compressed pixels are damaged: {error}") from None
    if num_bytes < num_expected:
        raise DecodeError(TRUNCATED, f"the compressed pixels end after {num_bytes} of {num_expected} bytes")
    if not inflater.eof:
        raise DecodeError(TRUNCATED, "the compressed pixels end before their checksum")
