"""pipelines/manifest: an artefact appears whole or not at all, and its bytes say nothing of when and where."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.manifest import (
    File,
    Manifest,
    Parent,
    content_digest,
    describe,
    fingerprint,
    is_done,
    read,
    verify,
    write,
)
from pipelines.parquet import write_table
from pipelines.settings import UserError


def _artefact(folder: Path) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.bin").write_bytes(b"content")
    manifest = Manifest(
        kind="records",
        fingerprint="f" * 16,
        parents={"source": Parent(kind="source", fingerprint="p")},
        settings={"x": 1},
        code_version="c",
        counts={"rows": 3},
        files=(describe(folder, folder / "a.bin", rows=3),),
    )
    write(folder, manifest)
    return manifest


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    manifest = _artefact(tmp_path)
    assert read(tmp_path) == manifest
    assert manifest.files[0].sha256 == hashlib.sha256(b"content").hexdigest()


def test_the_same_work_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    for name in ("here", "there"):
        _artefact(tmp_path / name)
    assert (tmp_path / "here/manifest.json").read_bytes() == (tmp_path / "there/manifest.json").read_bytes()


def test_a_folder_without_a_manifest_is_no_artefact(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"rows")
    assert not is_done(tmp_path)
    with pytest.raises(UserError, match="no finished artefact"):
        read(tmp_path)


@pytest.mark.parametrize("damage", [b"conten7", b"content more", None])
def test_an_altered_or_missing_file_is_named(tmp_path: Path, damage: bytes | None) -> None:
    _artefact(tmp_path)
    if damage is None:
        (tmp_path / "a.bin").unlink()
    else:
        (tmp_path / "a.bin").write_bytes(damage)
    with pytest.raises(UserError, match=r"a\.bin is missing or was altered"):
        verify(tmp_path)


def test_a_manifest_of_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"hello": 1}')
    with pytest.raises(UserError, match="is no manifest"):
        read(tmp_path)


def test_the_fingerprint_follows_each_part_and_not_the_order_of_keys() -> None:
    base = fingerprint("records", version=1, settings={"a": 1, "b": 2}, parents={"x": "1"})
    assert base == fingerprint("records", version=1, settings={"b": 2, "a": 1}, parents={"x": "1"})
    others = {
        fingerprint("dataset", version=1, settings={"a": 1, "b": 2}, parents={"x": "1"}),
        fingerprint("records", version=2, settings={"a": 1, "b": 2}, parents={"x": "1"}),
        fingerprint("records", version=1, settings={"a": 1, "b": 3}, parents={"x": "1"}),
        fingerprint("records", version=1, settings={"a": 1, "b": 2}, parents={"x": "2"}),
    }
    assert len(others - {base}) == 4


def test_the_content_of_a_table_is_that_of_its_files_and_of_no_others() -> None:
    def digest(**files: str) -> str:
        listed = tuple(File(path=path.replace("_", "/"), num_bytes=1, sha256=mark) for path, mark in files.items())
        made = Manifest(
            kind="decisions", fingerprint="f", parents={}, settings={}, code_version="", counts={}, files=listed
        )
        return content_digest(made, "rows")

    both = digest(rows_0="a", rows_1="b")
    assert both == digest(rows_1="b", rows_0="a")
    assert both == digest(rows_0="a", rows_1="b", rowsets_0="c", rejected_0="d")
    assert len({both, digest(rows_0="a"), digest(rows_0="b", rows_1="a"), digest(rows_0="a", rows_2="b")}) == 4


def _with_a_table(folder: Path) -> Path:
    """A finished artefact of one Parquet file; the path of that."""
    file = write_table(pa.table({"name": ["a", "b", "c"] * 100}), folder, "rows/0")
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}}
    write(folder, Manifest(kind="records", fingerprint="f", files=(file,), **content))
    return folder / file.path


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_of_a_large_artefact_the_footer_is_compared_and_the_pages_are_not(tmp_path: Path) -> None:
    path = _with_a_table(tmp_path)
    whole = path.read_bytes()
    _flip(path, 20)  # in the first page
    verify(tmp_path, most_bytes=len(whole) - 1)
    with pytest.raises(UserError, match=r"rows/0\.parquet is missing or was altered"):
        verify(tmp_path, most_bytes=len(whole))
    for position in range(-int.from_bytes(whole[-8:-4], "little") - 8, 0):
        path.write_bytes(whole)
        _flip(path, position)
        with pytest.raises(UserError, match=r"rows/0\.parquet is missing or was altered"):
            verify(tmp_path, most_bytes=0)


def test_of_a_large_artefact_a_file_without_pages_is_compared_whole(tmp_path: Path) -> None:
    _artefact(tmp_path)
    _flip(tmp_path / "a.bin", 0)
    with pytest.raises(UserError, match=r"a\.bin"):
        verify(tmp_path, most_bytes=0)


def test_only_the_named_files_are_compared(tmp_path: Path) -> None:
    _artefact(tmp_path)
    _flip(tmp_path / "a.bin", 0)
    verify(tmp_path, names=["b.bin"])
    with pytest.raises(UserError):
        verify(tmp_path, names=["a.bin", "b.bin"])


def test_no_bit_of_a_manifest_changes_unseen(tmp_path: Path) -> None:
    _artefact(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole)
        _flip(path, position)
        with pytest.raises(UserError, match=rf"{path} is no manifest, or was altered .*; remove {tmp_path} and run"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["times.txt", "measured.json"])
@pytest.mark.parametrize("is_removed", [True, False])
def test_files_of_times_are_compared_though_the_manifest_does_not_follow_them(
    tmp_path: Path, name: str, is_removed: bool
) -> None:
    manifests = []
    for seconds in ("1 s", "2 s"):
        tmp_path.joinpath("times.txt").write_text(seconds)
        manifest = _artefact(tmp_path)
        write(tmp_path, manifest.model_copy(update={"measured": ("times.txt",)}))
        manifests.append((tmp_path / "manifest.json").read_bytes())
        verify(tmp_path)
    assert manifests[0] == manifests[1]
    if is_removed:
        (tmp_path / name).unlink()
    else:
        _flip(tmp_path / name, 0)
    with pytest.raises(UserError, match=rf"{name} is missing or was altered"):
        verify(tmp_path)
