"""Lists are written by hand, tars with the standard library."""

import io
import tarfile

import pytest

from pipelines.settings import UserError
from training.evaluate.pairs_txt import load_pairs_txt, parse

TEXT = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nBob\t2\tAnn\t2\n"
STEMS = ["Ann/Ann_0001", "Ann/Ann_0002", "Bob/Bob_0001", "Bob/Bob_0002"]
PAIRS = [(0, 1), (0, 2), (2, 3), (3, 1)]


def _check(pairs):
    """Every picture holds its own stem, so a pair can be followed to its bytes."""
    shown = pairs.pictures.read(0, len(pairs.pictures))
    found = [(shown[a].decode(), shown[b].decode()) for a, b in zip(pairs.left, pairs.right, strict=True)]
    assert found == [(STEMS[a], STEMS[b]) for a, b in PAIRS]
    assert pairs.is_same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]


def _write_folder(folder, *, suffix=".jpg"):
    for stem in [*STEMS, "Cid/Cid_0001"]:
        path = folder / (stem + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stem.encode())


def _write_tar(path, members, *, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("place", ["pairs.txt", "lfw/pairs.txt"])
def test_a_list_in_the_folder_or_beside_it_is_found(tmp_path, place, suffix):
    _write_folder(tmp_path / "lfw", suffix=suffix)
    (tmp_path / place).write_text(TEXT)
    _check(load_pairs_txt(tmp_path / "lfw"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("is_list_first", [True, False])
@pytest.mark.parametrize("root", ["", "lfw/", "./deep/lfw/"])
def test_a_tar_holds_list_and_pictures_in_any_order(tmp_path, root, is_list_first, mode):
    pictures = [(f"{root}{stem}.jpg", stem.encode()) for stem in STEMS[::-1]] + [(f"{root}Cid/Cid_0001.jpg", b"unused")]
    listed = [(f"{root}pairs.txt", TEXT.encode())]
    _write_tar(tmp_path / "lfw.tar", listed + pictures if is_list_first else pictures + listed, mode=mode)
    _check(load_pairs_txt(tmp_path / "lfw.tar"))


def test_links_in_a_tar_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(tmp_path / "lfw.tar", "w") as tar:
        info = tarfile.TarInfo("lfw/pairs.txt")
        info.size = len(TEXT)
        tar.addfile(info, io.BytesIO(TEXT.encode()))
        for stem in STEMS:
            link = tarfile.TarInfo(f"lfw/{stem}.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
            tar.addfile(link)
    with pytest.raises(UserError, match="lacks 4 of 4"):
        load_pairs_txt(tmp_path / "lfw.tar")


def test_a_tar_that_was_cut_is_the_users_error(tmp_path):
    _write_tar(tmp_path / "whole.tar", [("lfw/pairs.txt", TEXT.encode()), ("lfw/Ann/Ann_0001.jpg", bytes(50_000))])
    (tmp_path / "cut.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:20_000])
    with pytest.raises(UserError, match="fetch it again"):
        load_pairs_txt(tmp_path / "cut.tar")


def test_a_missing_picture_is_named(tmp_path):
    _write_folder(tmp_path)
    (tmp_path / "pairs.txt").write_text(TEXT)
    (tmp_path / "Bob" / "Bob_0002.jpg").unlink()
    with pytest.raises(UserError, match="lacks 1 of 4 listed pictures, first Bob/Bob_0002"):
        load_pairs_txt(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "first line"),
        ("x 3\n", "first line"),
        ("2 0\n", "first line"),
        ("1 1\na 1 2\na 1 b 1\n", "1 fold"),
        (TEXT + "Ann 1 2\n", "promises 2 x 2 x 1"),
        (TEXT.replace("Ann\t1\tBob\t1", "Ann\t1\t2"), "pair 2"),
        (TEXT.replace("Ann\t1\t2", "..\t1\t2"), "plain folder name"),
        (TEXT.replace("Ann\t1\t2", "../../etc\t1\t2"), "plain folder name"),
        (TEXT.replace("Ann\t1\t2", "Ann\t1\t-2"), "a number"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(text, told):
    with pytest.raises(UserError, match=told) as error:
        parse(text, place="pairs.txt")
    assert "\n" not in str(error.value)


def test_neither_folder_nor_tar_is_refused(tmp_path):
    (tmp_path / "notes").write_text("hello")
    for name in ("notes", "absent"):
        with pytest.raises(UserError, match="neither a folder nor a tar"):
            load_pairs_txt(tmp_path / name)


def test_a_folder_or_tar_without_a_list_says_so(tmp_path):
    (tmp_path / "deep" / "lfw").mkdir(parents=True)
    _write_tar(tmp_path / "lfw.tar", [("a.jpg", b"a")])
    for path in (tmp_path / "deep" / "lfw", tmp_path / "lfw.tar"):
        with pytest.raises(UserError, match=r"no pairs\.txt in"):
            load_pairs_txt(path)
