"""Decoding of all formats except JPEG: PNG, GIF, WebP, PNM, JPEG 2000, AVIF and HEIF through Pillow, BMP and TIFF here.

Animations give their first frame, transparency is composed on white, 16 bits are scaled to 8. HEIF needs the optional
pillow-heif.
"""

import io
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from pipelines.arrays import Picture
from pipelines.decode_faults import CORRUPT, TOO_MANY_PIXELS, TRUNCATED, UNSUPPORTED_CODING, DecodeError, check_size
from pipelines.formats.bmp import decode_bmp
from pipelines.formats.completeness import check_item_sizes, check_pnm
from pipelines.formats.exif import ORIENTATION_TAG, UPRIGHT, stored_orientation
from pipelines.formats.jpeg2000 import check_jpeg2000
from pipelines.formats.png import PngHeader, check_png
from pipelines.formats.samples import RasterHeader, grey_to_rgb, on_white, to_eight_bits
from pipelines.formats.signatures import AVIF, BMP, HEIF, JPEG2000, PNG, PPM, TIFF
from pipelines.formats.tiff import decode_tiff
from pipelines.settings import PixelSettings

_MAX_SIXTEEN = 65_535
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_PLAIN = frozenset({"L", "1", "CMYK", "YCbCr", "LAB", "P"})
_TRANSPARENT = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_EXIF_PREFIX = b"Exif\0\0"

Decoder = Callable[[bytes, PixelSettings], tuple[Picture, RasterHeader]]


def decode_raster(data: bytes, picture_format: str, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    """Decode to RGB (H, W, 3), the first frame.

    Args:
        picture_format: Pillow's name of the one format that may read the bytes.

    Raises:
        DecodeError: the picture is damaged, of an unsupported coding, or above a limit.
    """
    # Errors are raised; warnings would flood the logs. `catch_warnings` is not safe among threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        if picture_format in _DECODERS:
            return _DECODERS[picture_format](data, settings)
        return _decode_with_pillow(data, picture_format, settings)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly any class on a damaged file
        if picture_format in {AVIF, HEIF}:  # refused by the library's own limit, before Pillow states a size
            check_item_sizes(data, settings)
        raise _named(error) from None


def _decode_with_pillow(data: bytes, picture_format: str, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    with Image.open(io.BytesIO(data), formats=(picture_format,)) as picture:
        check_size(*picture.size, settings)
        mode = picture.mode
        # Opening a HEIF clears the tag, since libheif turns the pixels by a property of the container.
        turned = picture.info.get("original_orientation")
        # Nothing may load the pixels before: `getexif` does, and a second load returns half a picture without an error.
        picture.load()
        orientation = turned or _orientation(picture)
        return _to_rgb(picture), RasterHeader(mode, orientation, is_turned=turned is not None)


def _decode_pnm(data: bytes, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    check_pnm(data)
    return _decode_with_pillow(data, PPM, settings)


def _decode_jpeg2000(data: bytes, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    header = check_jpeg2000(data, settings)
    if header.is_wide:
        mode = {1: "I;16", 3: "RGB", 4: "RGBA"}[header.num_components]
        return _by_opencv(data, header.num_components, (1 << header.bits) - 1), RasterHeader(mode)
    return _decode_with_pillow(data, JPEG2000, settings)


def _decode_png(data: bytes, settings: PixelSettings) -> tuple[Picture, RasterHeader]:
    header = check_png(data, settings)
    with Image.open(io.BytesIO(data), formats=(PNG,)) as picture:
        picture.load()
        stored = RasterHeader(picture.mode, _orientation(picture))
        return _png_to_rgb(picture, header, data), stored


def _png_to_rgb(picture: Image.Image, header: PngHeader, data: bytes) -> Picture:
    """Apply what Pillow leaves out: the transparent colour of 2, 4 and 16 bits (section 11.3.1.1), bad indices."""
    if header.num_palette and picture.mode == "P":
        highest = int(np.asarray(picture).max())
        if highest >= header.num_palette:
            raise DecodeError(CORRUPT, f"the colour {highest} of a palette of {header.num_palette}")
    key = header.transparency
    if header.colour == 0 and len(key) == 2:
        level = int.from_bytes(key, "big") & ((1 << header.bits) - 1)
        if header.bits == 16:
            levels = np.asarray(picture)
            return _from_sixteen_bits(np.where(levels == level, _MAX_SIXTEEN, levels))
        picture.info["transparency"] = level * 255 // ((1 << header.bits) - 1)
    if header.colour == 2 and header.bits == 16 and len(key) == 6:
        # The lower bytes, which Pillow leaves out, tell colours apart.
        return _by_opencv(data, 4, _MAX_SIXTEEN)
    return _to_rgb(picture)


def _by_opencv(data: bytes, num_channels: int, max_level: int) -> Picture:
    """Samples of more than 8 bits, of which Pillow keeps 8; a fourth channel is the opacity."""
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16:
        raise DecodeError(CORRUPT, "the pixels cannot be read")
    eight = to_eight_bits(np.minimum(levels, max_level), max_level)
    if num_channels == 1 and eight.ndim == 2:
        return grey_to_rgb(eight)
    if eight.ndim != 3 or eight.shape[2] != num_channels:
        raise DecodeError(CORRUPT, f"the pixels have the shape {eight.shape}")
    rgb = np.ascontiguousarray(eight[:, :, 2::-1])
    return on_white(rgb, eight[:, :, 3]) if num_channels == 4 else rgb


def _orientation(picture: Image.Image) -> int:
    """The orientation in the metadata of a loaded picture."""
    exif = picture.info.get("exif")
    if isinstance(exif, bytes) and exif:
        return stored_orientation(exif.removeprefix(_EXIF_PREFIX))
    try:
        value = picture.getexif().get(ORIENTATION_TAG, UPRIGHT)  # in XMP
    except Exception:  # damaged metadata; the pixels are sound
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _to_rgb(picture: Image.Image) -> Picture:
    if picture.mode in _SIXTEEN_BITS or (picture.mode == "I" and picture.format == PPM):
        return _from_sixteen_bits(np.asarray(picture))
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        return _on_white(picture.convert("RGBA"))
    if picture.mode == "RGB":
        return np.asarray(picture)
    if picture.mode in _PLAIN:
        return np.asarray(picture.convert("RGB"))
    raise DecodeError(UNSUPPORTED_CODING, f"pixels of mode {picture.mode} have no fixed range")


def _from_sixteen_bits(levels: np.ndarray) -> Picture:
    return grey_to_rgb(to_eight_bits(levels, _MAX_SIXTEEN))


def _on_white(picture: Image.Image) -> Picture:
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=picture.getchannel("A"))
    return np.asarray(white)


def _named(error: Exception) -> DecodeError:
    words = str(error)
    if isinstance(error, Image.DecompressionBombError):
        return DecodeError(TOO_MANY_PIXELS, words)
    if isinstance(error, UnidentifiedImageError):
        return DecodeError(CORRUPT, "the header cannot be read")
    if "unsupported" in words.lower() or "not supported" in words.lower():
        return DecodeError(UNSUPPORTED_CODING, words)
    return DecodeError(TRUNCATED if "truncated" in words.lower() else CORRUPT, words)


# The others are decoded by Pillow alone.
_DECODERS: Mapping[str, Decoder] = MappingProxyType(
    {PNG: _decode_png, BMP: decode_bmp, TIFF: decode_tiff, PPM: _decode_pnm, JPEG2000: _decode_jpeg2000}
)
