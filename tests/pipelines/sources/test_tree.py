"""pipelines/sources/tree: every entry of a folder is a file or is counted, whatever it is and wherever links lead."""

import os
import random
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.sources import tree
from pipelines.sources.entry import Break, PassedOver
from pipelines.sources.tree import FoundFile, is_below, walk

Walked = tuple[set[str], dict[str, str], list[str]]


def walked(root: Path, *, follows_out: bool = False) -> Walked:
    """Names of files, reasons of what is passed over, and broken parts; nothing is named twice."""
    files, passed, broken = [], {}, []
    for one in walk(str(root), follows_out=follows_out):
        if isinstance(one, FoundFile):
            files.append(os.fsdecode(one.name))
        elif isinstance(one, PassedOver):
            assert one.container not in passed
            passed[one.container] = one.reason
        else:
            broken.append(str(one))
    assert len(set(files)) == len(files)
    return set(files), {name.removeprefix(f"{root}/"): reason for name, reason in passed.items()}, broken


@pytest.fixture
def root(tmp_path: Path, write_images) -> Path:
    write_images(tmp_path / "away", {"cid/3.jpg": b"3", "cid/deep/4.jpg": b"4", "5.jpg": b"5"})
    made: Path = write_images(tmp_path / "faces", {"ann/1.jpg": b"1", "bob/2.jpg": b"2", ".hidden/.0.jpg": b"0"})
    return made


def test_links_within_the_folder_are_taken_once(root: Path) -> None:
    (root / "ann/two.jpg").symlink_to("../bob/2.jpg")
    (root / "ann/chain.jpg").symlink_to("two.jpg")
    (root / "bob/absolute.jpg").symlink_to(root / "ann/1.jpg")
    (root / "carl").symlink_to("ann")
    (root / "ann/loop").symlink_to("..")
    (root / "ann/self").symlink_to(".")
    os.link(root / "ann/1.jpg", root / "bob/hard.jpg")
    files, passed, broken = walked(root)
    own = {"ann/1.jpg", "bob/2.jpg", ".hidden/.0.jpg", "bob/hard.jpg"}
    assert files == own | {"ann/two.jpg", "ann/chain.jpg", "bob/absolute.jpg"}
    assert passed == dict.fromkeys(["carl", "ann/loop", "ann/self"], "links_to_folders")
    assert not broken
    assert walked(root, follows_out=True) == (files, passed, broken)


def test_links_out_of_the_folder_are_refused_and_named(root: Path) -> None:
    (root / "ann/out.jpg").symlink_to("../../away/5.jpg")
    (root / "cid").symlink_to("../away/cid")
    (root / "up").symlink_to("..")
    (root / "ann/by_way.jpg").symlink_to("../up/away/5.jpg")
    (root / "ann/home.jpg").symlink_to("../up/faces/bob/2.jpg")  # out and in again
    (root / "neighbour").symlink_to(f"{root}2")
    Path(f"{root}2").mkdir()
    files, passed, _ = walked(root)
    assert files == {"ann/1.jpg", "bob/2.jpg", ".hidden/.0.jpg", "ann/home.jpg"}
    assert passed == dict.fromkeys(
        ["ann/out.jpg", "cid", "up", "ann/by_way.jpg", "neighbour"], "links_out_of_the_source"
    )


def test_links_out_of_the_folder_are_taken_once_where_that_is_asked_for(root: Path) -> None:
    (root / "ann/out.jpg").symlink_to("../../away/5.jpg")
    (root / "cid").symlink_to("../away/cid")
    (root / "cid2").symlink_to("../away/cid")
    (root / "deep").symlink_to("../away/cid/deep")
    (root / "../away/back").symlink_to("../faces/ann")
    (root / "../away/cid/round").symlink_to("..")
    files, passed, _ = walked(root, follows_out=True)
    own = {"ann/1.jpg", "bob/2.jpg", ".hidden/.0.jpg"}
    assert files == own | {"ann/out.jpg", "cid/3.jpg", "cid/deep/4.jpg", "cid/round/5.jpg"}
    assert passed == {
        "cid2": "folders_taken_under_another_name",
        "deep": "folders_taken_under_another_name",
        "cid/round/cid": "folders_taken_under_another_name",
        "cid/round/back": "links_to_folders",
    }


def test_a_folder_above_the_root_does_not_repeat_it(root: Path) -> None:
    (root / "zzz").symlink_to("..")
    (root / "aaa").symlink_to("..")
    files, passed, _ = walked(root, follows_out=True)
    own = {"ann/1.jpg", "bob/2.jpg", ".hidden/.0.jpg"}
    assert files == own | {"aaa/away/cid/3.jpg", "aaa/away/cid/deep/4.jpg", "aaa/away/5.jpg"}
    assert passed == dict.fromkeys(["aaa/faces", "zzz"], "folders_taken_under_another_name")


def test_the_folder_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("faces")
    (root / "ann/two.jpg").symlink_to("../bob/2.jpg")
    assert walked(tmp_path / "link") == walked(root)


def test_folders_without_permission_are_broken_parts_and_their_names_unreadable_files(root: Path, as_nobody) -> None:
    (root / "ann").chmod(0o000)
    (root / "bob").chmod(0o444)
    with as_nobody():
        files, passed, broken = walked(root)
    assert files == {".hidden/.0.jpg", "bob/2.jpg"}
    assert not passed
    assert broken == [f"{root}/ann: the folder cannot be listed (Permission denied)"]


def _files(root: Path) -> list[Path]:
    return sorted(one for one in root.rglob("*") if one.is_file() and not one.is_symlink())


def _folders(root: Path) -> list[Path]:
    return [root, *sorted(one for one in root.rglob("*") if one.is_dir() and not one.is_symlink())]


def _socket(path: Path) -> None:
    at = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
    os.chdir(at)


Make = Callable[[Path, Path, random.Random], object]
# How an entry is made (its path, the root, a source of chance), and what it counts as.
KINDS: list[tuple[Make, str]] = [
    (lambda path, root, rng: path.write_bytes(b"x" * rng.randrange(9)), "row"),
    (lambda path, root, rng: os.link(rng.choice(_files(root)), path), "row"),
    (lambda path, root, rng: path.symlink_to(os.path.relpath(rng.choice(_files(root)), path.parent)), "row"),
    (lambda path, root, rng: path.symlink_to("nowhere"), "row"),
    (lambda path, root, rng: path.symlink_to(path.name), "row"),
    (lambda path, root, rng: path.symlink_to(root.parent / "away/0.jpg"), tree.LINKS_OUT),
    (lambda path, root, rng: path.symlink_to(root.parent / "away"), tree.LINKS_OUT),
    (lambda path, root, rng: path.symlink_to(rng.choice(_folders(root))), tree.LINKS_TO_FOLDERS),
    (lambda path, root, rng: os.mkfifo(path), tree.NO_FILES),
    (lambda path, root, rng: _socket(path), tree.NO_FILES),
    (lambda path, root, rng: path.mkdir(), "folder"),
    (lambda path, root, rng: path.mkdir(), "folder"),
]
NAMES = ["", ".jpg", "\udcff", "ü ", "\n", "'\"{a}"]


@pytest.mark.parametrize("seed", range(30))
def test_every_entry_of_any_tree_is_accounted_for(tmp_path: Path, seed: int, write_images) -> None:
    rng = random.Random(seed)
    root = write_images(tmp_path / "faces", {"first.jpg": b"1"})
    write_images(tmp_path / "away", {"0.jpg": b"0"})
    expected = Counter({"row": 1})
    for number in range(rng.randrange(1, 80)):
        make, kind = rng.choice(KINDS)
        name = "." * rng.randrange(2) + str(number) + rng.choice(NAMES)
        make(rng.choice(_folders(root)) / name, root, rng)
        expected[kind] += 1
    del expected["folder"]
    found = list(walk(str(root), follows_out=False))
    assert not [one for one in found if isinstance(one, Break)]
    assert Counter(one.reason if isinstance(one, PassedOver) else "row" for one in found) == expected
    assert len(found) == sum(not one.is_dir() or one.is_symlink() for one in root.rglob("*"))
    followed = Counter(map(type, walk(str(root), follows_out=True)))
    assert followed[FoundFile] + followed[PassedOver] >= expected.total()


def test_a_path_lies_below_a_folder_by_its_parts() -> None:
    assert is_below(b"/a/b", b"/a/b")
    assert is_below(b"/a/b/c", b"/a/b")
    assert is_below(b"/a", b"/")
    assert not is_below(b"/a/bc", b"/a/b")
    assert not is_below(b"/a", b"/a/b")
