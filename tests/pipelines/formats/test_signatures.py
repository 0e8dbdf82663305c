"""Every format that Pillow writes is known by name; the others by the openings that their specifications state."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pipelines.decode_faults import NOT_AN_IMAGE, UNSUPPORTED_FORMAT, DecodeError
from pipelines.formats.signatures import READ, name_of, reads_heif, sniff

reads_heif()
Image.init()

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
# Palm's bitmaps and the floats of Spider have no signature; the others are written by plugins of other packages.
NOT_WRITTEN = {"PALM", "SPIDER", "BUFR", "GRIB", "HDF5", "WMF"}
# Pillow's names of what is the same file under another name.
SAME = {"MPO": "JPEG"}

UNREAD = {
    "JPEG-LS": b"\xff\xd8\xff\xf7\0\x0b\x08",
    "JPEG XL": b"\xff\x0a\xfa\x7f",
    "JPEG XL in a container": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
    "JPEG XR": b"II\xbc\x01\x20\0\0\0",
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
    "CRW": b"II\x1a\0\0\0HEAPCCDR",
    "ORF": b"IIRO\x08\0\0\0",
    "ORF, big-endian": b"MMOR\0\0\0\x08",
    "RW2": b"IIU\0\x18\0\0\0",
    "RAF": b"FUJIFILMCCD-RAW 0201",
    "X3F": b"FOVb\x02\0\x02\0",
    "MRW": b"\0MRM\0\x02",
    "PSD": b"8BPS\0\x01",
    "PSB": b"8BPS\0\x02",
    "QOI": b"qoif\0\0\0\x08",
    "XCF": b"gimp xcf v011\0",
    "PSP": b"Paint Shop Pro Image File\n\x1a",
    "EXR": b"\x76\x2f\x31\x01\x02\0\0\0",
    "HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "FITS": b"SIMPLE  =                    T / file",
    "DDS": b"DDS \x7c\0\0\0",
    "KTX": b"\xabKTX 20\xbb\r\n\x1a\n",
    "ICNS": b"icns\0\0\x10\0",
    "ICO": b"\0\0\x01\0\x01\0\x10\x10\0\0",
    "CUR": b"\0\0\x02\0\x01\0\x20\x20\0\0",
    "SGI": b"\x01\xda\x01\x01\0\x03",
    "Sun raster": b"\x59\xa6\x6a\x95\0\0\0\x10",
    "PAM": b"P7\nWIDTH 4\n",
    "PFM": b"PF\n4 4\n-1.0\n",
    "grey PFM": b"Pf 4 4\n-1.0\n",
    "MNG": b"\x8aMNG\r\n\x1a\n",
    "JNG": b"\x8bJNG\r\n\x1a\n",
    "BPG": b"BPG\xfb\x20",
    "FLIF": b"FLIF\x44\x31",
    "DPX": b"SDPX\0\0\x08\0",
    "Cineon": b"\x80\x2a\x5f\xd7",
    "MIFF": b"id=ImageMagick  version=1.0",
    "XPM": b"/* XPM */\nstatic char",
    "XBM": b"#define face_width 16\n#define face_height 7\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "SVG after declarations": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<!DOCTYPE svg>\n<svg:svg>",
    "PDF": b"%PDF-1.7",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6\x20\0\0\0",
    "DjVu": b"AT&TFORM\0\0\0\x10DJVU",
    "ILBM": b"FORM\0\0\0\x10ILBMBMHD",
    "WMF": b"\xd7\xcd\xc6\x9a\0\0",
    "EMF": b"\x01\0\0\0\x6c\0\0\0" + bytes(32) + b" EMF",
    "DICOM": bytes(128) + b"DICM\x02\0",
    "FLC": b"\0\x10\0\0\x12\xaf\x02\0\x40\x01\xc8\0\x08\0\0\0",
    "PIXAR": b"\x80\xe8\0\0\x01\0\0\0",
    "FTEX": b"FTEX\x01\0\0\0",
    "McIDAS": b"\0\0\0\0\0\0\0\x04\0\0\0\x46",
    "Photo CD": b"\xff" * 2_048 + b"PCD_IPI",
    "GIMP brush": b"\0\0\0\x27\0\0\0\x02\0\0\0\x40\0\0\0\x40\0\0\0\x04GIMP",
    "MP4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "MOV": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "old MOV": b"\0\0\x10\0moov\0\0\0\x6cmvhd",
    "3GP": b"\0\0\0\x18ftyp3gp4\0\0\0\0isom3gp4",
    "AVI": b"RIFF\0\x10\0\0AVI LIST",
    "ANI": b"RIFF\0\x10\0\0ACONanih",
    "Matroska": b"\x1a\x45\xdf\xa3\x01\0\0\0",
    "FLV": b"FLV\x01\x05\0\0\0\x09",
    "MPEG": b"\0\0\x01\xba\x44\0",
    "MPEG-TS": (b"\x47\x40" + bytes(186)) * 3,
    "WMV": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
    "Ogg": b"OggS\0\x02",
}

NO_IMAGE = {
    "a page": b"<html><body><svg></svg></body></html>",
    "a comment that never ends": b"<!--" * 2_000,
    "zeros": bytes(4_096),
    "ones": b"\xff" * 4_096,
    "one letter": b"P",
    "no PNM": b"P9\n",
    "a text that opens with BM": b"BMW is a maker of cars and motorcycles.",
    "sound": b"RIFF0000WAVEfmt ",
    "an archive": b"PK\x03\x04" + bytes(60),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(60),
    "JSON": b'{"a": 1}',
    "a list": b"a.jpg,alice\nb.jpg,bob\n" * 20,
    "a tab-separated table": b"0\t1\t2\n" * 40,
    "noise": np.random.default_rng(3).integers(0, 256, 500, dtype=np.uint8).tobytes(),
}


def fault_of(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        sniff(data)
    return caught.value.fault


def written(picture_format: str) -> list[bytes]:
    """The files of Pillow's encoder, one for each mode that it takes."""
    files = []
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK"):
        stream = io.BytesIO()
        try:
            Image.fromarray(NOISE).convert(mode).save(stream, picture_format)
        except (OSError, ValueError, KeyError):  # the format has no such mode
            continue
        files.append(stream.getvalue())
    return files


@pytest.mark.filterwarnings("ignore:IM image format")
@pytest.mark.parametrize("picture_format", sorted(set(Image.SAVE) - NOT_WRITTEN))
def test_all_that_pillow_writes_is_read_or_refused_by_name(picture_format: str) -> None:
    files = written(picture_format)
    assert files
    for data in files:
        if SAME.get(picture_format, picture_format) in READ:
            assert sniff(data) == SAME.get(picture_format, picture_format)
        else:
            assert fault_of(data) == UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", UNREAD)
def test_a_known_format_that_is_not_read_is_named(name: str) -> None:
    assert fault_of(UNREAD[name]) == UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", NO_IMAGE)
def test_what_is_no_image_is_said_to_be_none(name: str) -> None:
    assert fault_of(NO_IMAGE[name]) == NOT_AN_IMAGE


def test_an_opening_cut_anywhere_is_no_crash() -> None:
    for data in (*UNREAD.values(), *NO_IMAGE.values()):
        for length in range(min(len(data), 150)):
            name_of(data[:length])


@pytest.mark.parametrize("kind", [2, 3, 10, 11])
def test_a_tga_is_known_by_its_header_alone(kind: int) -> None:
    depth = 24 if kind & 3 == 2 else 8
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, 4, 3, depth, 0)
    assert name_of(header + bytes(12 * depth // 8)) == "TGA"
    if kind < 8:
        assert name_of(header + bytes(12 * depth // 8 - 1)) is None


@pytest.mark.parametrize(("place", "value"), [(0x10, 7), (0x11, 0x40), (0x0C, 0), (0x02, 7), (0x03, 1)])
def test_an_impossible_field_makes_it_no_tga(place: int, value: int) -> None:
    header = bytearray(struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 4, 3, 24, 0))
    header[place] = value
    assert name_of(bytes(header) + bytes(64)) != "TGA"


def test_avif_is_found_among_the_compatible_brands() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
