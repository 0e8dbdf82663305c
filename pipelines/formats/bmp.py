"""Decoding of BMP: every header of Windows and OS/2, 1 to 32 bits, bit fields and run-length coding.

Pillow refuses most of these variants, and takes an alpha channel of zeros, which editors leave unused, for a
transparent picture. Sources: Microsoft's documentation of BITMAPV5HEADER and of bitmap compression.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.arrays import Picture, UInt8Array
from pipelines.decode_faults import CORRUPT, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.formats.bmp_runs import decode_runs
from pipelines.formats.samples import RasterHeader, on_white
from pipelines.settings import PixelSettings

_FILE_HEADER_BYTES = 14
_CORE, _INFO, _V2, _V3, _V5 = 12, 40, 52, 56, 124  # sizes of the headers by which they are known
_WINDOWS = frozenset({_INFO, _V2, _V3, 108, _V5})
_LONGEST_OS2 = 64
_PLAIN, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_RUN_BITS = {_RLE8: 8, _RLE4: 4}
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_BYTE_LEVELS = 255


@dataclass(frozen=True)
class _Header:
    num_bytes: int  # of the header after that of the file
    width: int
    height: int
    is_top_down: bool
    bits: int
    compression: int
    num_colours: int
    masks: tuple[int, ...]  # red, green, blue, alpha

    @property
    def palette_start(self) -> int:
        num_masks = {_BITFIELDS: 3, _ALPHA_BITFIELDS: 4}.get(self.compression, 0) if self.num_bytes == _INFO else 0
        return _FILE_HEADER_BYTES + self.num_bytes + 4 * num_masks


def decode_bmp(data: bytes, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    """Decode to RGB (H, W, 3).

    Pixels that a run-length coding skips get the first colour.

    Raises:
        DecodeError: the picture is damaged, of an unsupported coding, or above a limit.
    """
    header = _read_header(data)
    check_size(header.width, header.height, settings)
    _check_coding(header)
    start = int.from_bytes(data[10:14], "little")
    if start == header.palette_start and header.bits <= 8:  # some writers leave out the palette
        start = 0
    palette = _palette(data, header, start)
    first = header.palette_start + palette.size + len(palette) * (header.num_bytes != _CORE)
    start = start or first
    if start < _FILE_HEADER_BYTES + header.num_bytes:
        raise DecodeError(CORRUPT, f"the pixels start inside the header, at byte {start}")
    rows = _rows(data, start, header)
    rgb, mode = _paletted(rows, palette, header) if header.bits <= 8 else _coloured(rows, header)
    return (rgb if header.is_top_down else rgb[::-1]), RasterHeader(mode)


def _read_header(data: bytes) -> _Header:
    num_bytes = int.from_bytes(data[14:18], "little")
    if num_bytes < _CORE:
        raise DecodeError(TRUNCATED if len(data) < 18 else CORRUPT, f"a header of {num_bytes} bytes")
    if num_bytes > _LONGEST_OS2 and num_bytes not in _WINDOWS:
        raise DecodeError(UNSUPPORTED_CODING, f"a header of {num_bytes} bytes")
    if len(data) < _FILE_HEADER_BYTES + num_bytes:
        raise DecodeError(TRUNCATED, "ends inside the header")
    # OS/2 allows headers that end early; what is missing is zero. The masks may follow a header of 40 bytes.
    content = data[14 : max(14 + num_bytes, 14 + _V3 if num_bytes == _INFO else 0)].ljust(_V5, b"\0")
    if num_bytes == _CORE:
        width, height, _, bits = struct.unpack_from("<4H", content, 4)
        return _Header(num_bytes, width, height, False, bits, _PLAIN, 0, _DEFAULT_MASKS.get(bits, ()))
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 4)
    (num_colours,) = struct.unpack_from("<I", content, 32)
    masks = _DEFAULT_MASKS.get(bits, ())
    if compression in {_BITFIELDS, _ALPHA_BITFIELDS}:
        stored = struct.unpack_from("<4I", content, 40)
        has_alpha = num_bytes >= _V3 or compression == _ALPHA_BITFIELDS
        masks = (*stored[:3], stored[3] if has_alpha else 0)
    return _Header(num_bytes, width, abs(height), height < 0, bits, compression, num_colours, masks)


def _check_coding(header: _Header) -> None:
    allowed: Mapping[int, set[int]] = {
        _PLAIN: {1, 2, 4, 8, 16, 24, 32},
        _RLE8: {8},
        _RLE4: {4},
        _BITFIELDS: {16, 32},
        _ALPHA_BITFIELDS: {16, 32},
    }
    is_known = header.bits in allowed.get(header.compression, set())
    # In OS/2's headers the values above 2 stand for other codings.
    if not is_known or (header.compression > _RLE4 and header.num_bytes not in _WINDOWS):
        raise DecodeError(UNSUPPORTED_CODING, f"compression {header.compression} of {header.bits} bits")
    if header.is_top_down and header.compression in _RUN_BITS:
        raise DecodeError(UNSUPPORTED_CODING, "a run-length coding from the top down")


def _palette(data: bytes, header: _Header, start: int) -> UInt8Array:
    """The palette (N, 3), RGB; empty for pixels of colour."""
    if header.bits > 8:
        return np.zeros((0, 3), np.uint8)
    entry_bytes = 3 if header.num_bytes == _CORE else 4
    num_entries = min(header.num_colours or 1 << header.bits, 1 << header.bits)
    room = max(0, (start or len(data)) - header.palette_start)
    content = data[header.palette_start : header.palette_start + min(room, num_entries * entry_bytes)]
    entries = np.frombuffer(content[: len(content) // entry_bytes * entry_bytes], np.uint8).reshape(-1, entry_bytes)
    return entries[:, 2::-1]


def _rows(data: bytes, start: int, header: _Header) -> UInt8Array:
    """The rows as stored: the indices of the colours (H, W), or the bytes of pixels (H, W, bits / 8)."""
    if header.compression in _RUN_BITS:
        return decode_runs(data[start:], header.width, header.height, _RUN_BITS[header.compression])
    width, height, bits = header.width, header.height, header.bits
    row_bytes = (width * bits + 7) // 8
    stride = (row_bytes + 3) // 4 * 4
    if start + stride * (height - 1) + row_bytes > len(data):  # the last row may lack its padding
        raise DecodeError(TRUNCATED, f"has {max(0, len(data) - start)} of {stride * height} bytes of pixels")
    content = data[start : start + stride * height].ljust(stride * height, b"\0")
    rows = np.frombuffer(content, np.uint8).reshape(height, stride)[:, :row_bytes]
    if bits >= 8:
        return rows if bits == 8 else rows.reshape(height, width, bits // 8)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    indices: UInt8Array = (rows[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    return indices.reshape(height, -1)[:, :width]


def _paletted(indices: UInt8Array, palette: UInt8Array, header: _Header) -> tuple[Picture, str]:
    if len(palette) <= int(indices.max()):
        raise DecodeError(CORRUPT, f"the colour {int(indices.max())} of a palette of {len(palette)}")
    levels = np.array([0, 255]) if len(palette) == 2 else np.arange(len(palette))
    is_grey = bool((palette == levels[:, None]).all())
    mode = ("1" if len(palette) <= 2 else "L") if is_grey and header.bits in {1, 8} else "P"
    return palette[indices], mode


def _coloured(rows: UInt8Array, header: _Header) -> tuple[Picture, str]:
    if header.bits == 24:
        return np.ascontiguousarray(rows[:, :, ::-1]), "RGB"
    pixels = np.ascontiguousarray(rows).view(f"<u{header.bits // 8}")[:, :, 0]
    masks = header.masks if any(header.masks) else _DEFAULT_MASKS[header.bits]
    if sum(masks) >= 1 << header.bits or any(masks[a] & masks[b] for a in range(4) for b in range(a)):
        raise DecodeError(CORRUPT, f"the bit fields {[f'{mask:x}' for mask in masks]} overlap, or are too wide")
    rgb = np.stack([_channel(pixels, mask) for mask in masks[:3]], axis=2)
    if masks[3] == 0:
        return rgb, "RGB"
    alpha = _channel(pixels, masks[3])
    return (on_white(rgb, alpha) if alpha.any() else rgb), "RGBA"


def _channel(pixels: NDArray[Any], mask: int) -> UInt8Array:
    """The levels of one bit field, scaled to 0..255; zero where the field has no bits."""
    if mask == 0:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    max_level = mask >> shift
    if max_level & (max_level + 1):
        raise DecodeError(UNSUPPORTED_CODING, f"the bit field {mask:x} has gaps")
    levels = (pixels & pixels.dtype.type(mask)) >> pixels.dtype.type(shift)
    if max_level != _BYTE_LEVELS:
        levels = levels.astype(np.uint64) * _BYTE_LEVELS // max_level
    scaled: UInt8Array = levels.astype(np.uint8, copy=False)
    return scaled
