"""pipelines/sources/tar_headers: what Python's tarfile reads is what is found; damage hides what it hits alone."""

import io
import os
import random
import tarfile
from collections.abc import Callable
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.tar_headers import Entry, Gap, Member, walk
from pipelines.sources.tar_numbers import BLOCK

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = {
    "100 bytes": "n" * 96 + ".jpg",
    "101 bytes": "a/" + "n" * 95 + ".jpg",
    "256 bytes": "d" * 150 + "/" + "n" * 96 + ".jpg",
    "300 bytes": "d/" * 100 + "n" * 100,
    "5000 bytes": "d" * 200 + "/" + "n" * 4800,
}

Files = dict[str, bytes]


def packed(files: Files, form: str = "gnu", *, is_closed: bool = True) -> bytes:
    """An archive by Python's tarfile."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=FORMATS[form]) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        end = stream.tell()
    return stream.getvalue() if is_closed else stream.getvalue()[:end]


def oracle(data: bytes, **options: bool) -> list[tuple[bytes, int, int]]:
    """Name, offset and size of each plain file, by Python's tarfile."""
    with tarfile.open(fileobj=io.BytesIO(data), **options) as archive:  # type: ignore[call-overload]
        return [(os.fsencode(one.name), one.offset_data, one.size) for one in archive if one.isreg()]


def starts(data: bytes) -> list[int]:
    """Where the first header of each member lies, by Python's tarfile."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [one.offset for one in archive]


def walked(data: bytes, start: int = 0, stop: int | None = None) -> list[Entry]:
    size = len(data)
    return list(walk(io.BytesIO(data), start, size if stop is None else stop, size))


def members(data: bytes) -> list[tuple[bytes, int, int]]:
    found = walked(data)
    assert not [one for one in found if isinstance(one, Gap)]
    return [(one.name, one.data, one.num_bytes) for one in found if isinstance(one, Member)]


def header(name: str, kind: bytes = b"0", size: int | bytes = 0, form: str = "ustar") -> bytes:
    """One header of tarfile's; its size field as given, its checksum made to fit."""
    member = tarfile.TarInfo(name)
    member.type = kind
    raw = bytearray(member.tobuf(FORMATS[form]))
    raw[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    return sealed(raw)


def sealed(raw: bytearray) -> bytes:
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[-BLOCK:])
    return bytes(raw)


def version_7(name: str, kind: bytes, size: int) -> bytes:
    """A header as it was before POSIX: without magic, owner's name or prefix."""
    raw = bytearray(header(name, size=size))
    raw[156:157] = kind
    raw[257:] = bytes(BLOCK - 257)
    return sealed(raw)


SIZES = {f"s{size}.jpg": b"x" * size for size in (0, 1, 511, 512, 513, 5000)}


@pytest.mark.parametrize("form", FORMATS)
def test_members_of_every_size_lie_where_tarfile_finds_them(form: str) -> None:
    data = packed(SIZES, form)
    assert members(data) == oracle(data)
    assert len(members(data)) == len(SIZES)


@pytest.mark.parametrize(
    ("form", "length"),
    [(form, length) for form in FORMATS for length in LONG if form != "ustar" or int(length.split()[0]) <= 256],
)
def test_a_long_name_is_whole(form: str, length: str) -> None:
    if (form, length) == ("ustar", "100 bytes"):
        assert len(LONG[length]) == 100
    data = packed({"before.jpg": b"1", LONG[length]: b"22", "after.jpg": b"333"}, form)
    assert members(data) == oracle(data)
    assert [name for name, _, _ in members(data)] == [b"before.jpg", LONG[length].encode(), b"after.jpg"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["jörg/顔 1.jpg", os.fsdecode(b"j\xf6rg/1.jpg"), " two  spaces .jpg", "new\nline.jpg"])
def test_a_name_is_the_bytes_that_were_stored(form: str, name: str) -> None:
    data = packed({name: b"1", "after.jpg": b"2"}, form)
    assert members(data) == oracle(data)
    assert members(data)[0][0] == os.fsencode(name)


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_member_above_eight_gibibytes_is_passed_by_its_true_size(form: str, tmp_path) -> None:
    size = (9 << 30) + 5
    member = tarfile.TarInfo("large.jpg")
    member.size = size
    path = tmp_path / "large.tar"
    with path.open("wb") as stream:  # a hole: it takes no room
        stream.write(member.tobuf(FORMATS[form]))
        stream.seek(-(-(stream.tell() + size) // BLOCK) * BLOCK)
        stream.write(packed({"after.jpg": b"2"}, form))
    with tarfile.open(path) as archive:
        expected = [(one.name.encode(), one.offset_data, one.size) for one in archive]
    with path.open("rb") as stream:
        found = list(walk(stream, 0, path.stat().st_size, path.stat().st_size))
    assert [(one.name, one.data, one.num_bytes) for one in found if isinstance(one, Member)] == expected
    assert [name for name, _, _ in expected] == [b"large.jpg", b"after.jpg"]


def test_an_archive_from_before_posix_is_read() -> None:
    body = b"x" * BLOCK
    data = (
        version_7("dir/", b"\0", 0) + version_7("dir/1.jpg", b"\0", 100) + body + version_7("2.jpg", b"0", 512) + body
    )
    data += bytes(2 * BLOCK)
    assert members(data) == oracle(data)
    assert [name for name, _, _ in members(data)] == [b"dir/1.jpg", b"2.jpg"]


@pytest.mark.parametrize("size", [0, 100, 5000])
@pytest.mark.parametrize(
    "kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_folders_links_and_devices_are_passed_whatever_size_they_declare(kind: bytes, size: int) -> None:
    data = header("thing", kind, size) + packed({"1.jpg": b"1" * 700})
    assert members(data) == oracle(data)
    assert [name for name, _, _ in members(data)] == [b"1.jpg"]


def test_a_link_with_long_names_hands_none_of_them_on() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        link = tarfile.TarInfo("l" * 150)
        link.type, link.linkname = tarfile.SYMTYPE, "t" * 150
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("1.jpg"))
    assert [name for name, _, _ in members(stream.getvalue())] == [b"1.jpg"]


@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("after", [0, 1, 40])
def test_zeros_before_between_and_after_archives_are_padding(before: int, after: int) -> None:
    one, two = packed({"a.jpg": b"1" * 600}), packed({"b.jpg": b"2", "c.jpg": b""}, "pax")
    data = bytes(before * BLOCK) + one + bytes(after * BLOCK) + two + bytes(after * BLOCK)
    assert members(data) == oracle(data, ignore_zeros=True)
    assert [name for name, _, _ in members(data)] == [b"a.jpg", b"b.jpg", b"c.jpg"]


def test_an_archive_without_members_has_none() -> None:
    assert members(packed({})) == []
    assert members(bytes(BLOCK)) == []


def test_an_archive_inside_an_archive_is_one_member() -> None:
    inner = packed({"inner.jpg": b"1" * 1000})
    data = packed({"inner.tar": inner, "outer.jpg": b"2"})
    assert members(data) == oracle(data)
    assert [name for name, _, _ in members(data)] == [b"inner.tar", b"outer.jpg"]


names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=160)
plain = names.filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(["gnu", "pax"]),
    files=st.dictionaries(st.lists(plain, min_size=1, max_size=3).map("/".join), st.integers(0, 1600), max_size=6),
    data=st.data(),
)
def test_any_archive_is_read_as_tarfile_reads_it_whole_and_in_portions(form, files, data) -> None:
    archive = packed({name: b"x" * size for name, size in files.items()}, form)
    assert members(archive) == oracle(archive)
    cuts = sorted(data.draw(st.sets(st.sampled_from(starts(archive))))) if files else []
    bounds = [0, *cuts, len(archive)]
    in_parts = [one for begin, end in pairwise(bounds) for one in walked(archive, begin, end)]
    assert in_parts == walked(archive)


MIXED = {"a.jpg": b"1" * 700, "d" * 120 + "/b.jpg": b"2" * 100, "c.jpg": b"3" * 1500, "jö.jpg": b"4" * 512}


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_cut_anywhere_loses_the_member_it_hits_and_names_it(form: str) -> None:
    whole = packed(MIXED, form, is_closed=False)
    expected = oracle(whole)
    begins = starts(whole)
    near = (begin + off for begin in begins for off in (-1, 0, 1, 511, 512, 513))
    for cut in [*range(1, len(whole), 61), *(cut for cut in near if cut > 0)]:
        found = walked(whole[:cut])
        kept = [one for one in expected if one[1] + one[2] <= cut]
        assert [(one.name, one.data, one.num_bytes) for one in found if isinstance(one, Member)] == kept, cut
        gaps = [(one.offset, one.num_bytes) for one in found if isinstance(one, Gap)]
        hit = [begin for begin, (_, offset, size) in zip(begins, expected, strict=True) if begin < cut < offset + size]
        assert gaps == ([(begin, cut - begin) for begin in hit] or [(cut, 0)]), cut


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_cut_at_any_byte_has_all_members_and_an_end_mark_or_says_what_is_wrong(form: str) -> None:
    whole = packed({"a.jpg": b"1" * 700, "b.jpg": b"2" * 1000, "c.jpg": b"3" * 900}, form)
    expected = oracle(whole)
    end = -(-(expected[-1][1] + expected[-1][2]) // BLOCK) * BLOCK
    for cut in range(1, len(whole)):
        found = walked(whole[:cut])
        kept = [(one.name, one.data, one.num_bytes) for one in found if isinstance(one, Member)]
        gaps = [one for one in found if isinstance(one, Gap)]
        assert kept == [one for one in expected if one[1] + one[2] <= cut], cut
        assert bool(gaps) == (cut < end + BLOCK), cut


def test_the_note_on_a_missing_end_mark_has_the_number_found() -> None:
    whole = packed({"a.jpg": b"1" * 700, "b.jpg": b"2" * 1000, "c.jpg": b"3" * 900})
    assert walked(whole[:1262])[1:] == [
        Gap(1262, 0, "the archive has no end-of-archive blocks; it may be incomplete (members found: 1)")
    ]
    appended = packed({"z.jpg": b"9"}) + whole[: whole.index(b"c.jpg")]
    assert walked(appended)[-1] == Gap(
        len(appended), 0, "the archive has no end-of-archive blocks; it may be incomplete (members found: 3)"
    )


@pytest.mark.parametrize(("padding", "is_told"), [(10240, False), (1 << 20, False), ((1 << 20) + 512, True)])
def test_more_zeros_than_any_writer_pads_with_are_a_gap(padding: int, is_told: bool) -> None:
    # A download into a file of the final size that stopped leaves zeros.
    whole = packed({"a.jpg": b"1" * 700}, is_closed=False)
    gaps = [one for one in walked(whole + bytes(padding)) if isinstance(one, Gap)]
    assert gaps == [Gap(len(whole), padding, "only zeros are where members may have been")] * is_told
    between = walked(whole + bytes(padding) + packed({"b.jpg": b"2"}))
    assert [one.name for one in between if isinstance(one, Member)] == [b"a.jpg", b"b.jpg"]
    assert sum(isinstance(one, Gap) for one in between) == is_told


def _zeros(rng: random.Random) -> bytes:
    return bytes(BLOCK)


def _garbage(rng: random.Random) -> bytes:
    return rng.randbytes(BLOCK)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("make", [_zeros, _garbage])
def test_a_header_that_was_wiped_hides_its_member_alone(form: str, make: Callable[[random.Random], bytes]) -> None:
    files = {name: content for name, content in MIXED.items() if form != "ustar" or name.isascii()}
    whole = packed(files, form)
    expected, begins = oracle(whole), starts(whole)
    rng = random.Random(0)
    for hit, (name, offset, _) in enumerate(expected):
        wiped = offset - BLOCK
        damaged = whole[:wiped] + make(rng) + whole[wiped + BLOCK :]
        found = walked(damaged)
        rest = [one for one in expected if one[0] != name]
        assert [(one.name, one.data, one.num_bytes) for one in found if isinstance(one, Member)] == rest, name
        (gap,) = [one for one in found if isinstance(one, Gap)]
        end = begins[hit + 1] if hit + 1 < len(begins) else len(whole)
        assert (gap.offset, gap.num_bytes) == (begins[hit], end - begins[hit]), name
        in_parts = [one for begin in begins for one in walked(damaged, begin, begin + 1) if begin != begins[hit]]
        assert [one for one in in_parts if isinstance(one, Member)] == [one for one in found if isinstance(one, Member)]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_wiped_header_of_a_long_name_is_named(form: str) -> None:
    whole = packed({"a.jpg": b"1", "d" * 120 + "/b.jpg": b"2", "c.jpg": b"3"}, form)
    begin, offset = starts(whole)[1], oracle(whole)[1][1]
    found = walked(whole[:begin] + b"\xff" * BLOCK + whole[begin + BLOCK :])
    gaps = [(one.offset, one.num_bytes) for one in found if isinstance(one, Gap)]
    assert gaps == [(begin, offset - BLOCK - begin)]
    assert [one.data for one in found if isinstance(one, Member)] == [place for _, place, _ in oracle(whole)]


def test_a_long_gap_is_searched_to_its_end() -> None:
    garbage = random.Random(1).randbytes(5000 * BLOCK)
    data = packed({"a.jpg": b"1"}, is_closed=False)[: 2 * BLOCK] + garbage + packed({"b.jpg": b"2"})
    found = walked(data)
    assert [one.name for one in found if isinstance(one, Member)] == [b"a.jpg", b"b.jpg"]
    assert [(one.offset, one.num_bytes) for one in found if isinstance(one, Gap)] == [(2 * BLOCK, len(garbage))]


def test_garbage_alone_is_one_gap() -> None:
    (gap,) = walked(b"\x01" * 3000)
    assert isinstance(gap, Gap)
    assert (gap.offset, gap.num_bytes) == (0, 3000)


@pytest.mark.parametrize(
    "size", [b"-0000001000\0", b"+0000001000\0", b"0o000001000\0", b"1_000000000\0", b"99999999999\0", b"\xff" * 12]
)
def test_a_size_that_is_no_octal_number_ends_no_walk_and_starts_no_circle(size: bytes) -> None:
    data = header("evil.jpg", size=size) + bytes(BLOCK) + packed({"good.jpg": b"1"})
    found = list(islice(walk(io.BytesIO(data), 0, len(data), len(data)), 10))
    assert [one.name for one in found if isinstance(one, Member)] == [b"good.jpg"]
    assert [one.offset for one in found if isinstance(one, Gap)] == [0]


@pytest.mark.parametrize(
    "record", [b"5013 size=" + b"9" * 5002 + b"\n", b"9" * 5000 + b" path=x\n", b"0 path=x\n", b"999 path=x\n", b"12"]
)
def test_a_pax_header_that_makes_no_sense_changes_nothing(record: bytes) -> None:
    extension = header("pax", b"x", len(record)) + record + bytes(-len(record) % BLOCK)
    data = extension + packed({"good.jpg": b"1"})
    (found,) = walked(data)
    assert isinstance(found, Member)
    assert (found.name, found.header, found.num_bytes) == (b"good.jpg", 0, 1)


def test_a_member_that_claims_more_than_there_is_ends_the_archive_by_name() -> None:
    data = packed({"a.jpg": b"1"}, is_closed=False)[: 2 * BLOCK] + header("b.jpg", size=1 << 30) + bytes(4 * BLOCK)
    first, gap = walked(data)
    assert isinstance(first, Member)
    assert isinstance(gap, Gap)
    assert (gap.offset, gap.num_bytes) == (2 * BLOCK, 5 * BLOCK)
    assert "b.jpg" in gap.reason
