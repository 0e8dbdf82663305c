"""pipelines/sources: what lies there is what is read, whatever the container and however the chunks are cut."""

import os
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources import SourceSettings, chunks, describe, read

FILES = {"ann/1.jpg": b"a" * 100, "ann/2.jpg": b"b" * 50, "bob/x y.png": b"c" * 7, "top.txt": b""}


def _read_all(settings: SourceSettings) -> list[tuple[str, str | None, bytes | None]]:
    return [(raw.source, raw.identity, raw.data) for chunk in chunks(settings) for raw in read(chunk)]


def test_a_folder_gives_every_file_with_its_folder_as_identity(tmp_path: Path, write_images) -> None:
    root = write_images(tmp_path / "faces", FILES)
    rows = _read_all(SourceSettings(kind="folder", path=root))
    assert rows == [
        (f"{root}/ann/1.jpg", "ann", b"a" * 100),
        (f"{root}/ann/2.jpg", "ann", b"b" * 50),
        (f"{root}/bob/x y.png", "bob", b"c" * 7),
        (f"{root}/top.txt", None, b""),
    ]


def test_a_tar_gives_the_same_bytes_and_identities_as_its_folder(tmp_path: Path, write_images, write_tar) -> None:
    root = write_images(tmp_path / "faces", FILES)
    archive = write_tar(tmp_path / "faces.tar", FILES)
    from_folder = _read_all(SourceSettings(kind="folder", path=root))
    from_tar = _read_all(SourceSettings(kind="tar", path=archive))
    assert [row[1:] for row in from_tar] == [row[1:] for row in from_folder]
    assert from_tar[0][0] == f"{archive}!/ann/1.jpg"


@pytest.mark.parametrize("images", [1, 2, 3, 100])
def test_chunks_neither_lose_nor_repeat_nor_reorder(tmp_path: Path, write_images, images: int) -> None:
    root = write_images(tmp_path / "faces", FILES)
    whole = _read_all(SourceSettings(kind="folder", path=root))
    assert _read_all(SourceSettings(kind="folder", path=root, chunk_images=images)) == whole


def test_the_listing_knows_files_and_bytes_and_notices_a_change(tmp_path: Path, write_images) -> None:
    root = write_images(tmp_path / "faces", FILES)
    settings = SourceSettings(kind="folder", path=root)
    before = describe(settings)
    assert (before.num_files, before.num_bytes) == (4, 157)
    os.utime(root / "ann/1.jpg", ns=(1, 1))
    assert describe(settings).digest != before.digest


def test_names_that_are_not_utf8_are_read_and_shown_escaped(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/n\xff"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/1.jpg")).write_bytes(b"data")
    ((source, identity, data),) = _read_all(SourceSettings(kind="folder", path=tmp_path))
    assert source.endswith("n\\xff/1.jpg")
    assert identity == "n\\xff"
    assert data == b"data"


def test_a_file_that_vanished_after_the_listing_is_still_a_row(tmp_path: Path, write_images) -> None:
    root = write_images(tmp_path / "faces", FILES)
    planned = list(chunks(SourceSettings(kind="folder", path=root)))
    (root / "ann/2.jpg").unlink()
    rows = [raw for chunk in planned for raw in read(chunk)]
    assert [raw.data is None for raw in rows] == [False, True, False, False]


def test_a_circle_of_links_is_not_followed(tmp_path: Path, write_images) -> None:
    root = write_images(tmp_path / "faces", FILES)
    (root / "ann" / "again").symlink_to(root, target_is_directory=True)
    assert describe(SourceSettings(kind="folder", path=root)).num_files == 4


@pytest.mark.parametrize(
    ("kind", "make", "words"),
    [
        ("folder", lambda path: None, "does not exist"),
        ("folder", lambda path: path.mkdir(), "holds no file"),
        ("folder", lambda path: path.write_bytes(b"x"), "no folder"),
        ("tar", lambda path: path.mkdir(), "no file"),
        ("tar", lambda path: path.write_bytes(b"x" * 2000), "no whole, uncompressed tar"),
    ],
)
def test_a_wrong_path_is_one_clear_line(tmp_path: Path, kind, make, words: str) -> None:
    path = tmp_path / "source"
    make(path)
    with pytest.raises(UserError, match=words) as caught:
        describe(SourceSettings(kind=kind, path=path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tar_cut_in_the_middle_of_a_member_is_refused(tmp_path: Path, write_tar) -> None:
    archive = write_tar(tmp_path / "faces.tar", {"ann/1.jpg": b"a" * 5000, "ann/2.jpg": b"b" * 5000})
    archive.write_bytes(archive.read_bytes()[:9000])
    with pytest.raises(UserError, match="no whole"):
        describe(SourceSettings(kind="tar", path=archive))
