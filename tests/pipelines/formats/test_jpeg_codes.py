"""Huffman codes of scans: the ends of real scans read as blocks of theirs, other bytes seldom do."""

import random
from collections.abc import Callable

import pytest

from pipelines.formats.jpeg_codes import Scan, TableReader, has_plausible_tables, huffman_tables
from pipelines.formats.jpeg_markers import START_OF_SCAN, Segment, segments

DrawJpeg = Callable[..., bytes]


def codes_and_data(data: bytes, number: int = 0) -> tuple[Scan, str]:
    """The codes of a scan, and its data in binary digits."""
    reader = TableReader()
    scans: list[tuple[Scan, Segment]] = []
    for segment in segments(data):
        reader.see(segment.marker, segment.content)
        if segment.marker == START_OF_SCAN:
            scans.append((reader.scan(segment.content), segment))
    codes, segment = scans[number]
    return codes, "".join(f"{byte:08b}" for byte in segment.data.replace(b"\xff\0", b"\xff"))


@pytest.mark.parametrize(
    ("mode", "options", "number"),
    [
        ("RGB", {}, 0),
        ("RGB", {"optimize": True}, 0),
        ("RGB", {"subsampling": 0}, 0),
        ("L", {}, 0),
        ("CMYK", {}, 0),
        ("RGB", {"progressive": True}, 0),  # the DC coefficients of all components
        ("RGB", {"progressive": True}, 1),  # some AC coefficients of the luma
        ("RGB", {"progressive": True}, 2),
    ],
)
def test_a_whole_scan_reads_to_its_end_and_a_cut_one_does_not(
    draw_jpeg: DrawJpeg, mode: str, options: dict[str, object], number: int
) -> None:
    codes, bits = codes_and_data(draw_jpeg(0, mode, quality=50, **options), number)
    assert not codes.is_refinement
    assert codes.reads_to_end(bits)
    assert sum(codes.reads_to_end(bits[: -8 * cut]) for cut in range(3, 60, 3)) < 8  # of 19


def test_the_bits_of_codes_are_those_of_the_standard() -> None:
    codes = {"10": 0x20, "110": 0x02}
    progressive = Scan((({}, codes),), first=1, last=63, is_progressive=True, is_refinement=False)
    sequential = Scan((({}, codes),), first=1, last=63, is_progressive=False, is_refinement=False)
    # The end of 4 to 7 blocks has two more bits (T.81, G.1.2.2); a coefficient of 2 bits has as many.
    assert progressive.reads_to_end("10001111")
    assert not sequential.reads_to_end("10001111")
    for scan in (progressive, sequential):
        assert scan.reads_to_end("1100010111" if scan is sequential else "110001000111")
        assert not scan.reads_to_end("110001111111")


def test_the_end_of_a_scan_reads_on_from_the_boundary_of_a_block(draw_jpeg: DrawJpeg) -> None:
    codes, bits = codes_and_data(draw_jpeg(1, "L"))
    boundaries = [at for at in range(len(bits) - 1_000, len(bits) - 16) if codes.reads_to_end(bits[at:])]
    # One every few dozen bits; from other places codes often find back to the boundaries.
    assert len(boundaries) > 250


def test_other_bytes_seldom_read_to_their_end(draw_jpeg: DrawJpeg) -> None:
    codes, _ = codes_and_data(draw_jpeg(2))
    rng = random.Random(0)
    found = [codes.reads_to_end(f"{rng.getrandbits(320):0320b}") for _ in range(200)]
    assert sum(found) < 40


def test_later_bits_of_coefficients_are_known_for_refinements(draw_jpeg: DrawJpeg) -> None:
    codes = [codes_and_data(draw_jpeg(3, "L", progressive=True), number)[0] for number in range(6)]
    # jcparam.c, jpeg_simple_progression, for one component: (first, last) coefficient, and whether they are known.
    assert [(scan.first, scan.last, scan.is_refinement) for scan in codes] == [
        (0, 0, False), (1, 5, False), (6, 63, False), (1, 63, True), (0, 0, True), (1, 63, True),
    ]  # fmt: skip


def test_the_tables_of_a_segment_are_those_of_the_standard(draw_jpeg: DrawJpeg) -> None:
    contents = [segment.content for segment in segments(draw_jpeg(4)) if segment.marker == 0xC4]
    tables = {number: table for content in contents for number, table in huffman_tables(content).items()}
    assert sorted(tables) == [0x00, 0x01, 0x10, 0x11]
    assert tables[0x00] == bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, *range(12)])  # T.81, table K.3
    assert all(has_plausible_tables(content) for content in contents)
    # A symbol twice, and one of more bits than a picture of 8 bits has.
    (dc,) = (content for content in contents if content[0] == 0)
    assert not has_plausible_tables(dc[:-1] + b"\0")
    assert not has_plausible_tables(dc[:-1] + b"\x0c")


def test_a_scan_uses_the_tables_that_it_selects() -> None:
    reader = TableReader()
    reader.see(0xC0, bytes([8, 0, 8, 0, 8, 2, 1, 0x21, 0, 2, 0x11, 0]))
    content = bytes([2, 1, 0x01, 2, 0x23, 0, 63, 0])
    assert reader.used_by(content) == {0x00, 0x11, 0x02, 0x13}
    assert len(reader.scan(content).blocks) == 3
    reader.see(0xC2, bytes([8, 0, 8, 0, 8, 2, 1, 0x21, 0, 2, 0x11, 0]))
    assert reader.used_by(content[:-3] + bytes([0, 0, 1])) == {0x00, 0x02}
    assert reader.used_by(content[:-3] + bytes([0, 0, 0x10])) == set()
    assert reader.used_by(bytes([1, 2, 0x23, 1, 63, 0])) == {0x13}
    assert len(reader.scan(bytes([1, 1, 0x01, 1, 63, 0])).blocks) == 1
