"""The samples of a TIFF: its strips and tiles decompressed, unpacked and put together.

Only the compressions come from libraries: zlib verifies the checksum of each piece of Deflate, and libtiff, through
Pillow, undoes LZW, PackBits, LZMA, Zstandard and the codings of fax. For that the pieces become a picture whose pixels
are bytes, so that libtiff has no part in their meaning.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from pipelines.arrays import UInt8Array
from pipelines.decode_faults import CORRUPT, TRUNCATED, DecodeError
from pipelines.formats.tiff_directory import Directory
from pipelines.formats.tiff_layout import DEFLATE, FAX, GROUP3_OPTIONS, GROUP4_OPTIONS, NONE, Layout, piece_ranges

Samples = NDArray[np.uint16] | UInt8Array

_AT_ONCE_BYTES = 32 << 20  # of decompressed pieces that libtiff gets in one call
_REVERSED_BITS = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]


def read_samples(directory: Directory, layout: Layout) -> Samples:
    """All samples (H, W, S), of 8 bits where these hold them.

    Raises:
        DecodeError: a strip or tile is missing, damaged or too short.
    """
    dtype = np.uint8 if layout.bits <= 8 else np.uint16
    canvas = np.empty((layout.height, layout.width, layout.num_samples), dtype)
    for index, rows in enumerate(_decompressed(directory, layout)):
        plane, place = divmod(index, layout.num_across * layout.num_down)
        down, across = divmod(place, layout.num_across)
        piece = _unpacked(rows, layout, directory.order)
        top, left = down * layout.piece_height, across * layout.piece_width
        channels = slice(plane, plane + 1) if layout.is_planar else slice(None)
        target = canvas[top : top + layout.piece_height, left : left + layout.piece_width, channels]
        target[:] = piece[: target.shape[0], : target.shape[1]]
    return canvas


def pieces(directory: Directory, layout: Layout) -> Iterator[bytes]:
    """The bytes of each strip or tile as stored."""
    for start, length in piece_ranges(directory, layout):
        piece = directory.data[start : start + length]
        yield _REVERSED_BITS[np.frombuffer(piece, np.uint8)].tobytes() if layout.is_bit_reversed else piece


def _decompressed(directory: Directory, layout: Layout) -> Iterator[UInt8Array]:
    """Each strip or tile as rows of bytes (rows, row_bytes)."""
    if layout.compression not in {NONE} | DEFLATE:
        yield from _by_libtiff(directory, layout)
        return
    for index, piece in enumerate(pieces(directory, layout)):
        num_rows = layout.num_stored_rows(index)
        num_bytes = num_rows * layout.row_bytes
        content = piece if layout.compression == NONE else _inflated(piece, num_bytes)
        yield np.frombuffer(content, np.uint8, num_bytes).reshape(num_rows, layout.row_bytes)


def _inflated(piece: bytes, num_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(piece, num_bytes)
        # Writers fill the last strip up; what is beyond is only read for the checksum.
        rest, room = inflater.unconsumed_tail, num_bytes + (1 << 16)
        while not inflater.eof and rest and room > 0:
            room -= len(inflater.decompress(rest, 1 << 16))
            rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise DecodeError(CORRUPT, f"a strip or tile is damaged: {error}") from None
    if len(content) < num_bytes or (not inflater.eof and room > 0):
        raise DecodeError(TRUNCATED, f"a strip or tile ends after {len(content)} of {num_bytes} bytes")
    return content


def _by_libtiff(directory: Directory, layout: Layout) -> Iterator[UInt8Array]:
    """Groups of pieces of the same height in one call each, since a call for every strip of one row takes long."""
    group: list[bytes] = []
    num_pieces = layout.num_across * layout.num_down
    at_once = max(1, _AT_ONCE_BYTES // (layout.piece_height * layout.row_bytes))
    for index, piece in enumerate(pieces(directory, layout)):
        group.append(piece)
        place = index % num_pieces + 1
        if len(group) == at_once or place == num_pieces:
            first = index - len(group) + 1
            heights = [layout.num_stored_rows(first + place) for place in range(len(group))]
            yield from _libtiff_group(directory, layout, group, heights)
            group = []


def _libtiff_group(
    directory: Directory, layout: Layout, group: Sequence[bytes], heights: Sequence[int]
) -> Iterator[UInt8Array]:
    is_fax = layout.compression in FAX
    options = {tag: directory.get(tag, 0) for tag in (GROUP3_OPTIONS, GROUP4_OPTIONS) if is_fax and tag in directory}
    width, bits = (layout.piece_width, 1) if is_fax else (layout.row_bytes, 8)
    file = _file_of_bytes(group, width, sum(heights), heights[0], layout.compression, bits, options)
    try:
        with TiffImageFile(io.BytesIO(file)) as picture:
            rows = np.asarray(picture)
    except OSError as error:
        raise DecodeError(CORRUPT, f"a strip or tile is damaged: {error}") from None
    rows = np.packbits(rows, axis=1) if is_fax else rows
    top = 0
    for height in heights:
        yield rows[top : top + height]
        top += height


def _file_of_bytes(
    group: Sequence[bytes],
    width: int,
    height: int,
    piece_height: int,
    compression: int,
    bits: int,
    extra: dict[int, int],
) -> bytes:
    """A grey TIFF of the pieces, which is decompressed and nothing else."""
    lengths = [len(piece) for piece in group]
    start = 8
    offsets = [start + sum(lengths[:0])]
    for length in lengths[:-1]:
        offsets.append(offsets[-1] + length)
    lists = start + sum(lengths)
    count = len(group)
    fields = {256: width, 257: height, 258: bits, 259: compression, 262: 1, 277: 1, 278: piece_height, **extra}
    fields[273] = offsets[0] if count == 1 else lists
    fields[279] = lengths[0] if count == 1 else lists + 4 * count
    directory = struct.pack("<H", len(fields))
    for tag in sorted(fields):
        directory += struct.pack("<HHII", tag, 4, count if tag in {273, 279} else 1, fields[tag])
    tables = np.array(offsets + lengths, "<u4").tobytes()
    position = lists + len(tables)
    return b"".join([b"II*\0", struct.pack("<I", position), *group, tables, directory, bytes(4)])


def _unpacked(rows: UInt8Array, layout: Layout, order: str) -> Samples:
    """The samples (rows, piece_width, S) of the bytes of rows; 16 bits are in the order of the file, others packed."""
    if layout.subsampling != (1, 1):
        return _upsampled(rows, *layout.subsampling)
    shape = (len(rows), layout.piece_width, layout.num_piece_samples)
    num_samples = shape[1] * shape[2]
    if layout.bits == 8:
        samples: Samples = rows.reshape(shape)
    elif layout.bits == 16:
        samples = np.ascontiguousarray(rows).view(f"{order}u2").astype(np.uint16).reshape(shape)
    elif layout.bits in {1, 2, 4}:
        shifts = np.arange(8 - layout.bits, -1, -layout.bits, dtype=np.uint8)
        parts = (rows[:, :, None] >> shifts) & np.uint8((1 << layout.bits) - 1)
        samples = parts.reshape(len(rows), -1)[:, :num_samples].reshape(shape)
    else:
        digits = np.unpackbits(rows, axis=1)[:, : num_samples * layout.bits].reshape(*shape, layout.bits)
        samples = np.zeros(shape, np.uint16)
        for place in range(layout.bits):
            samples = (samples << np.uint16(1)) | digits[..., place]
        samples = samples.astype(np.uint8) if layout.bits < 8 else samples
    # Differences to the sample on the left (TIFF 6.0, section 14), modulo the range.
    return samples.cumsum(axis=1, dtype=samples.dtype) if layout.is_predicted else samples


def _upsampled(rows: UInt8Array, across: int, down: int) -> UInt8Array:
    """YCbCr (rows * down, width, 3) of rows of blocks: across * down values of Y, one of Cb, one of Cr."""
    blocks = rows.reshape(len(rows), -1, across * down + 2)
    y = blocks[:, :, :-2].reshape(len(rows), -1, down, across).swapaxes(1, 2).reshape(len(rows) * down, -1)
    chroma = blocks[:, :, -2:].repeat(down, axis=0).repeat(across, axis=1)
    return np.concatenate([y[:, :, None], chroma], axis=2)
