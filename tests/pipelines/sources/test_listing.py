"""pipelines/sources/listing: what is told before the pass is what the pass finds; another source has another mark."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.settings import UserError
from pipelines.sources import listing
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

FILES = {"ann/1.jpg": b"a" * 100, "ann/2.jpg": b"b" * 50, "bob/x y.png": b"c" * 7, "top.txt": b""}
KINDS = ("folder", "list", "tar", "webdataset", "recordio", "parquet")


def source(kind: str, path: Path | str, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": kind, "path": str(path), **values})


@pytest.fixture
def made(tmp_path: Path, write_images, write_tar, write_rec, to_record) -> Callable[[str], SourceSettings]:
    """The same four pictures as a source of any kind."""

    def make(kind: str) -> SourceSettings:
        root = write_images(tmp_path / "faces", FILES)
        if kind == "list":
            (tmp_path / "l.txt").write_text("".join(f"faces/{name}\n" for name in FILES))
            return source("list", tmp_path / "l.txt")
        if kind == "recordio":
            write_rec(tmp_path / "faces.rec", [to_record(1, data) for data in FILES.values()])
            return source(kind, tmp_path / "faces.rec")
        if kind == "parquet":
            pq.write_table(pa.table({"image": list(FILES.values())}), tmp_path / "faces.parquet", compression="none")
            return source(kind, tmp_path / "faces.parquet")
        if kind == "folder":
            return source(kind, root)
        names = FILES if kind == "tar" else {name.replace(".txt", ".bmp"): data for name, data in FILES.items()}
        return source(kind, write_tar(tmp_path / f"{kind}.tar", names))

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_source_is_counted_to_the_image(kind: str, made) -> None:
    told = describe(made(kind))
    assert (told.num_files, told.is_exact) == (4, True)
    if kind not in ("list", "parquet"):  # a list tells from the sizes of some, Parquet from what it stores beside them
        assert told.num_bytes == 157


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_stays_while_the_source_does(kind: str, made) -> None:
    settings = made(kind)
    assert describe(settings).digest == describe(settings).digest


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_the_digest_changes_with_the_time_of_the_file(kind: str, made) -> None:
    settings = made(kind)
    before, times = describe(settings).digest, os.stat(settings.path)
    os.utime(settings.path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert describe(settings).digest != before


@pytest.mark.parametrize("kind", ["list", "tar", "webdataset"])
def test_the_digest_changes_with_the_size_of_the_file(kind: str, made) -> None:
    settings = made(kind)
    before, times = describe(settings).digest, os.stat(settings.path)
    with open(settings.path, "ab") as stream:
        stream.write(b"\n" if kind == "list" else bytes(512))
    os.utime(settings.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert describe(settings).digest != before


@pytest.mark.parametrize("change", ["touch", "grow", "rename", "remove", "add"])
def test_the_digest_of_a_folder_changes_with_any_file_of_it(change: str, made) -> None:
    settings = made("folder")
    before, path = describe(settings).digest, Path(settings.path, "ann/1.jpg")
    times = path.stat()
    if change == "touch":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    elif change == "grow":
        path.write_bytes(b"a" * 101)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "rename":
        path.rename(path.with_name("3.jpg"))
    elif change == "remove":
        path.unlink()
    else:
        path.with_name("4.jpg").touch()
    assert describe(settings).digest != before


def test_a_folder_copied_with_its_times_has_the_same_digest(made, tmp_path: Path) -> None:
    settings = made("folder")
    shutil.copytree(settings.path, tmp_path / "copy")
    assert describe(source("folder", tmp_path / "copy")).digest == describe(settings).digest


def test_another_file_in_a_set_changes_the_digest(made, tmp_path: Path) -> None:
    shutil.copy(made("tar").path, tmp_path / "faces" / "1.tar")
    before = describe(source("tar", tmp_path / "faces"))
    shutil.copy(tmp_path / "faces" / "1.tar", tmp_path / "faces" / "2.tar")
    after = describe(source("tar", tmp_path / "faces"))
    assert (before.num_files, after.num_files) == (4, 8)
    assert before.digest != after.digest


def test_another_list_of_identities_changes_the_digest(made, tmp_path: Path) -> None:
    who = tmp_path / "who.csv"
    who.write_text("path,identity\nann/1.jpg,ann\n")
    settings = source("folder", made("folder").path, identity_list=who)
    before = describe(settings).digest
    assert before != describe(made("folder")).digest
    who.write_text("path,identity\nann/1.jpg,bob\n")
    os.utime(who, ns=(1, 1))
    assert describe(settings).digest != before
    who.unlink()
    with pytest.raises(UserError, match=rf"^source\.identity_list={who} cannot be read \(No such file"):
        describe(settings)


@pytest.mark.parametrize("kind", ["tar", "webdataset", "recordio"])
@pytest.mark.parametrize("num_files", [1, 4])
def test_beyond_the_counted_images_the_rest_is_told_from_the_bytes_within_a_tenth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, num_files: int, write_rec, to_record
) -> None:
    sizes = [2000 + 37 * (number * 7919 % 100) for number in range(8000)]
    for place in range(num_files):
        mine = sizes[place::num_files]
        if kind == "recordio":
            write_rec(tmp_path / f"{place}.rec", [to_record(0, bytes(size)) for size in mine])
            continue
        with tarfile.open(tmp_path / f"{place}.tar", "w") as archive:
            for number, size in enumerate(mine):
                member = tarfile.TarInfo(f"{number}.jpg")
                member.size = size
                archive.addfile(member, io.BytesIO(bytes(size)))
    exact = describe(source(kind, tmp_path))
    assert (exact.num_files, exact.num_bytes, exact.is_exact) == (8000, sum(sizes), True)
    monkeypatch.setattr(listing, "_COUNTED_IMAGES", 1000)
    told = describe(source(kind, tmp_path))
    assert not told.is_exact
    assert told.num_files == pytest.approx(8000, rel=0.1)
    assert told.num_bytes == pytest.approx(sum(sizes), rel=0.1)
    assert told.digest == exact.digest


def test_parquet_is_told_from_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(10):
        images = [bytes([place]) * (900 + number % 200) for number in range(300)]
        pq.write_table(pa.table({"image": images}), tmp_path / f"{place}.parquet", row_group_size=100)
    exact = describe(source("parquet", tmp_path))
    assert (exact.num_files, exact.is_exact) == (3000, True)
    monkeypatch.setattr(listing, "_COUNTED_IMAGES", 500)
    told = describe(source("parquet", tmp_path))
    assert not told.is_exact
    assert told.num_files == pytest.approx(3000, rel=0.1)
    assert told.num_bytes == pytest.approx(exact.num_bytes, rel=0.1)


@pytest.mark.parametrize("kind", ["tar", "webdataset", "recordio", "parquet"])
def test_a_source_that_is_broken_all_through_says_how(kind: str, tmp_path: Path) -> None:
    suffix = {"webdataset": "tar", "recordio": "rec"}.get(kind, kind)
    (tmp_path / f"a.{suffix}").write_bytes(b"nonsense" * 100)
    with pytest.raises(UserError, match=rf"^source\.path={tmp_path} holds no image: {tmp_path}/a\.{suffix} is broken"):
        describe(source(kind, tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_content_verified_a_change_of_the_same_size_and_time_is_seen(kind: str, made, tmp_path: Path) -> None:
    settings = made(kind)
    by_content = settings.model_copy(update={"verify": "content"})
    by_time, before = describe(settings), describe(by_content)
    assert (before.num_files, before.is_exact) == (4, True)
    assert describe(by_content).digest == before.digest != by_time.digest
    path = tmp_path / "faces/ann/1.jpg" if kind in ("folder", "list") else Path(settings.path)
    times, data = path.stat(), bytearray(path.read_bytes())
    data[data.index(b"aaaa")] = ord("b")
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert describe(settings).digest == by_time.digest
    assert describe(by_content).digest != before.digest


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_content_verified_another_time_is_no_change(kind: str, made) -> None:
    settings = made(kind).model_copy(update={"verify": "content"})
    before = describe(settings)
    for path in [Path(settings.path), *Path(settings.path).rglob("*")]:
        os.utime(path, (1, 1))
    assert describe(settings) == before


def test_with_the_content_verified_names_and_identities_count(made, tmp_path: Path) -> None:
    settings = made("folder").model_copy(update={"verify": "content"})
    before = describe(settings).digest
    (Path(settings.path) / "bob").rename(Path(settings.path) / "bert")
    renamed = describe(settings).digest
    assert renamed != before
    (tmp_path / "who.csv").write_text("path,identity\nann/1.jpg,Ann\n")
    assert describe(settings.model_copy(update={"identity_list": tmp_path / "who.csv"})).digest != renamed


def test_what_is_passed_over_is_in_the_listing_and_not_in_its_digest(made) -> None:
    settings = made("folder")
    before = describe(settings)
    os.mkfifo(Path(settings.path) / "ann/pipe.jpg")
    after = describe(settings)
    assert after.passed_over.counts == {"devices_pipes_and_sockets": 1}
    assert (after.digest, after.num_files) == (before.digest, before.num_files)


def test_what_lies_beside_archives_and_in_them_is_in_the_listing(tmp_path: Path, write_tar) -> None:
    (tmp_path / "set").mkdir()
    write_tar(tmp_path / "set/a.tar", FILES)
    with tarfile.open(tmp_path / "set/a.tar", "a") as archive:
        link = tarfile.TarInfo("gone.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "nowhere.jpg"
        archive.addfile(link)
    (tmp_path / "set/b.tar.gz").write_bytes(b"x")
    found = describe(source("tar", tmp_path / "set"))
    assert found.num_files == 4
    assert found.passed_over.note() == (
        f"2 files passed over: 1 compressed files (the first {tmp_path}/set/b.tar.gz; unpack them), "
        f"1 links to nothing (the first {tmp_path}/set/a.tar!/gone.jpg)"
    )
    assert describe(source("tar", tmp_path / "set")) == found


@pytest.mark.parametrize(("kind", "name"), [("tar", "a.tgz"), ("recordio", "a.rec.gz"), ("parquet", "a.parquet.zst")])
def test_a_source_of_nothing_but_compressed_files_is_refused_with_the_remedy(
    tmp_path: Path, kind: str, name: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    words = rf"^source\.path={tmp_path} holds no image: 1 file passed over: .*{name}; unpack them\); name a {kind}"
    with pytest.raises(UserError, match=words):
        describe(source(kind, tmp_path))


def test_a_pipe_for_a_list_of_identities_is_not_waited_for(made, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "who.csv")
    with pytest.raises(UserError, match=rf"^source\.identity_list={tmp_path}/who\.csv is no file; name a list"):
        describe(made("folder").model_copy(update={"identity_list": tmp_path / "who.csv"}))


def test_a_folder_that_cannot_be_listed_any_more_changes_the_digest(made, as_nobody) -> None:
    settings = made("folder")
    locked = Path(settings.path) / "locked"
    locked.mkdir()
    before = describe(settings).digest
    locked.chmod(0)
    with as_nobody():
        assert describe(settings).digest != before
    locked.chmod(0o755)
    assert describe(settings).digest == before
