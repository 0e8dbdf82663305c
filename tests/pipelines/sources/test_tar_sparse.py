"""pipelines/sources/tar_sparse: what GNU tar stores without its zeros is read as the file was, in all four forms."""

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources.settings import SOURCES
from pipelines.sources.tar_headers import Gap, Member, Other, walk
from pipelines.sources.tar_sparse import Expanded, Sparse

FORMS = {
    "old GNU": ["--format=gnu"],
    "0.0": ["--format=pax", "--sparse-version=0.0"],
    "0.1": ["--format=pax", "--sparse-version=0.1"],
    "1.0": ["--format=pax", "--sparse-version=1.0"],
}


def packed(folder: Path, form: str, names: list[str]) -> Path:
    path = folder / "faces.tar"
    subprocess.run(["tar", "-C", folder, "--sparse", *FORMS[form], "-cf", path, *names], check=True)
    return path


def with_holes(path: Path, num_pieces: int, seed: int) -> bytes:
    """Write a file of pieces of data between holes of whole pages, as file systems make them."""
    rng = np.random.default_rng(seed)
    page = 1 << 16
    with path.open("wb") as stream:
        for piece in range(num_pieces):
            stream.seek(page * (2 * piece + 1))
            stream.write(rng.integers(1, 256, int(rng.integers(1, 9000)), dtype=np.uint8).tobytes())
        stream.truncate(page * (2 * num_pieces + 1) + 17)
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_pieces", [0, 1, 3, 4, 5, 25, 26, 60])
def test_a_sparse_member_is_read_as_the_file_was(tmp_path: Path, form: str, num_pieces: int, read_rows, look) -> None:
    (tmp_path / "before.bmp").write_bytes(b"1" * 700)
    (tmp_path / "after.bmp").write_bytes(b"2" * 100)
    content = with_holes(tmp_path / "sparse.bmp", num_pieces, num_pieces)
    archive = packed(tmp_path, form, ["before.bmp", "sparse.bmp", "after.bmp"])
    assert archive.stat().st_size < len(content) + 10240, "the file system made no holes"
    settings = SOURCES.validate({"kind": "tar", "path": str(archive)})
    assert look(settings)[1] == []
    rows = read_rows(settings, max_bytes=1 << 24)
    assert [(row.source.rpartition("/")[2], row.data) for row in rows] == [
        ("before.bmp", b"1" * 700),
        ("sparse.bmp", content),
        ("after.bmp", b"2" * 100),
    ]
    with tarfile.open(archive) as opened:
        stored = opened.extractfile("sparse.bmp")
        assert stored is not None
        assert stored.read() == content


@pytest.mark.parametrize("form", FORMS)
def test_one_above_the_limit_is_digested_in_pieces(tmp_path: Path, form: str, read_rows) -> None:
    content = with_holes(tmp_path / "sparse.bmp", 2, 7)
    settings = SOURCES.validate({"kind": "tar", "path": str(packed(tmp_path, form, ["sparse.bmp"]))})
    (small,), (whole,) = read_rows(settings, max_bytes=100), read_rows(settings, max_bytes=len(content))
    assert (small.fault, small.num_bytes, small.image_id) == ("too_many_bytes", len(content), whole.image_id)


@pytest.mark.parametrize("form", FORMS)
def test_damage_of_the_map_is_named_and_nothing_else_is_lost(tmp_path: Path, form: str) -> None:
    with_holes(tmp_path / "sparse.bmp", 30, 3)
    (tmp_path / "after.bmp").write_bytes(b"2" * 100)
    data = packed(tmp_path, form, ["sparse.bmp", "after.bmp"]).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 4096, 300):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        stream = io.BytesIO(bytes(damaged))
        found = list(walk(stream, 0, len(data), len(data)))
        assert any(isinstance(one, Member) and one.name == b"after.bmp" for one in found) or any(
            isinstance(one, Gap) for one in found
        )
        for one in found:
            if isinstance(one, Member) and one.sparse is not None:
                assert len(Expanded(stream, one.sparse).read(one.num_bytes)) == one.num_bytes


def test_a_map_that_declares_more_than_any_picture_has_is_passed_over() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        bomb = tarfile.TarInfo("bomb.bmp")
        bomb.pax_headers = {"GNU.sparse.size": str(10**18), "GNU.sparse.map": ""}
        archive.addfile(bomb)
    data = stream.getvalue()
    assert list(walk(io.BytesIO(data), 0, len(data), len(data))) == [
        Other(b"bomb.bmp", "sparse_members_without_a_valid_map")
    ]


def test_a_stream_of_pieces_is_the_same_however_it_is_read() -> None:
    sparse = Sparse(20, ((2, 3), (5, 1), (10, 4)), data=1)
    stored, whole = io.BytesIO(b"#abcdefgh#"), b"\0\0abcd\0\0\0\0efgh\0\0\0\0\0\0"
    for size in range(1, 25):
        stream = Expanded(stored, sparse)
        pieces = list(iter(lambda: stream.read(size), b""))  # noqa: B023
        assert b"".join(pieces) == whole
        assert all(len(piece) == size for piece in pieces[:-1])
    with pytest.raises(OSError, match="ends inside a sparse member"):
        Expanded(io.BytesIO(b"#ab"), sparse).read(20)


@pytest.mark.parametrize(
    ("pieces", "content"),
    [
        ("0,3,3,2,9,1", b"abcde\0\0\0\0f\0\0"),
        ("0,3,2,2,9,1", None),  # the second begins inside the first
        ("0,3,3,2,12,1", None),  # the third ends behind the file
        ("0,3,3,2,9,2", None),  # more than is stored
        ("0,3,3", None),
        ("0,3,-1,2", None),
    ],
)
def test_a_map_is_valid_or_the_member_is_passed_over(pieces: str, content: bytes | None) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("made-up/1.bmp")
        member.size = 6
        member.pax_headers = {"GNU.sparse.size": "12", "GNU.sparse.map": pieces, "GNU.sparse.name": "1.bmp"}
        archive.addfile(member, io.BytesIO(b"abcdef"))
    size = len(stream.getvalue())
    (found,) = walk(stream, 0, size, size)
    if content is None:
        assert found == Other(b"1.bmp", "sparse_members_without_a_valid_map")
        return
    assert isinstance(found, Member)
    assert found.sparse is not None
    assert (found.name, Expanded(stream, found.sparse).read(found.num_bytes)) == (b"1.bmp", content)
