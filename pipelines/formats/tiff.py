"""Decoding of TIFF and BigTIFF: the layout is checked first, so that no variant gives wrong pixels silently.

Read are 1 to 16 bits unsigned; grey, palettes, RGB, CMYK, YCbCr and Lab; strips and tiles, chunky and planar; plain,
Deflate, LZW, PackBits, LZMA, Zstandard, JPEG, and fax. Everything else is refused by name, raw camera files too.
"""

import numpy as np
import simplejpeg
from PIL import Image

from pipelines.arrays import Picture, UInt8Array
from pipelines.decode_faults import CORRUPT, TRUNCATED, UNSUPPORTED_CODING, UNSUPPORTED_FORMAT, DecodeError
from pipelines.formats import jpeg
from pipelines.formats.exif import UPRIGHT
from pipelines.formats.samples import RasterHeader, grey_to_rgb, on_white, to_eight_bits
from pipelines.formats.tiff_directory import Directory, read_directories, sub_directories
from pipelines.formats.tiff_layout import (
    CMYK,
    COMPRESSION,
    JPEG,
    JPEG_TABLES,
    LAB,
    OLD_JPEG,
    OLD_JPEG_BYTES,
    OLD_JPEG_START,
    ORIENTATION,
    PALETTE,
    PHOTOMETRIC,
    REFERENCE_BLACK_WHITE,
    RGB,
    STRIP_BYTES,
    STRIP_OFFSETS,
    WHITE_IS_ZERO,
    YCBCR,
    YCBCR_COEFFICIENTS,
    Layout,
    colour_map,
    read_layout,
)
from pipelines.formats.tiff_samples import pieces, read_samples
from pipelines.settings import PixelSettings

_NEW_SUBFILE, _OLD_SUBFILE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 255, 330, 50_706
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_REDUCED_OLD = 2
_CANON_RAW = b"CR\x02"  # at byte 8
_RAW_PHOTOMETRIC = frozenset({32_803, 34_892})  # colour filter array, linear raw (TIFF/EP, DNG)
_RAW_COMPRESSIONS = frozenset({32_767, 32_769, 32_770, 32_867, 34_713, 34_892, 65_000, 65_535})  # of cameras' makers

_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # and a byte: 0 for RGB, 1 for YCbCr
_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the default
_FULL_RANGE = (0, 255, 128, 255, 128, 255)


def decode_tiff(data: bytes, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    """Decode the first picture that is no reduced one to RGB (H, W, 3), as stored.

    Raises:
        DecodeError: the picture is damaged, of an unsupported coding, a raw camera file, or above a limit.
    """
    directories = read_directories(data)
    _refuse_raw(data, directories)
    directory = next((one for one in directories if not _is_reduced(one)), directories[0])
    layout = read_layout(directory, settings)
    orientation = directory.get(ORIENTATION, UPRIGHT)
    header = RasterHeader(_mode(layout), orientation if 1 <= orientation <= 8 else UPRIGHT)
    if layout.compression in {OLD_JPEG, JPEG}:
        return _decode_jpegs(directory, layout, settings), header
    return _to_rgb(read_samples(directory, layout), directory, layout), header


def _refuse_raw(data: bytes, directories: list[Directory]) -> None:
    """A raw camera file has a thumbnail as its first picture, and the sensor's values in a directory below it."""
    first = directories[0]
    below = [sub for one in directories for sub in sub_directories(one, _SUB_DIRECTORIES)]
    is_raw = (
        data.startswith(_CANON_RAW, 8)
        or _DNG_VERSION in first
        or (_is_reduced(first) and bool(below))
        or any(
            one.get(PHOTOMETRIC, 0) in _RAW_PHOTOMETRIC or one.get(COMPRESSION, 0) in _RAW_COMPRESSIONS
            for one in (*directories, *below)
        )
    )
    if is_raw:
        raise DecodeError(UNSUPPORTED_FORMAT, "is a raw camera file, of which only a preview could be read")


def _is_reduced(directory: Directory) -> bool:
    return bool(directory.get(_NEW_SUBFILE, 0) & _REDUCED_OR_MASK) or directory.get(_OLD_SUBFILE, 0) == _REDUCED_OLD


def _mode(layout: Layout) -> str:
    """Pillow's name of the stored pixels."""
    if layout.photometric in {RGB, PALETTE}:
        return ("P" if layout.photometric == PALETTE else "RGB") + "A" * (layout.alpha is not None)
    if layout.photometric == YCBCR and layout.compression in {OLD_JPEG, JPEG}:
        return "RGB"
    if layout.photometric in {CMYK, LAB, YCBCR}:
        return {CMYK: "CMYK", LAB: "LAB", YCBCR: "YCbCr"}[layout.photometric]
    if layout.alpha is not None:
        return "LA"
    return "1" if layout.bits == 1 else "L" if layout.bits <= 8 else "I;16"


def _to_rgb(samples: np.ndarray, directory: Directory, layout: Layout) -> Picture:
    colours, photometric = samples[:, :, : layout.num_colours], layout.photometric
    rgb: UInt8Array
    if photometric == PALETTE:
        rgb = colour_map(directory, layout.bits)[colours[:, :, 0]]
    else:
        rgb = to_eight_bits(colours, (1 << layout.bits) - 1)
    if photometric == WHITE_IS_ZERO:
        rgb = 255 - rgb
    elif photometric == YCBCR:
        rgb = _from_ycbcr(rgb, directory)
    elif photometric in {CMYK, LAB}:
        rgb = _by_pillow(rgb, photometric)
    if layout.alpha is not None:
        alpha = to_eight_bits(samples[:, :, layout.alpha], (1 << layout.bits) - 1)
        rgb = on_white(rgb, alpha, is_premultiplied=layout.is_premultiplied)
    return rgb if rgb.shape[2] == 3 else grey_to_rgb(rgb[:, :, 0])


def _by_pillow(samples: UInt8Array, photometric: int) -> Picture:
    height, width, _ = samples.shape
    mode = "LAB" if photometric == LAB else "CMYK"
    return np.asarray(Image.frombytes(mode, (width, height), samples.tobytes()).convert("RGB"))


def _from_ycbcr(samples: UInt8Array, directory: Directory) -> Picture:
    """TIFF 6.0, section 21: codes to full range by their references, then to RGB by the coefficients of luma."""
    black_white = np.array(directory.values(REFERENCE_BLACK_WHITE).tolist() or _FULL_RANGE, np.float32)
    luma = directory.values(YCBCR_COEFFICIENTS).tolist() or _LUMA
    if len(black_white) != 6 or len(luma) != 3 or 0 in luma or (black_white[::2] == black_white[1::2]).any():
        raise DecodeError(CORRUPT, f"impossible coefficients of YCbCr: {luma}, {black_white.tolist()}")
    black, white = black_white[::2], black_white[1::2]
    y, cb, cr = np.moveaxis((samples - black) * (np.array([255, 127, 127], np.float32) / (white - black)), 2, 0)
    red, green, blue = luma
    r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
    g = (y - red * r - blue * b) / green
    rounded: Picture = np.clip(np.rint(np.stack([r, g, b], axis=2)), 0, 255).astype(np.uint8)
    return rounded


def _decode_jpegs(directory: Directory, layout: Layout, settings: PixelSettings) -> Picture:
    """Strips or tiles of JPEG (TIFF Technical Note 2), each decoded as strictly as a file of its own."""
    if layout.is_planar or layout.photometric in {PALETTE, LAB} or layout.num_samples != layout.num_colours:
        raise DecodeError(UNSUPPORTED_CODING, f"TIFF with JPEG of photometric interpretation {layout.photometric}")
    if layout.compression == OLD_JPEG:
        return _decode_piece(_old_jpeg(directory), layout, layout.width, layout.height, settings)
    tables = directory.values(JPEG_TABLES).astype(np.uint8).tobytes()
    if tables and not (tables.startswith(_START) and tables.endswith(_END)):
        raise DecodeError(CORRUPT, "the tables of JPEG have no start or end")
    canvas = np.empty((layout.height, layout.width, 3), np.uint8)
    for index, piece in enumerate(pieces(directory, layout)):
        if not piece.startswith(_START):
            raise DecodeError(CORRUPT, f"the strip or tile {index} is no JPEG")
        whole = _START + tables[2:-2] + piece[2:]
        rgb = _decode_piece(whole, layout, layout.piece_width, layout.num_rows(index), settings)
        down, across = divmod(index, layout.num_across)
        top, left = down * layout.piece_height, across * layout.piece_width
        target = canvas[top : top + layout.piece_height, left : left + layout.piece_width]
        target[:] = rgb[: target.shape[0], : target.shape[1]]
    return canvas


def _decode_piece(data: bytes, layout: Layout, width: int, height: int, settings: PixelSettings) -> Picture:
    """Decode one JPEG of at least the given size; the TIFF, not the JPEG, states the colours."""
    if layout.num_colours > 1:
        data = _START + _ADOBE + bytes([layout.photometric == YCBCR]) + data[2:]
    rgb, header = jpeg.decode_jpeg(data, settings)
    is_as_said = header.mode == {1: "L", 3: "RGB", 4: "CMYK"}[layout.num_colours]
    if not is_as_said or header.width < width or header.height < height:
        raise DecodeError(CORRUPT, f"a strip or tile of {header.width} x {header.height} pixels of {header.mode}")
    if layout.photometric == CMYK:
        # Decoded a second time, since in files of JPEG the inks are inverted, and in TIFF they are not.
        rgb = _by_pillow(simplejpeg.decode_jpeg(data, colorspace="CMYK"), CMYK)
    return (255 - rgb if layout.photometric == WHITE_IS_ZERO else rgb)[:height, :width]


def _old_jpeg(directory: Directory) -> bytes:
    """The whole JPEG of TIFF 6.0, section 22, where there is one and not its tables apart."""
    start = directory.get(OLD_JPEG_START, 0) or directory.get(STRIP_OFFSETS, 0)
    length = directory.get(OLD_JPEG_BYTES, 0) or directory.get(STRIP_BYTES, 0)
    if start + length > len(directory.data):
        raise DecodeError(TRUNCATED, "the JPEG lies beyond the end of the file")
    data = directory.data[start : start + length]
    if not data.startswith(_START) or _SCAN not in data:
        raise DecodeError(UNSUPPORTED_CODING, "TIFF with an old-style JPEG in pieces")
    return data
