"""pipelines/sources/tar: members are rows, in portions as in one piece, and what is broken is named."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings
from pipelines.sources.tar_numbers import BLOCK

FILES = {"ann/1.jpg": b"a" * 100, "ann/2.jpg": b"b" * 5000, "bob/x y.png": b"c" * 512, "top.txt": b"", "z/q.gif": b"d"}


def settings(path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "tar", "path": str(path), **values})


def test_a_member_is_a_row_named_by_archive_and_member(tmp_path: Path, write_tar, read_rows) -> None:
    archive = write_tar(tmp_path / "faces.tar", FILES)
    rows = read_rows(settings(archive))
    assert [(row.source, row.identity, row.data) for row in rows] == [
        (f"{archive}!/ann/1.jpg", "ann", FILES["ann/1.jpg"]),
        (f"{archive}!/ann/2.jpg", "ann", FILES["ann/2.jpg"]),
        (f"{archive}!/bob/x y.png", "bob", FILES["bob/x y.png"]),
        (f"{archive}!/top.txt", None, b""),
        (f"{archive}!/z/q.gif", "z", b"d"),
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_portions_neither_lose_nor_repeat_nor_reorder(tmp_path: Path, form: int, images: int, look, read_rows) -> None:
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for number in range(20):
            member = tarfile.TarInfo(f"{'d' * (5 * number)}/{number}.jpg")
            member.size = 100 * number
            archive.addfile(member, io.BytesIO(bytes([number]) * member.size))
            archive.addfile(tarfile.TarInfo(f"ümlaut{number}"))
            folder = tarfile.TarInfo(f"folder{number}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
    whole = read_rows(settings(path))
    cut = settings(path, chunk_images=images)
    portions, breaks = look(cut)
    assert not breaks
    assert [portion.num_images for portion in portions] == [images] * (40 // images) + [40 % images] * (40 % images > 0)
    assert sum(portion.num_bytes for portion in portions) == sum(100 * number for number in range(20))
    assert read_rows(cut) == whole


def test_a_large_member_ends_its_portion(tmp_path: Path, write_tar, look) -> None:
    archive = write_tar(tmp_path / "faces.tar", {f"{number}.jpg": b"x" * 600_000 for number in range(6)})
    portions, _ = look(settings(archive, chunk_bytes=1 << 20))
    assert [portion.num_images for portion in portions] == [2, 2, 2]


def test_names_that_are_not_utf8_are_shown_escaped(tmp_path: Path, write_tar, read_rows) -> None:
    archive = write_tar(tmp_path / "faces.tar", {os.fsdecode(b"n\xff/1.jpg"): b"data"})
    (row,) = read_rows(settings(archive))
    assert (row.source, row.identity, row.data) == (f"{archive}!/n\\xff/1.jpg", "n\\xff", b"data")


def test_a_name_that_leaves_the_archive_is_only_a_name(tmp_path: Path, write_tar, read_rows) -> None:
    archive = write_tar(tmp_path / "faces.tar", {"../../up/1.jpg": b"1", "/top/2.jpg": b"2"})
    assert [row.identity for row in read_rows(settings(archive))] == ["up", "top"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.tar"]


def test_an_archive_inside_an_archive_is_one_row(tmp_path: Path, write_tar, read_rows) -> None:
    inner = write_tar(tmp_path / "inner.tar", FILES)
    outer = write_tar(tmp_path / "outer.tar", {"a/inner.tar": inner.read_bytes(), "a/1.jpg": b"1"})
    assert [row.data for row in read_rows(settings(outer))] == [inner.read_bytes(), b"1"]


@pytest.mark.parametrize(
    ("pack", "name"),
    [
        (gzip.compress, "gzip"),
        (bz2.compress, "bzip2"),
        (lzma.compress, "xz"),
        (lambda data: b"\x28\xb5\x2f\xfd" + data, "zstd"),
    ],
)
def test_a_compressed_archive_is_refused_with_the_remedy(
    tmp_path: Path, write_tar, pack: Callable[[bytes], bytes], name: str
) -> None:
    path = tmp_path / "faces.tar"
    path.write_bytes(pack(write_tar(tmp_path / "plain", FILES).read_bytes()))
    with pytest.raises(UserError, match=rf"{path}.* compressed with {name} .*; unpack it to a plain tar") as caught:
        describe(settings(path))
    assert "\n" not in str(caught.value)


def test_an_archive_whose_first_name_begins_like_a_compressed_file_is_read(
    tmp_path: Path, write_tar, read_rows
) -> None:
    assert len(read_rows(settings(write_tar(tmp_path / "faces.tar", {"BZh9/1.jpg": b"1"})))) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "the file is empty"), (b"x" * 2000, "no tar header"), (b"x" * 100, "ends inside a header")],
)
def test_a_file_that_is_no_archive_is_one_broken_part(tmp_path: Path, content: bytes, words: str, look) -> None:
    path = tmp_path / "faces.tar"
    path.write_bytes(content)
    portions, (part,) = look(settings(path))
    assert not portions
    assert (part.container, part.offset, part.num_bytes) == (str(path), 0, len(content))
    assert words in part.reason
    with pytest.raises(UserError, match=rf"^source\.path={path} holds no image: {path}.*{words}"):
        describe(settings(path))


def test_a_broken_archive_spoils_no_other(tmp_path: Path, write_tar, look, read_rows) -> None:
    write_tar(tmp_path / "a.tar", FILES)
    (tmp_path / "b.tar").write_bytes(b"")
    (tmp_path / "c.tar").write_bytes(b"nonsense" * 1000)
    write_tar(tmp_path / "d.tar", FILES)
    _, breaks = look(settings(tmp_path))
    assert [(part.container, part.num_bytes) for part in breaks] == [
        (str(tmp_path / "b.tar"), 0),
        (str(tmp_path / "c.tar"), 8000),
    ]
    assert len(read_rows(settings(tmp_path))) == 2 * len(FILES)


def test_a_cut_archive_gives_what_is_whole_and_names_the_rest(tmp_path: Path, write_tar, look, read_rows) -> None:
    archive = write_tar(tmp_path / "faces.tar", FILES)
    with tarfile.open(archive) as opened:
        second = opened.getmembers()[1]
    archive.write_bytes(archive.read_bytes()[: second.offset_data + 10])
    assert [row.data for row in read_rows(settings(archive))] == [FILES["ann/1.jpg"]]
    (part,) = look(settings(archive))[1]
    assert str(part) == (
        f"{archive} is broken from byte {second.offset:,} for {BLOCK + 10} bytes: the archive ends inside ann/2.jpg"
    )


@pytest.mark.parametrize("images", [1, 2, 100])
def test_a_wiped_header_is_a_gap_in_any_portions(tmp_path: Path, write_tar, look, read_rows, images: int) -> None:
    archive = write_tar(tmp_path / "faces.tar", FILES)
    with tarfile.open(archive) as opened:
        second, third = opened.getmembers()[1:3]
    data = bytearray(archive.read_bytes())
    data[second.offset : second.offset + BLOCK] = bytes(BLOCK)
    archive.write_bytes(data)
    rest = [content for name, content in FILES.items() if name != "ann/2.jpg"]
    assert [row.data for row in read_rows(settings(archive, chunk_images=images))] == rest
    (part,) = look(settings(archive, chunk_images=images))[1]
    assert (part.offset, part.num_bytes) == (second.offset, third.offset - second.offset)


def test_an_archive_that_shrinks_after_the_scan_gives_a_row_for_every_member(
    tmp_path: Path, write_tar, look, read_rows
) -> None:
    archive = write_tar(tmp_path / "faces.tar", FILES)
    portions, _ = look(settings(archive, chunk_images=2))
    archive.write_bytes(archive.read_bytes()[:2000])
    rows = read_rows(settings(archive), portions)
    assert [row.fault for row in rows] == [None, *["unreadable"] * 4]
    archive.unlink()
    assert [row.fault for row in read_rows(settings(archive), portions)] == ["unreadable"] * 5
    assert len({row.source for row in rows}) == 5


def test_a_member_above_the_limit_is_digested_and_not_held(tmp_path: Path, write_tar, read_rows) -> None:
    archive = write_tar(tmp_path / "faces.tar", FILES)
    row = read_rows(settings(archive), max_bytes=4999)[1]
    assert (row.fault, row.data, row.num_bytes) == ("too_many_bytes", b"", 5000)
    assert row.image_id == hashlib.sha256(FILES["ann/2.jpg"]).hexdigest()


def test_identities_come_from_a_pattern_or_a_list(tmp_path: Path, write_tar, read_rows) -> None:
    archive = write_tar(tmp_path / "faces.tar", {"./s1_a.jpg": b"1", "./s2_b.jpg": b"2"})
    by_pattern = settings(archive, identity_pattern="^([^_]+)_")
    assert [row.identity for row in read_rows(by_pattern)] == ["s1", "s2"]
    names = tmp_path / "names.csv"
    names.write_text("path,identity\ns1_a.jpg,Ann\n./s2_b.jpg,Bob\n")
    assert [row.identity for row in read_rows(settings(archive, identity_list=names))] == ["Ann", "Bob"]
