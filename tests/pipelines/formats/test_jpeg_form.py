"""Faults of form: the pixels are those of the clean picture and of Pillow, and the faults are counted."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipelines.decode_faults import CORRUPT, DecodeError
from pipelines.formats.jpeg import decode_jpeg
from pipelines.formats.jpeg_form import is_of_form, rewrite
from pipelines.settings import PixelSettings

DrawJpeg = Callable[..., bytes]
Damage = Callable[[bytes], bytes]

SETTINGS = PixelSettings()
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "baseline": ("RGB", {}),
    "optimised": ("RGB", {"optimize": True, "subsampling": 0}),
    "progressive": ("RGB", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_rows": 1}),
    "grey": ("L", {}),
    "cmyk": ("CMYK", {}),
}


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def before(marker: int, added: bytes) -> Damage:
    """Bytes before the first marker of a kind."""

    def damage(data: bytes) -> bytes:
        place = data.index(bytes([0xFF, marker]), 2)
        return data[:place] + added + data[place:]

    return damage


def without_jfif(data: bytes) -> bytes:
    return data[:2] + data[2 + 18 :] if data[2:4] == b"\xff\xe0" else data


def without_adobe(data: bytes) -> bytes:
    place = data.find(b"\xff\xee")
    return data if place < 0 else data[:place] + data[place + 16 :]


def adobe(transform: int) -> Damage:
    """An Adobe segment alone, so that it says what the colours are."""
    added = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    return lambda data: before(0xDB, added)(without_adobe(without_jfif(data)))


def jfif_revision(major: int) -> Damage:
    return lambda data: (
        data[:2] + segment(0xE0, b"JFIF\0" + bytes([major, 1, 0, 0, 1, 0, 1, 0, 0])) + without_jfif(data)[2:]
    )


def icc(*chunks: tuple[int, int]) -> Damage:
    return before(0xDB, b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([*chunk]) + bytes(60)) for chunk in chunks))


def scan_parameters(first: int, last: int, bits: int) -> Damage:
    def damage(data: bytes) -> bytes:
        place = data.index(b"\xff\xda")
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        return data[: end - 3] + bytes([first, last, bits]) + data[end:]

    return damage


def before_the_end(added: bytes) -> Damage:
    return lambda data: data[:-2] + added + data[-2:]


SEQUENTIAL = ("baseline", "optimised", "restarts", "grey", "cmyk")
CASES: list[tuple[str, Damage, tuple[str, ...]]] = [
    ("JFIF revision 2", jfif_revision(2), tuple(KINDS)),
    ("JFIF revision 255", jfif_revision(255), ("baseline", "progressive")),
    ("zeros before the quantisation tables", before(0xDB, bytes(9)), tuple(KINDS)),
    ("zeros before the frame", before(0xC4, bytes(1)), tuple(KINDS)),
    ("zeros before the scan", before(0xDA, bytes(4096)), tuple(KINDS)),
    ("other filling before the Huffman tables", before(0xC4, b"\xaa" * 40), tuple(KINDS)),
    ("text after metadata", before(0xDB, b"made by a camera"), tuple(KINDS)),
    ("a stuffed byte between segments", before(0xDB, b"\0\xff\0\0"), tuple(KINDS)),
    ("Adobe's transform 7 of three components", adobe(7), ("baseline", "optimised", "progressive", "restarts")),
    ("Adobe's transform 1 of four components", adobe(1), ("cmyk",)),
    ("a chunk of ICC is missing", icc((1, 2)), tuple(KINDS)),
    ("a chunk of ICC is there twice", icc((1, 2), (1, 2)), ("baseline", "progressive")),
    ("a chunk of ICC has the number 0", icc((0, 1)), ("baseline", "progressive")),
    ("chunks of ICC differ about their number", icc((1, 2), (2, 3)), ("baseline", "progressive")),
    ("a scan of coefficient 0 alone", scan_parameters(0, 0, 0), SEQUENTIAL),
    ("a scan without coefficient 0", scan_parameters(1, 63, 0), SEQUENTIAL),
    ("a scan of higher bits", scan_parameters(0, 63, 0x10), SEQUENTIAL),
    ("zeros before the end", before_the_end(bytes(40)), tuple(KINDS)),
    ("text before the end", before_the_end(b"* written by a phone *"), tuple(KINDS)),
    ("other filling before the end", before_the_end(b"\x20" * 33), tuple(KINDS)),
]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [pytest.param(damage, kind, id=f"{name}-{kind}") for name, damage, kinds in CASES for kind in kinds],
)
def test_a_fault_of_form_touches_no_pixel_and_is_counted(draw_jpeg: DrawJpeg, damage: Damage, kind: str) -> None:
    mode, options = KINDS[kind]
    clean = draw_jpeg(0, mode, **options)
    damaged = damage(clean)
    with pytest.raises(ValueError, match=r"JPEG|JFIF|Adobe") as caught:
        simplejpeg.decode_jpeg(damaged, colorspace="CMYK" if mode == "CMYK" else "RGB")
    assert is_of_form(str(caught.value))
    rgb, header = decode_jpeg(damaged, SETTINGS)
    assert header.warnings == 1
    assert np.array_equal(rgb, np.asarray(Image.open(io.BytesIO(damaged)).convert("RGB")))
    if "Adobe" not in str(caught.value):  # which says what the colours are
        assert np.array_equal(rgb, decode_jpeg(clean, SETTINGS)[0])


def test_every_fault_is_counted(draw_jpeg: DrawJpeg) -> None:
    data = draw_jpeg(1)
    for damage in (
        jfif_revision(2),
        before(0xC4, bytes(5)),
        before(0xDB, bytes(2)),
        icc((2, 2)),
        scan_parameters(0, 63, 1),
        before_the_end(bytes(30)),
    ):
        data = damage(data)
    rgb, header = decode_jpeg(data, SETTINGS)
    assert header.warnings == 6
    assert np.array_equal(rgb, decode_jpeg(draw_jpeg(1), SETTINGS)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_picture_has_no_warnings(draw_jpeg: DrawJpeg, kind: str) -> None:
    mode, options = KINDS[kind]
    assert decode_jpeg(draw_jpeg(2, mode, **options), SETTINGS)[1].warnings == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_rewritten_is_a_jpeg_of_the_same_pixels(draw_jpeg: DrawJpeg, kind: str) -> None:
    mode, options = KINDS[kind]
    clean = draw_jpeg(3, mode, **options)
    draft = rewrite(icc((1, 1))(before(0xDB, segment(0xFE, b"a comment"))(clean)))
    assert draft.num_faults == 0
    assert b"comment" not in draft.joined()
    expected = np.asarray(Image.open(io.BytesIO(clean)).convert("RGB"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(draft.joined())).convert("RGB")), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [jfif_revision(2), before(0xDB, bytes(3)), before_the_end(bytes(30))])
def test_damage_beside_a_fault_of_form_is_found(draw_jpeg: DrawJpeg, kind: str, form: Damage) -> None:
    mode, options = KINDS[kind]
    data = form(draw_jpeg(4, mode, **options))
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    with pytest.raises(DecodeError) as caught:
        decode_jpeg(data[:middle] + bytes(400) + data[middle + 400 :], SETTINGS)
    assert caught.value.fault == CORRUPT


def test_faults_of_form_among_millions_of_segments_are_not_worth_the_time(draw_jpeg: DrawJpeg) -> None:
    odd = jfif_revision(2)(draw_jpeg(5))
    few, many = (before(0xDB, segment(0xFE, b"") * number)(odd) for number in (30_000, 40_000))
    assert decode_jpeg(few, SETTINGS)[1].warnings == 1
    with pytest.raises(DecodeError, match="corrupt: faults of form among more than 32768 segments"):
        decode_jpeg(many, SETTINGS)


@pytest.mark.parametrize("parameters", [(0x3F, 0, 0x95), (0x11, 0, 0x3F), (0, 0x95, 0x42)])
def test_parameters_of_a_scan_that_are_out_of_place_are_damage(
    draw_jpeg: DrawJpeg, parameters: tuple[int, int, int]
) -> None:
    with pytest.raises(DecodeError, match=r"corrupt: parameters .. .. .. \(hex\)"):
        decode_jpeg(scan_parameters(*parameters)(draw_jpeg(5)), SETTINGS)
