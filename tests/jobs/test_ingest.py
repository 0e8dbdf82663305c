"""The job of ingest on broken sources: refused by name and with a remedy, or counted and noted, never passed over."""

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import ingest
from jobs.entry import run_job
from jobs.settings import RunSettings, freeze
from pipelines.manifest import Manifest, read
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, IngestSettings

pytestmark = pytest.mark.spark

NUM_IMAGES = 40


@pytest.fixture(autouse=True)
def session(share_session: Callable[..., None]) -> None:
    share_session(ingest)


@pytest.fixture(scope="session")
def images() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (NUM_IMAGES, 40, 40, 3), dtype=np.uint8)
    return {f"p{n % 4}/{n:02d}.jpg": cv2.imencode(".jpg", one)[1].tobytes() for n, one in enumerate(pictures)}


@pytest.fixture
def folder(tmp_path: Path, images: dict[str, bytes]) -> Path:
    for name, data in images.items():
        path = tmp_path / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "faces"


@pytest.fixture
def tars(tmp_path: Path, folder: Path) -> Path:
    """Four archives of ten pictures."""
    (tmp_path / "tars").mkdir()
    for person in range(4):
        shutil.make_archive(str(tmp_path / "tars" / str(person)), "tar", folder, f"p{person}")
    return tmp_path / "tars"


Run = Callable[..., tuple[int, Path]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the job; its exit code and the folder of its artefact."""

    def job(
        kind: str, path: Path, *, most: float = 0.05, store: str = "store", listed: str | None = None, **source: object
    ) -> tuple[int, Path]:
        settings = RunSettings(
            name="r",
            store=tmp_path / store,
            runs=tmp_path / "runs",
            source=SOURCES.validate({"kind": kind, "path": str(path), "chunk_images": 8, **source}),
            ingest=IngestSettings(max_broken_fraction=most),
            fingerprints={"ingest": "0123456789abcdef"},
            listed={} if listed is None else {"ingest": listed},
        )
        freeze(settings, settings.folder / "run.yaml")
        code = run_job("ingest", ingest.ingest_source, argv=["--run", str(settings.folder / "run.yaml")])
        return code, settings.store / "records" / "0123456789abcdef"

    return job


def said(tmp_path: Path) -> str:
    """The one line that the driver would show."""
    return str(json.loads((tmp_path / "runs/r/logs/ingest.fault").read_text().splitlines()[-1])["line"])


def sources(folder: Path, manifest: Manifest) -> list[str]:
    paths = [folder / file.path for file in manifest.files]
    return sorted(name for path in paths for name in pq.read_table(path)["source"].to_pylist())


def test_a_sound_source_has_nothing_to_note(run: Run, tars: Path) -> None:
    code, out = run("tar", tars)
    assert code == 0
    manifest = read(out)
    assert manifest.counts == {"rows": NUM_IMAGES, "decode:ok": NUM_IMAGES}
    assert manifest.facts == {"broken": [], "notes": []}
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "rows"]


def test_a_broken_part_within_the_limit_is_counted_listed_and_noted(
    run: Run, tars: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tars / "2.tar").write_bytes(b"nonsense" * 1000)
    code, out = run("tar", tars, most=0.5)
    assert code == 0
    manifest = read(out)
    assert manifest.counts == {"rows": 30, "decode:ok": 30, "broken_parts": 1, "broken_bytes": 8000}
    reason = "no tar header is where one should be"
    assert manifest.facts["broken"] == [
        {"container": f"{tars}/2.tar", "offset": 0, "num_bytes": 8000, "reason": reason}
    ]
    (note,) = manifest.facts["notes"]
    assert note == f"{tars}/2.tar is broken from byte 0 for 8,000 bytes: {reason}"
    assert note in caplog.text
    assert "max_broken_fraction" not in json.dumps(manifest.settings), "it decides whether, and never what"


def test_more_than_the_limit_is_refused_with_the_first_part_and_a_remedy_that_works(
    run: Run, tars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (tars / "1.tar").read_bytes()
    (tars / "1.tar").write_bytes(whole[: len(whole) // 2])
    code, out = run("tar", tars)
    assert code == 2
    line = said(tmp_path)
    assert line.startswith(f"source.path={tars}: ")
    assert f"of it is broken, the first part: {tars}/1.tar is broken from byte " in line
    assert "the archive ends inside" in line
    assert capsys.readouterr().err.splitlines()[-1] == f"ringmill: {line}"
    remedy = re.search(r"or allow it by ingest\.max_broken_fraction=([\d.]+) \(now 0\.05\)$", line)
    assert remedy is not None
    assert not (out / "manifest.json").exists()
    code, out = run("tar", tars, most=float(remedy[1]))
    assert code == 0
    assert read(out).counts["broken_parts"] == 1


def test_the_remedy_for_a_source_that_is_broken_through_and_through_is_a_setting_there_is(
    run: Run, tars: Path, tmp_path: Path
) -> None:
    for path in tars.iterdir():
        path.write_bytes(b"nonsense" * 1000)
    assert run("tar", tars)[0] == 2
    assert "100.0% of it is broken" in said(tmp_path)
    assert "ingest.max_broken_fraction=1.00 (now" in said(tmp_path)
    assert run("tar", tars, most=1.0)[0] == 2
    assert said(tmp_path) == f"source.path={tars} holds no image any more; name a source with images"


def test_many_broken_parts_are_noted_by_the_first_three(run: Run, tars: Path, images: dict[str, bytes]) -> None:
    for number in range(6):
        (tars / f"broken{number}.tar").write_bytes(b"x" * 600)
    code, out = run("tar", tars, most=0.7)
    assert code == 0
    notes = read(out).facts["notes"]
    assert [note.partition(" ")[0] for note in notes[:3]] == [f"{tars}/broken{number}.tar" for number in range(3)]
    assert notes[3] == "and 3 more broken parts; the log of ingest lists them"
    assert len(read(out).facts["broken"]) == 6


def test_files_that_cannot_be_read_are_rows_and_count_as_broken(run: Run, folder: Path, tmp_path: Path) -> None:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    listing = folder / "list.csv"
    listing.write_text("path,identity\n" + "".join(f"{name},x\n" for name in names))
    for name in names[:6]:
        (folder / name).unlink()
    assert run("list", listing)[0] == 2
    first = f"6 listed images could not be read, the first {folder}/{names[0]}"
    assert f"{listing}: 15.0% of it is broken, the first part: {listing}: {first}; mend or remove it" in said(tmp_path)
    code, out = run("list", listing, most=0.2)
    assert code == 0
    assert read(out).counts == {
        "rows": NUM_IMAGES,
        "decode:ok": NUM_IMAGES - 6,
        "decode:unreadable": 6,
        "broken_parts": 1,
        "broken_bytes": 0,
    }
    assert read(out).facts["notes"] == [f"{listing}: {first}"]


def test_after_a_refusal_what_was_finished_is_taken_over_and_the_result_is_the_same(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    lost = folder / "p0" / "00.jpg"
    lost.rename(tmp_path / "away.jpg")
    lost.symlink_to(tmp_path / "nowhere.jpg")
    code, out = run("folder", folder, most=0.0)
    assert code == 2
    left = {path.name: path.stat().st_ino for path in (out / "rows").glob("*.parquet")}
    assert len(left) == 5
    lost.unlink()
    (tmp_path / "away.jpg").rename(lost)
    # The same chunks, by names and sizes, would be wanted again; the link was shorter than the picture.
    code, out = run("folder", folder, most=0.0)
    assert code == 0
    assert read(out).counts == {"rows": NUM_IMAGES, "decode:ok": NUM_IMAGES}
    _, undisturbed = run("folder", folder, most=0.0, store="elsewhere")
    assert (out / "manifest.json").read_text() == (undisturbed / "manifest.json").read_text()


def test_raising_the_limit_makes_only_those_files_again_that_lack_a_picture(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / "p3" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    code, out = run("folder", folder, most=0.0)
    assert code == 2
    before = {path.name: path.stat().st_ino for path in (out / "rows").glob("*.parquet")}
    code, out = run("folder", folder, most=0.1)
    assert code == 0
    after = {path.name: path.stat().st_ino for path in (out / "rows").glob("*.parquet")}
    assert [name for name in sorted(before) if after[name] != before[name]] == [max(before)]


def test_what_an_attempt_left_of_another_state_of_the_source_is_not_mixed_in(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / "p3" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert run("folder", folder, most=0.0)[0] == 2
    # As many files and chunks as before, but every one of them shifted.
    (folder / "p3" / "lost.jpg").unlink()
    shutil.copy(folder / "p0" / "00.jpg", folder / "p0" / "000.jpg")
    code, out = run("folder", folder, most=0.0)
    assert code == 0
    assert sources(out, read(out)) == sorted(str(path) for path in folder.rglob("*.jpg"))


def test_what_other_code_left_is_cleared(run: Run, folder: Path, tmp_path: Path) -> None:
    _, undisturbed = run("folder", folder, store="elsewhere")
    out = tmp_path / "store" / "records" / "0123456789abcdef"
    shutil.copytree(undisturbed, out)
    (out / "manifest.json").unlink()
    (out / ".attempt").write_text("of other code")
    (out / "rows" / "000009.parquet").write_bytes(b"strange")
    os.utime(out / "rows" / "000000.parquet", (1, 1))  # not its inode: a file system may give it to the next file
    assert run("folder", folder)[0] == 0
    assert (out / "manifest.json").read_text() == (undisturbed / "manifest.json").read_text()
    assert not (out / "rows" / "000009.parquet").exists()
    assert (out / "rows" / "000000.parquet").stat().st_mtime > 1


def test_a_source_without_a_picture_is_refused_by_what_was_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text("no picture" * number)
    assert run("folder", tmp_path / "texts")[0] == 2
    assert said(tmp_path) == (
        f"source.path={tmp_path / 'texts'} holds 3 files and not one readable image (2 not_an_image, 1 empty); "
        "name a folder with images in it"
    )


def test_that_most_images_have_no_identity_is_noted_at_once(
    run: Run, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "flat").mkdir()
    for number, path in enumerate(folder.rglob("*.jpg")):
        shutil.copy(path, tmp_path / "flat" / f"{number}.jpg")
    code, out = run("folder", tmp_path / "flat")
    assert code == 0
    (note,) = read(out).facts["notes"]
    assert note.startswith(f"none of {NUM_IMAGES} images has an identity: put the images of each identity in a folder")
    assert note in caplog.text


def test_what_is_passed_over_is_counted_by_its_reason_noted_and_logged(
    run: Run, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "away.jpg").write_bytes(b"x")
    for number in range(3):
        (folder / f"out{number}.jpg").symlink_to(tmp_path / "away.jpg")
    os.mkfifo(folder / "pipe.jpg")
    code, out = run("folder", folder)
    assert code == 0
    manifest = read(out)
    assert manifest.counts == {
        "rows": NUM_IMAGES,
        "decode:ok": NUM_IMAGES,
        "passed_over": 4,
        "passed_over:devices_pipes_and_sockets": 1,
        "passed_over:links_out_of_the_source": 3,
    }
    assert manifest.facts["notes"] == [
        f"4 files passed over: 3 links out of the source (the first {folder}/out0.jpg; source.links_out=follow takes "
        f"them), 1 devices pipes and sockets (the first {folder}/pipe.jpg)"
    ]
    assert manifest.facts["passed_over"]["links_out_of_the_source"] == [f"{folder}/out{n}.jpg" for n in range(3)]
    assert f"passed over: 1 devices pipes and sockets, the first: {folder}/pipe.jpg" in caplog.text
    progress = json.loads((tmp_path / "runs/r/logs/ingest.progress").read_text().splitlines()[-1])
    assert progress["text"] == "40 images, 0 undecodable, 4 files passed over"


def test_members_and_archives_that_are_passed_over_are_in_one_account(run: Run, tars: Path) -> None:
    with tarfile.open(tars / "1.tar", "a") as archive:
        for name, target in (("p1/again.jpg", "p1/01.jpg"), ("p1/lost.jpg", "p1/none.jpg")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            archive.addfile(link)
    (tars / "4.tar.gz").write_bytes(b"x")
    (tars / "2.tar").rename(tars / "2.TAR")
    code, out = run("tar", tars)
    assert code == 0
    assert read(out).counts == {
        "rows": NUM_IMAGES + 1,
        "decode:ok": NUM_IMAGES + 1,
        "passed_over": 2,
        "passed_over:compressed_files": 1,
        "passed_over:links_to_nothing": 1,
    }


def test_an_archive_without_its_end_is_noted_and_does_not_stop_the_run(run: Run, tars: Path) -> None:
    with tarfile.open(tars / "1.tar") as archive:
        last = archive.getmembers()[-1]
    whole = (tars / "1.tar").read_bytes()
    (tars / "1.tar").write_bytes(whole[: last.offset])
    code, out = run("tar", tars)
    assert code == 0
    counts = read(out).counts
    assert (counts["rows"], counts["broken_parts"], counts["broken_bytes"]) == (NUM_IMAGES - 1, 1, 0)
    assert read(out).facts["notes"] == [
        f"{tars}/1.tar: the archive has no end-of-archive blocks; it may be incomplete (members found: 9)"
    ]


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_source_that_changed_since_it_was_listed_is_refused(
    run: Run, folder: Path, tars: Path, tmp_path: Path, kind: str
) -> None:
    path = {"folder": folder, "tar": tars}[kind]
    listed = describe(SOURCES.validate({"kind": kind, "path": str(path)})).digest
    assert run(kind, path, listed=listed)[0] == 0
    changed = {"folder": folder / "p0/00.jpg", "tar": tars / "0.tar"}[kind]
    os.utime(changed, (1, 1))
    assert run(kind, path, listed=listed, store="other")[0] == 2
    assert said(tmp_path) == (
        f"source.path={path} has changed since it was listed; run again when nothing writes there any more: it is then "
        "listed anew"
    )


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_file_that_is_written_between_survey_and_reading_stops_the_run_by_name(
    run: Run, folder: Path, tars: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = {"folder": folder, "tar": tars}[kind]
    changed = {"folder": folder / "p0/00.jpg", "tar": tars / "0.tar"}[kind]
    make, data = ingest.ingest, changed.read_bytes()

    def after_a_change(*arguments: object, **values: object) -> object:
        changed.write_bytes(data)
        os.utime(changed, (1, 1))
        return make(*arguments, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "ingest", after_a_change)
    code, out = run(kind, path)
    assert code == 2
    assert said(tmp_path) == (
        f"source.path={path}: 1 file changed between listing and reading, the first {changed}; run again when nothing "
        "writes there any more: the source is then listed anew"
    )
    assert not (out / "manifest.json").exists()
    monkeypatch.setattr(ingest, "ingest", make)
    assert run(kind, path, store="other")[0] == 0


def test_with_the_content_verified_what_was_read_must_be_what_was_listed(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    settings = SOURCES.validate({"kind": "folder", "path": str(folder), "chunk_images": 8, "verify": "content"})
    listed = describe(settings).digest
    os.utime(folder / "p1/01.jpg", (1, 1))  # no change of the content
    assert run("folder", folder, listed=listed, verify="content")[0] == 0
    path, other = folder / "p0/00.jpg", bytearray((folder / "p0/00.jpg").read_bytes())
    times = path.stat()
    other[-10] ^= 1
    path.write_bytes(other)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run("folder", folder, listed=listed, verify="content", store="other")[0] == 2
    assert "has changed since it was listed" in said(tmp_path)
    assert run("folder", folder, listed=describe(settings).digest, verify="content", store="third")[0] == 0
