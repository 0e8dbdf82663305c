"""Any bytes give either upright pixels or a named fault: drawn pictures, real ones, hostile ones and mutations."""

import io
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines import decode_faults
from pipelines.formats.signatures import reads_heif
from pipelines.pixels import DecodeError, decode, sniff, upright
from pipelines.settings import PixelSettings

reads_heif()

SETTINGS = PixelSettings()
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def encoded(picture: Image.Image, picture_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, picture_format, **options)
    return stream.getvalue()


def fault_of(data: bytes, settings: PixelSettings = SETTINGS) -> str:
    try:
        decode(data, settings)
    except DecodeError as error:
        return error.fault
    return "ok"


def members(tar: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(tar) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                yield member.name, stream.read()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_does_what_pillow_does(orientation: int) -> None:
    picture = Image.fromarray(COLOURS)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(upright(COLOURS, orientation), expected)


@pytest.mark.parametrize(("kind", "letter"), [(1, "B"), (3, "H"), (4, "I")])
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_in_every_integer_type(picture_format: str, kind: int, letter: str) -> None:
    value = struct.pack(f"<{letter}", 6).ljust(4, b"\0")
    if picture_format == "TIFF":
        entry = struct.pack("<HHII", 0x0112, 3, 1, 8)
        data = encoded(Image.fromarray(COLOURS), "TIFF", tiffinfo={0x0112: 8})
        assert data.count(entry) == 1
        data = data.replace(entry, struct.pack("<HHI", 0x0112, kind, 1) + value)
    else:
        exif = b"II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, 1) + value + bytes(4)
        data = encoded(Image.fromarray(COLOURS), picture_format, exif=b"Exif\0\0" + exif, quality=100)
    decoded = decode(data, SETTINGS)
    assert decoded.orientation == 6
    assert (decoded.width, decoded.height) == (24, 20)
    assert np.abs(decoded.rgb.astype(int) - upright(COLOURS, 6)).mean() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_is_applied_and_reported(picture_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless: dict[str, dict[str, object]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
        "HEIF": {"quality": -1, "chroma": 444},
    }
    data = encoded(Image.fromarray(COLOURS), picture_format, exif=exif.tobytes(), **lossless.get(picture_format, {}))
    decoded = decode(data, SETTINGS)
    assert decoded.orientation == orientation
    assert (decoded.width, decoded.height) == ((20, 24) if orientation < 5 else (24, 20))
    assert np.abs(decoded.rgb.astype(int) - upright(COLOURS, orientation)).max() <= 4


@pytest.mark.parametrize("picture_format", FORMATS)
def test_the_format_is_what_the_content_says(picture_format: str) -> None:
    decoded = decode(encoded(Image.fromarray(COLOURS), picture_format), SETTINGS)
    assert decoded.format == picture_format
    assert (decoded.rgb.dtype, decoded.rgb.shape, decoded.rgb.flags.c_contiguous) == (np.uint8, COLOURS.shape, True)


@pytest.mark.parametrize("picture_format", FORMATS)
def test_the_pixel_limit_holds_for_every_format(picture_format: str) -> None:
    data = encoded(Image.fromarray(COLOURS), picture_format)
    assert fault_of(data, PixelSettings(max_pixels=24 * 20)) == "ok"
    assert fault_of(data, PixelSettings(max_pixels=24 * 20 - 1)) == decode_faults.TOO_MANY_PIXELS


def test_an_empty_file_is_empty() -> None:
    assert fault_of(b"") == decode_faults.EMPTY


def test_the_byte_limit_is_checked_first() -> None:
    assert fault_of(b"12345", PixelSettings(max_bytes=4)) == decode_faults.TOO_MANY_BYTES


@pytest.mark.parametrize(
    ("data", "fault"), [(b"<html></html>", decode_faults.NOT_AN_IMAGE), (b"8BPS\0\1", decode_faults.UNSUPPORTED_FORMAT)]
)
def test_what_is_not_read_is_named(data: bytes, fault: str) -> None:
    assert fault_of(data) == fault


def test_heif_is_read_only_where_its_decoder_is_installed() -> None:
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pipelines.pixels import DecodeError, decode\n"
        "from pipelines.settings import PixelSettings\n"
        f"try: decode({HEIC!r}, PixelSettings())\n"
        "except DecodeError as error: print(error.fault)"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert ended.stdout.strip() == decode_faults.UNSUPPORTED_FORMAT
    assert sniff(HEIC) == "HEIF"


def test_mutated_pictures_give_pixels_or_a_named_fault(mutants: Callable[..., Iterator[bytes]]) -> None:
    for data in mutants(400, seed=0):
        assert fault_of(data, PixelSettings(max_pixels=1_000_000)) in decode_faults.FAULTS | {"ok"}


def test_mutated_pictures_make_no_noise(
    mutants: Callable[..., Iterator[bytes]], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    formats = tuple(name for name in FORMATS if name != "TIFF")  # libtiff speaks to stderr itself
    for data in mutants(300, seed=1, formats=formats):
        fault_of(data, PixelSettings(max_pixels=1_000_000))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_hostile_files_get_a_named_outcome_and_valid_ones_pass(shared_data: Path) -> None:
    outcomes = {name: fault_of(data) for name, data in members(shared_data / "hostile.tar")}
    assert len(outcomes) == 504
    png_suite = {Path(name).name: outcome for name, outcome in outcomes.items() if "/pngsuite/" in name}
    refused = {name for name, outcome in png_suite.items() if outcome != "ok"}
    assert refused == {name for name in png_suite if name.startswith("x")}
    assert len(refused) == 14


@pytest.mark.parametrize(("tar", "num_images"), [("orl.tar", 400), ("cfp.tar", 4_536)])
def test_clean_sets_raise_no_false_alarm(shared_data: Path, tar: str, num_images: int) -> None:
    outcomes = [fault_of(data) for _, data in members(shared_data / tar)]
    assert outcomes == ["ok"] * num_images
