"""The layout of the picture of a TIFF: one of those that are read, or a refusal that names the field (TIFF 6.0)."""

from dataclasses import dataclass

import numpy as np

from pipelines.arrays import UInt8Array
from pipelines.decode_faults import CORRUPT, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.formats.tiff_directory import Directory
from pipelines.settings import PixelSettings

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 273, 274, 277, 278, 279, 284
GROUP3_OPTIONS, GROUP4_OPTIONS, PREDICTOR, COLOUR_MAP = 292, 293, 317, 320
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, INK_SET, DOT_RANGE = 322, 323, 324, 325, 332, 336
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, OLD_JPEG_START, OLD_JPEG_BYTES = 338, 339, 347, 513, 514
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, REFERENCE_BLACK_WHITE = 529, 530, 532

# Compressions. Libtiff undoes those of the last two sets.
NONE, OLD_JPEG, JPEG, DEFLATE = 1, 6, 7, frozenset({8, 32_946})
FAX = frozenset({2, 3, 4})
BYTE_CODERS = frozenset({5, 32_773, 34_925, 50_000})  # LZW, PackBits, LZMA, Zstandard

# Photometric interpretations, and how many samples each needs.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
_COLOUR_SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
_EIGHT_BITS_ONLY = frozenset({YCBCR, LAB})

ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of extra samples that are an alpha channel
_UNSIGNED, _UNDEFINED = 1, 4  # sample formats
_MAX_SAMPLES, _MAX_BITS = 16, 16
_PREDICTED_BITS = frozenset({8, 16})


@dataclass(frozen=True)
class Layout:
    """A picture's layout; every field has a value that is read."""

    width: int
    height: int
    bits: int  # per sample, 1..16
    num_samples: int  # per pixel, the extra ones included
    num_colours: int  # the first of them
    alpha: int | None  # the sample that is the opacity
    is_premultiplied: bool
    compression: int
    photometric: int
    is_planar: bool
    is_tiled: bool
    piece_width: int  # of a strip or tile, in pixels
    piece_height: int
    is_bit_reversed: bool
    is_predicted: bool
    subsampling: tuple[int, int] = (1, 1)  # of YCbCr: pixels that share their colour, across and down

    @property
    def num_piece_samples(self) -> int:
        """The samples of a pixel inside one strip or tile."""
        return 1 if self.is_planar else self.num_samples

    @property
    def row_bytes(self) -> int:
        """The bytes of a row of one strip or tile; of YCbCr a row of blocks that share their colour."""
        across, down = self.subsampling
        if self.subsampling != (1, 1):
            return -(-self.piece_width // across) * (across * down + 2)
        return (self.piece_width * self.num_piece_samples * self.bits + 7) // 8

    def num_rows(self, index: int) -> int:
        """The rows of pixels of a strip or tile; only the last strip has fewer than the others."""
        if self.is_tiled:
            return self.piece_height
        return min(self.piece_height, self.height - index % self.num_down * self.piece_height)

    def num_stored_rows(self, index: int) -> int:
        """The rows of `row_bytes` of a strip or tile."""
        return -(-self.num_rows(index) // self.subsampling[1])

    @property
    def num_across(self) -> int:
        """The number of strips or tiles side by side."""
        return -(-self.width // self.piece_width)

    @property
    def num_down(self) -> int:
        """The number of strips or tiles above one another."""
        return -(-self.height // self.piece_height)


def read_layout(directory: Directory, settings: PixelSettings) -> Layout:
    """Read the layout, and check it against the limits.

    Raises:
        DecodeError: a field is missing, contradicts another, or has a value that is not read.
    """
    width, height = _needed(directory, WIDTH), _needed(directory, LENGTH)
    check_size(width, height, settings)
    compression = directory.get(COMPRESSION, NONE)
    if compression not in {NONE, OLD_JPEG, JPEG} | DEFLATE | FAX | BYTE_CODERS:
        raise _unread("compression", compression)
    num_samples = directory.get(SAMPLES, 3 if compression == OLD_JPEG else 1)
    photometric = directory.get(PHOTOMETRIC, _default_photometric(compression, num_samples))
    if photometric not in _COLOUR_SAMPLES:
        raise _unread("photometric interpretation", photometric)
    num_colours = _COLOUR_SAMPLES[photometric]
    if num_samples > _MAX_SAMPLES:
        raise _unread("samples per pixel", num_samples)
    if num_samples < num_colours:
        raise DecodeError(CORRUPT, f"has {num_samples} of {num_colours} samples per pixel")
    bits = _bits(directory, photometric, compression)
    _check_ranges(directory, photometric, bits)
    alpha, is_premultiplied = _alpha(directory, photometric, num_samples - num_colours)
    is_tiled = TILE_WIDTH in directory
    piece_width = directory.get(TILE_WIDTH, 0) if is_tiled else width
    piece_height = directory.get(TILE_LENGTH, 0) if is_tiled else min(directory.get(ROWS_PER_STRIP, height), height)
    check_size(piece_width, piece_height, settings)
    return Layout(
        width=width,
        height=height,
        bits=bits,
        num_samples=num_samples,
        num_colours=num_colours,
        alpha=alpha,
        is_premultiplied=is_premultiplied,
        compression=compression,
        photometric=photometric,
        is_planar=_one_of(directory, PLANAR, "planar configuration", {1, 2}) == 2 and num_samples > 1,
        is_tiled=is_tiled,
        piece_width=piece_width,
        piece_height=piece_height,
        is_bit_reversed=_one_of(directory, FILL_ORDER, "fill order", {1, 2}) == 2,
        is_predicted=_is_predicted(directory, compression, bits),
        subsampling=_subsampling(directory, photometric, compression),
    )


def colour_map(directory: Directory, bits: int) -> UInt8Array:
    """The palette (2^bits, 3) in 8 bits; a map of which no value is above 255 was written in 8 bits by mistake."""
    values = directory.values(COLOUR_MAP)
    num_colours = 1 << bits
    if len(values) < 3 * num_colours:
        raise DecodeError(CORRUPT, f"a colour map of {len(values)} values for {bits} bits")
    map16 = values[: 3 * num_colours].reshape(3, num_colours).T
    return np.ascontiguousarray(map16 if map16.max() <= 255 else map16 >> 8).astype(np.uint8)


def _needed(directory: Directory, tag: int) -> int:
    if tag not in directory:
        raise DecodeError(CORRUPT, f"the tag {tag} is missing")
    return directory.get(tag, 0)


def _unread(field: str, value: object) -> DecodeError:
    return DecodeError(UNSUPPORTED_CODING, f"TIFF with {field} {value}")


def _one_of(directory: Directory, tag: int, field: str, allowed: set[int]) -> int:
    value = directory.get(tag, 1)
    if value not in allowed:
        raise _unread(field, value)
    return value


def _default_photometric(compression: int, num_samples: int) -> int:
    """The photometric interpretation where the tag is missing, as libtiff takes it."""
    return RGB if num_samples >= 3 else WHITE_IS_ZERO if compression in FAX else BLACK_IS_ZERO


def _bits(directory: Directory, photometric: int, compression: int) -> int:
    stored = directory.values(BITS)
    kinds = set(map(int, stored)) or {1}
    if len(kinds) > 1:
        raise _unread("bits per sample", stored.tolist())
    (bits,) = kinds
    allowed = set(range(1, _MAX_BITS + 1))
    if compression in FAX:
        allowed = {1}
    elif photometric in _EIGHT_BITS_ONLY or compression in {OLD_JPEG, JPEG}:
        allowed = {8}
    if bits not in allowed:
        raise _unread("bits per sample", bits)
    formats = set(map(int, directory.values(SAMPLE_FORMAT))) or {_UNSIGNED}
    if formats - {_UNSIGNED, _UNDEFINED}:
        raise _unread("sample format", sorted(formats))
    return bits


def _check_ranges(directory: Directory, photometric: int, bits: int) -> None:
    """Refuse inks that are not cyan, magenta, yellow and black, and those that do not use all levels."""
    if photometric != CMYK:
        return
    if directory.get(INK_SET, 1) != 1:
        raise _unread("ink set", directory.get(INK_SET, 1))
    ranges = directory.values(DOT_RANGE).tolist()
    if ranges and ranges != [0, (1 << bits) - 1] * (len(ranges) // 2):
        raise _unread("dot range", ranges)


def _alpha(directory: Directory, photometric: int, num_extra: int) -> tuple[int | None, bool]:
    """The sample that is the opacity, and whether the colours are multiplied by it."""
    kinds = directory.values(EXTRA_SAMPLES).tolist()
    if not kinds and num_extra:
        # Writers that leave out the tag mean an opacity, of which only RGB is common.
        kinds = [UNASSOCIATED] if photometric == RGB and num_extra == 1 else []
    for place, kind in enumerate(kinds[:num_extra]):
        if kind in {ASSOCIATED, UNASSOCIATED}:
            if photometric not in {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE}:
                raise _unread("an opacity of photometric interpretation", photometric)
            return _COLOUR_SAMPLES[photometric] + place, kind == ASSOCIATED
    return None, False


def _is_predicted(directory: Directory, compression: int, bits: int) -> bool:
    if compression in {NONE, OLD_JPEG, JPEG, 32_773} | FAX:  # libtiff ignores the tag there
        return False
    predictor = _one_of(directory, PREDICTOR, "predictor", {1, 2})
    if predictor == 2 and bits not in _PREDICTED_BITS:
        raise _unread("a predictor of bits", bits)
    return predictor == 2


def _subsampling(directory: Directory, photometric: int, compression: int) -> tuple[int, int]:
    if photometric != YCBCR or compression in {OLD_JPEG, JPEG}:  # a JPEG states its own
        return 1, 1
    across, down = directory.values(YCBCR_SUBSAMPLING).tolist() or (2, 2)
    if (across, down) != (1, 1) and (
        not {across, down} <= {1, 2, 4}
        or directory.get(PLANAR, 1) != 1
        or directory.get(SAMPLES, 1) != 3
        or directory.get(PREDICTOR, 1) != 1
    ):
        raise _unread("subsampling of YCbCr", (across, down))
    return across, down


def piece_ranges(directory: Directory, layout: Layout) -> list[tuple[int, int]]:
    """Start and length of the bytes of each strip or tile, plane by plane, row by row.

    Raises:
        DecodeError: some are missing, or lie beyond the end of the file.
    """
    offset_tag, bytes_tag = (TILE_OFFSETS, TILE_BYTES) if layout.is_tiled else (STRIP_OFFSETS, STRIP_BYTES)
    offsets = directory.values(offset_tag if offset_tag in directory else STRIP_OFFSETS).tolist()
    lengths = directory.values(bytes_tag if bytes_tag in directory else STRIP_BYTES).tolist()
    num_planes = layout.num_samples if layout.is_planar else 1
    num_needed = layout.num_across * layout.num_down * num_planes
    if len(offsets) < num_needed:
        raise DecodeError(CORRUPT, f"has {len(offsets)} of {num_needed} strips or tiles")
    ranges = []
    for index, start in enumerate(offsets[:num_needed]):
        plain = layout.num_stored_rows(index) * layout.row_bytes
        length = lengths[index] if index < len(lengths) else 0
        if layout.compression == NONE and (length == 0 or length >= plain):
            length = plain
        elif length == 0 and num_needed == 1:
            length = len(directory.data) - start
        if length <= 0 or start <= 0 or (layout.compression == NONE and length < plain):
            raise DecodeError(CORRUPT, f"the strip or tile {index} has {length} bytes at {start}")
        if start + length > len(directory.data):
            raise DecodeError(TRUNCATED, f"the strip or tile {index} lies beyond the end of the file")
        ranges.append((start, length))
    return ranges
