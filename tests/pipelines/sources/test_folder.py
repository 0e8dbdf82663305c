"""pipelines/sources/folder: every file is a row, whatever its name, in a fixed order, and however portions are cut."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.settings import UserError
from pipelines.sources import folder
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

FILES = {"ann/1.jpg": b"a" * 100, "ann/2.jpg": b"b" * 50, "bob/x y.png": b"c" * 7, "top.txt": b""}


def source(path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": "folder", "path": str(path), **values})


@pytest.fixture
def root(tmp_path: Path, write_images) -> Path:
    root: Path = write_images(tmp_path / "faces", FILES)
    return root


def test_every_file_is_a_row_with_its_folder_as_identity(root: Path, read_rows) -> None:
    assert [(row.source, row.identity, row.data) for row in read_rows(source(root))] == [
        (f"{root}/ann/1.jpg", "ann", b"a" * 100),
        (f"{root}/ann/2.jpg", "ann", b"b" * 50),
        (f"{root}/bob/x y.png", "bob", b"c" * 7),
        (f"{root}/top.txt", None, b""),
    ]


def test_the_order_is_that_of_the_names_and_not_of_the_disk(tmp_path: Path, read_rows) -> None:
    names = [f"{letter}{number}/{number}.jpg" for number in range(20) for letter in "zay"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [row.source.removeprefix(f"{tmp_path}/") for row in read_rows(source(tmp_path))]
    assert found == sorted(names)


@pytest.mark.parametrize("images", [1, 2, 3, 100])
def test_portions_neither_lose_nor_repeat_nor_reorder(root: Path, images: int, look, read_rows) -> None:
    cut = source(root, chunk_images=images)
    assert [portion.num_images for portion in look(cut)[0]] == [images] * (4 // images) + [4 % images] * (
        4 % images > 0
    )
    assert read_rows(cut) == read_rows(source(root))


def test_names_that_are_not_utf8_are_read_and_shown_escaped(tmp_path: Path, read_rows) -> None:
    for name in (b"n\xff/1\n.jpg", b"n\xff/\\.jpg"):
        os.makedirs(os.path.dirname(os.fsencode(tmp_path) + b"/" + name), exist_ok=True)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    assert [(row.source, row.identity, row.data) for row in read_rows(source(tmp_path))] == [
        (f"{tmp_path}/n\\xff/1\n.jpg", "n\\xff", b"n\xff/1\n.jpg"),
        (f"{tmp_path}/n\\xff/\\.jpg", "n\\xff", b"n\xff/\\.jpg"),
    ]


@pytest.mark.parametrize("images", [1, 100])
def test_a_file_that_vanished_after_the_scan_is_still_a_row(root: Path, images: int, look, read_rows) -> None:
    portions, _ = look(source(root, chunk_images=images))
    (root / "ann/2.jpg").unlink()
    (root / "top.txt").unlink()
    (root / "top.txt").mkdir()
    rows = read_rows(source(root), portions)
    assert [(row.source, row.fault) for row in rows] == [
        (f"{root}/ann/1.jpg", None),
        (f"{root}/ann/2.jpg", "unreadable"),
        (f"{root}/bob/x y.png", None),
        (f"{root}/top.txt", "unreadable"),
    ]


def test_a_link_to_a_file_is_that_file_and_one_to_a_folder_is_not_followed(root: Path, read_rows) -> None:
    (root / "ann/again").symlink_to(root, target_is_directory=True)
    (root / "bob/link.jpg").symlink_to("../ann/1.jpg")
    rows = {row.source.removeprefix(f"{root}/"): row.data for row in read_rows(source(root))}
    assert rows == FILES | {"bob/link.jpg": b"a" * 100}


def test_a_link_that_leads_nowhere_or_in_circles_is_a_row_that_cannot_be_read(root: Path, read_rows) -> None:
    (root / "ann/lost.jpg").symlink_to("/nowhere/at/all.jpg")
    (root / "ann/round.jpg").symlink_to("round.jpg")
    faults = {row.source.removeprefix(f"{root}/"): row.fault for row in read_rows(source(root))}
    assert faults == {**dict.fromkeys(FILES), "ann/lost.jpg": "unreadable", "ann/round.jpg": "unreadable"}
    assert describe(source(root)).num_files == 6


def test_what_is_no_file_is_no_row(root: Path, read_rows, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "ann/pipe.jpg")
    monkeypatch.chdir(root)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("ann/socket.jpg")
        assert len(read_rows(source(root))) == len(FILES)


def test_a_pipe_in_the_place_of_a_listed_file_is_not_waited_for(root: Path, look, read_rows) -> None:
    portions, _ = look(source(root))
    (root / "ann/2.jpg").unlink()
    os.mkfifo(root / "ann/2.jpg")
    assert [row.fault for row in read_rows(source(root), portions)] == [None, "unreadable", None, None]


def test_a_link_out_of_the_source_in_the_place_of_a_listed_file_is_not_followed(
    root: Path, tmp_path: Path, look, read_rows
) -> None:
    portions, _ = look(source(root))
    file = root / "ann/2.jpg"
    facts = file.stat()
    file.rename(tmp_path / "secret.jpg")
    file.symlink_to(tmp_path / "secret.jpg")
    assert file.stat().st_mtime_ns == facts.st_mtime_ns
    assert [row.fault for row in read_rows(source(root), portions)] == [None, "unreadable", None, None]
    rows = read_rows(source(root, links_out="follow"), portions)
    assert [row.fault for row in rows] == [None] * 4


def test_a_link_out_of_the_source_in_the_place_of_a_listed_folder_is_not_followed(
    root: Path, tmp_path: Path, look, read_rows
) -> None:
    portions, _ = look(source(root))
    (root / "ann").rename(tmp_path / "away")
    (root / "ann").symlink_to(tmp_path / "away")
    assert [row.fault for row in read_rows(source(root), portions)] == ["unreadable", "unreadable", None, None]


@pytest.mark.parametrize("change", ["size", "time", "both", "replaced"])
def test_a_file_that_was_written_after_the_scan_is_not_read(root: Path, change: str, look, read_rows) -> None:
    portions, _ = look(source(root))
    file = root / "ann/2.jpg"
    facts = file.stat()
    if change == "replaced":
        (root / "new").write_bytes(b"n" * 50)
        (root / "new").rename(file)
    file.write_bytes(b"n" * (51 if change in ("size", "both") else 50))
    kept = facts.st_mtime_ns if change == "size" else facts.st_mtime_ns + 1
    os.utime(file, ns=(facts.st_atime_ns, kept))
    rows = read_rows(source(root), portions)
    assert [(row.fault, row.data == b"") for row in rows] == [
        (None, False),
        ("changed", True),
        (None, False),
        (None, True),
    ]


def test_a_file_that_is_written_while_it_is_read_is_not_taken(root: Path, look, read_rows, monkeypatch) -> None:
    portions, _ = look(source(root))
    take = folder.take

    def and_write(stream, num_bytes, **values):
        image = take(stream, num_bytes, **values)
        if image.source.endswith("1.jpg"):
            with open(root / "ann/1.jpg", "ab") as late:
                late.write(b"more")
        return image

    monkeypatch.setattr(folder, "take", and_write)
    assert [row.fault for row in read_rows(source(root), portions)] == ["changed", None, None, None]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A file in more folders than Python recurses, which is why nobody else can remove them."""
    folders = [Path(tmp_path, *["d"] * level) for level in range(1, 1501)]
    for one in folders:
        one.mkdir()
    file = folders[-1] / "1.jpg"
    file.write_bytes(b"x")
    yield tmp_path
    file.unlink()
    for one in reversed(folders):
        one.rmdir()


def test_a_tree_of_any_depth_is_walked(deep: Path, read_rows) -> None:
    assert [row.data for row in read_rows(source(deep))] == [b"x"]


def test_an_image_above_the_limit_is_digested(root: Path, read_rows) -> None:
    rows = read_rows(source(root), max_bytes=60)
    assert [(row.fault, row.num_bytes) for row in rows] == [("too_many_bytes", 100), (None, 50), (None, 7), (None, 0)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "is no folder; name one, or choose source=tar, list, recordio or parquet"),
        (lambda path: path.write_bytes(b"x"), "is no folder"),
        (lambda path: path.mkdir(), "holds no image; name a folder with images in it"),
        (lambda path: (path / "empty").mkdir(parents=True), "holds no image"),
    ],
)
def test_a_wrong_path_is_one_clear_line(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "set")
    with pytest.raises(UserError, match=words) as caught:
        describe(source(tmp_path / "set"))
    assert str(caught.value).startswith(f"source.path={tmp_path / 'set'} ")
    assert "\n" not in str(caught.value)
