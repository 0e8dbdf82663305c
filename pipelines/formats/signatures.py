"""The known picture formats by their first bytes: the one list by which a file is read, refused by name, or no image.

Sources: the formats' own specifications, and the signatures of file(1). A TIFF that holds a raw camera picture is
recognised by `pipelines.formats.tiff`, since only its directories differ.
"""

import functools
import re
import struct
from collections.abc import Callable

from pipelines.decode_faults import NOT_AN_IMAGE, UNSUPPORTED_FORMAT, DecodeError

# The formats that are read, under Pillow's names.
JPEG, PNG, GIF, BMP, TIFF, WEBP = "JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"
PPM, JPEG2000, AVIF, HEIF = "PPM", "JPEG2000", "AVIF", "HEIF"
READ = frozenset({JPEG, PNG, GIF, BMP, TIFF, WEBP, PPM, JPEG2000, AVIF, HEIF})

# Tried in this order: the more particular ones come before those that they resemble.
_OPENINGS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("JPEG-LS", (b"\xff\xd8\xff\xf7",)),
    (JPEG, (b"\xff\xd8",)),
    (PNG, (b"\x89PNG\r\n\x1a\n",)),
    (GIF, (b"GIF87a", b"GIF89a")),
    ("JPEG XR", (b"II\xbc\x00", b"II\xbc\x01")),
    (TIFF, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (JPEG2000, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("JPEG XL", (b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    ("raw camera file (Olympus)", (b"IIRO", b"IIRS", b"MMOR")),
    ("raw camera file (Panasonic)", (b"IIU\0",)),
    ("raw camera file (Fujifilm)", (b"FUJIFILMCCD-RAW",)),
    ("raw camera file (Canon CRW)", (b"II\x1a\0\0\0HEAP",)),
    ("raw camera file (Sigma)", (b"FOVb",)),
    ("raw camera file (Minolta)", (b"\0MRM",)),
    ("Photoshop", (b"8BPS",)),
    ("QOI", (b"qoif",)),
    ("GIMP (XCF)", (b"gimp xcf",)),
    ("Paint Shop Pro", (b"Paint Shop Pro Image File",)),
    ("OpenEXR", (b"\x76\x2f\x31\x01",)),
    ("Radiance HDR", (b"#?RADIANCE", b"#?RGBE")),
    ("FITS", (b"SIMPLE  =",)),
    ("DirectDraw surface (DDS)", (b"DDS ",)),
    ("Khronos texture (KTX)", (b"\xabKTX ",)),
    ("Apple icons (ICNS)", (b"icns",)),
    ("SGI", (b"\x01\xda\0\x01", b"\x01\xda\x01\x01", b"\x01\xda\0\x02", b"\x01\xda\x01\x02")),
    ("Sun raster", (b"\x59\xa6\x6a\x95",)),
    ("PNM of another kind", (b"P7\n", b"PF\n", b"Pf\n", b"P7 ", b"PF ", b"Pf ", b"P7\r", b"PF\r", b"Pf\r")),
    ("MNG", (b"\x8aMNG", b"\x8bJNG")),
    ("BPG", (b"BPG\xfb",)),
    ("FLIF", (b"FLIF",)),
    ("DPX", (b"SDPX", b"XPDS")),
    ("Cineon", (b"\x80\x2a\x5f\xd7", b"\xd7\x5f\x2a\x80")),
    ("MIFF", (b"id=ImageMagick",)),
    ("XPM", (b"/* XPM */", b"! XPM2")),
    ("IM", (b"Image type:",)),
    ("Windows Paint (MSP)", (b"DanM", b"LinS")),
    ("PIXAR", (b"\x80\xe8\0\0",)),
    ("FTEX", (b"FTEX",)),
    ("McIDAS", (b"\0\0\0\0\0\0\0\4",)),
    ("farbfeld", (b"farbfeld",)),
    ("DCX", (b"\xb1\x68\xde\x3a",)),
    ("BLP", (b"BLP1", b"BLP2")),
    ("DjVu", (b"AT&TFORM",)),
    ("Windows metafile", (b"\xd7\xcd\xc6\x9a",)),
    ("PostScript", (b"%!PS", b"\xc5\xd0\xd3\xc6", b"\x04%!PS")),
    ("PDF", (b"%PDF-",)),
    ("video (Matroska, WebM)", (b"\x1a\x45\xdf\xa3",)),
    ("video (Flash)", (b"FLV\x01", b"FWS", b"CWS", b"ZWS")),
    ("video (MPEG)", (b"\0\0\x01\xba", b"\0\0\x01\xb3")),
    ("video (Windows Media)", (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),
    ("video (Ogg)", (b"OggS",)),
)

# The kinds of a container that opens with `RIFF`, at byte 8.
_RIFF_KINDS = {
    b"WEBP": WEBP,
    b"AVI ": "video (AVI)",
    b"ACON": "animated cursor",
    b"CDRX": "CorelDRAW",
    b"RDIB": "BMP in RIFF",
}

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_RAW_BRANDS = frozenset({b"crx "})
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"pnot"})

_LARGEST_BMP_HEADER_BYTES = 0xFFFF  # real ones have at most 124: a text that opens with BM has printable bytes there
_SVG_OPENING = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<(?:svg:)?svg\b", re.S
)
_SVG_BYTES = 4_096  # comments and declarations come before the first element


def sniff(data: bytes) -> str:
    """Pillow's name of the format, from the content.

    Raises:
        DecodeError: the bytes are no image, or of a format that is not supported.
    """
    name = name_of(data)
    if name is None:
        raise DecodeError(NOT_AN_IMAGE, f"opens with {data[:12]!r}")
    if name not in READ or (name == HEIF and not reads_heif()):
        raise DecodeError(UNSUPPORTED_FORMAT, f"is of the format {name}")
    return name


@functools.cache
def reads_heif() -> bool:
    """Register HEIF with Pillow where pillow-heif is installed; false where it is not."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(decode_threads=1)
    return True


def name_of(data: bytes) -> str | None:
    """The name of the format, read or not; None for what is no image, video or page."""
    for name, openings in _OPENINGS:
        if data.startswith(openings):
            return name
    for look in _LOOKS:
        found = look(data)
        if found is not None:
            return found
    return None


def _bmp(data: bytes) -> str | None:
    is_bmp = data.startswith(b"BM") and int.from_bytes(data[14:18], "little") <= _LARGEST_BMP_HEADER_BYTES
    return BMP if is_bmp else None


def _pnm(data: bytes) -> str | None:
    return PPM if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace() else None


def _riff(data: bytes) -> str | None:
    return _RIFF_KINDS.get(data[8:12]) if data.startswith((b"RIFF", b"RIFX")) else None


def _iff(data: bytes) -> str | None:
    is_picture = data.startswith(b"FORM") and data[8:12] in {b"ILBM", b"PBM ", b"ACBM", b"RGBN", b"RGB8", b"ANIM"}
    return "Amiga IFF" if is_picture else None


def _iso_media(data: bytes) -> str | None:
    """HEIF, AVIF, raw and video share the container of ISO/IEC 14496-12, and differ in the brands of its first box."""
    if data[4:8] != b"ftyp":
        return "video (QuickTime)" if data[:1] == b"\0" and data[4:8] in _QUICKTIME_BOXES else None
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    brands = {data[start : start + 4] for start in (8, *range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return AVIF
    if brands & _HEIF_BRANDS:
        return HEIF
    return "raw camera file (Canon CR3)" if brands & _RAW_BRANDS else "video (MP4, QuickTime)"


def _icon(data: bytes) -> str | None:
    if data[:4] not in {b"\0\0\1\0", b"\0\0\2\0"} or len(data) < 6:
        return None
    # A TGA may open with the same four bytes, and has zeros next.
    return "icon (ICO, CUR)" if data[4:6] != b"\0\0" else None


def _placed(data: bytes) -> str | None:
    """Formats whose signature is not at the start."""
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[2_048:2_052] == b"PCD_":
        return "Photo CD"
    if data[20:24] == b"GIMP" and data.startswith(b"\0\0\0"):
        return "GIMP brush"
    if data[4:6] in {b"\x11\xaf", b"\x12\xaf"} and data[14:16] in {b"\0\0", b"\3\0"}:
        return "FLIC animation"
    if (
        data.startswith(b"(\0\0\0")
        and data[12:14] == b"\1\0"
        and data[14:16] in {b"\1\0", b"\4\0", b"\x08\0", b"\x18\0", b" \0"}
    ):
        return "bitmap without a file header (DIB)"
    if data[40:44] == b" EMF" and data.startswith(b"\x01\0\0\0"):
        return "Windows metafile"
    is_stream = len(data) > 376 and data[0] == data[188] == data[376] == 0x47
    return "video (MPEG transport stream)" if is_stream else None


def _pcx(data: bytes) -> str | None:
    """ZSoft's technical reference: maker, version, encoding, bits, window; the reserved byte 64 is zero."""
    if len(data) < 128 or data[0] != 10 or data[1] not in {0, 2, 3, 4, 5} or data[2] > 1 or data[64] != 0:
        return None
    left, top, right, bottom = struct.unpack_from("<4H", data, 4)
    is_sized = data[3] in {1, 2, 4, 8} and 1 <= data[65] <= 4 and left <= right and top <= bottom
    return "PCX" if is_sized else None


def _tga(data: bytes) -> str | None:
    """Truevision's specification 2.0: the footer, or a header in which every field is possible."""
    if data.endswith(b"TRUEVISION-XFILE.\0"):
        return "TGA"
    if len(data) < 18:
        return None
    num_id_bytes, has_map, kind, _, map_length, map_bits = struct.unpack_from("<BBBHHB", data)
    _, _, width, height, depth, descriptor = struct.unpack_from("<4HBB", data, 8)
    depths = {1: {8, 16}, 2: {15, 16, 24, 32}, 3: {8, 16}}.get(kind & ~8, set())
    is_mapped = has_map == 1 and map_length > 0 and map_bits in {8, 15, 16, 24, 32}
    is_unmapped = has_map == 0 and kind & ~8 != 1 and data[3:8] == bytes(5)
    if kind > 11 or depth not in depths or not (is_mapped or is_unmapped) or 0 in (width, height) or descriptor & 0xC0:
        return None
    num_pixel_bytes = width * height * ((depth + 7) // 8)
    start = 18 + num_id_bytes + map_length * ((map_bits + 7) // 8)
    # Run-length coding makes no row longer than 129/128 of the plain one, nor shorter than 1/128.
    is_long_enough = len(data) >= start + (num_pixel_bytes if kind < 8 else num_pixel_bytes // 128)
    return "TGA" if is_long_enough else None


def _text(data: bytes) -> str | None:
    if _SVG_OPENING.match(data[:_SVG_BYTES]):
        return "SVG"
    return "XBM" if re.match(rb"#define\s+\w*_?width\s+\d+\s", data) else None


_LOOKS: tuple[Callable[[bytes], str | None], ...] = (
    _bmp,
    _pnm,
    _riff,
    _iff,
    _iso_media,
    _icon,
    _placed,
    _pcx,
    _tga,
    _text,
)
