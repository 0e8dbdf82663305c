"""The job that takes in references: all of them in one table, under the names of their files, and none passed over."""

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import reference
from jobs.entry import run_job
from jobs.listing import describe_references
from jobs.settings import RunSettings, freeze
from pipelines.manifest import read
from pipelines.sources.settings import FolderSettings, ReferenceSettings
from training.tasks.settings import EvaluateSettings, ListedPairs

pytestmark = pytest.mark.spark

MARK = "0123456789abcdef"
Run = Callable[..., tuple[int, Path]]


@pytest.fixture(autouse=True)
def session(share_session: Callable[..., None]) -> None:
    share_session(reference)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the job; its exit code and the folder of its artefact."""

    def job(
        sources: list[dict[str, Any]],
        *,
        evaluate: Path | None = None,
        sets: Any = None,
        allowed: float = 0.0,
        after_listing: Callable[[], object] | None = None,
    ) -> tuple[int, Path]:
        settings = RunSettings(
            name="r",
            store=tmp_path / "store",
            runs=tmp_path / "runs",
            source=FolderSettings(path="/nowhere"),
            reference=ReferenceSettings.model_validate({"sources": sources, "max_unreadable_fraction": allowed}),
            evaluate=EvaluateSettings(sets=sets or ({"lfw": ListedPairs(path=evaluate)} if evaluate else {})),
            fingerprints={"reference": MARK},
        )
        if after_listing is not None:
            settings = settings.model_copy(update={"listed": {"reference": describe_references(settings).digest}})
            after_listing()
        freeze(settings, settings.folder / "run.yaml")
        code = run_job("reference", reference.ingest_references, argv=["--run", str(settings.folder / "run.yaml")])
        return code, settings.store / "references" / MARK

    return job


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def pictures(folder: Path, seed: int, count: int) -> list[str]:
    """Write some, and return the digests of their bytes."""
    folder.mkdir()
    files = {f"{number}.jpg": picture(100 * seed + number) for number in range(count)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [hashlib.sha256(data).hexdigest() for data in files.values()]


def fault_of(tmp_path: Path) -> str:
    return str(json.loads((tmp_path / "runs/r/logs/reference.fault").read_text().splitlines()[-1])["line"])


def test_folders_and_the_archive_of_the_evaluation_become_one_table(run: Run, tmp_path: Path) -> None:
    held_out, judged = pictures(tmp_path / "held out", 1, 5), pictures(tmp_path / "judged", 2, 7)
    listed = "2 1\na 1 2\na 1 b 1\nb 1 2\na 2 b 2\n"
    with tarfile.open(tmp_path / "pairs.tar", "w") as archive:
        add(archive, "pairs.txt", listed.encode())
        for place, path in enumerate(sorted((tmp_path / "judged").iterdir())):
            archive.add(path, f"{'ab'[place % 2]}/{'ab'[place % 2]}_{place // 2 + 1:04d}.jpg")
    code, folder = run([{"kind": "folder", "path": str(tmp_path / "held out")}], evaluate=tmp_path / "pairs.tar")
    assert code == 0
    made = read(folder)
    assert made.counts == {"rows": 13}
    rows = [row for file in made.files for row in pq.read_table(folder / file.path).to_pylist()]
    assert {row["image_id"] for row in rows} == {*held_out, *judged, hashlib.sha256(listed.encode()).hexdigest()}
    assert [note for note in made.facts["notes"] if "1 files are no pictures, such as" in note]
    assert len({file.path for file in made.files}) == len(made.files) == 2


def test_a_reference_without_a_picture_is_the_users_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    code, _ = run([{"kind": "folder", "path": str(tmp_path / "nothing")}])
    assert code == 2
    assert f"{tmp_path / 'nothing'} holds no image to keep out of training" in fault_of(tmp_path)


@pytest.mark.parametrize("verify", ["time", "content"])
def test_references_that_changed_since_they_were_listed_are_refused(run: Run, tmp_path: Path, verify: str) -> None:
    for number in range(2):
        pictures(tmp_path / str(number), number, 3)
    sources = [{"kind": "folder", "path": str(tmp_path / str(number)), "verify": verify} for number in range(2)]
    assert run(sources, after_listing=lambda: None)[0] == 0
    (tmp_path / "store/references" / MARK / "manifest.json").unlink()
    assert run(sources, after_listing=lambda: (tmp_path / "1/1.jpg").write_bytes(picture(7)))[0] == 2
    assert fault_of(tmp_path).startswith(
        "a source of reference.sources or evaluate.sets has changed since it was listed"
    )


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


GARBAGE = b"\xff\xd8\xff\xe0" + bytes(200)
PAGE = b"<html>404 not found</html>"


def folder_of(root: Path, bad: bytes) -> dict[str, Any]:
    pictures(root / "set", 1, 3)
    (root / "set" / "bad.jpg").write_bytes(bad)
    return {"kind": "folder", "path": str(root / "set")}


def tar_of(root: Path, bad: bytes) -> dict[str, Any]:
    with tarfile.open(root / "set.tar", "w") as archive:
        for place in range(3):
            add(archive, f"{place}.jpg", picture(place))
        add(archive, "bad.jpg", bad)
    return {"kind": "tar", "path": str(root / "set.tar")}


def webdataset_of(root: Path, bad: bytes) -> dict[str, Any]:
    return {**tar_of(root, bad), "kind": "webdataset"}


def list_of(root: Path, bad: bytes) -> dict[str, Any]:
    """The last line names a file that does not exist, or holds something else."""
    pictures(root / "set", 1, 3)
    if bad:
        (root / "set" / "bad.jpg").write_bytes(bad)
    names = [f"set/{name}.jpg" for name in ("0", "1", "2", "bad")]
    (root / "list.txt").write_text("\n".join(names) + "\n")
    return {"kind": "list", "path": str(root / "list.txt")}


def parquet_of(root: Path, bad: bytes) -> dict[str, Any]:
    """The last row has the path of a file elsewhere and no bytes, or other bytes."""
    rows = [{"bytes": data or None, "path": "a.jpg"} for data in (picture(1), picture(2), picture(3), bad)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), root / "set.parquet")
    return {"kind": "parquet", "path": str(root / "set.parquet")}


def pack_of(root: Path, bad: bytes) -> dict[str, Any]:
    (root / "set.bin").write_bytes(pickle.dumps(([picture(1), picture(2), picture(3), bad], [True, False])))
    return {"kind": "pack", "path": str(root / "set.bin")}


SOURCES = [folder_of, tar_of, webdataset_of, list_of, parquet_of, pack_of]


@pytest.mark.parametrize("bad", [GARBAGE, PAGE, b""], ids=["garbage", "page", "nothing"])
@pytest.mark.parametrize("source", SOURCES)
def test_one_picture_that_cannot_be_read_stops_the_run_unless_a_share_is_allowed(
    run: Run, tmp_path: Path, source: Callable[[Path, bytes], dict[str, Any]], bad: bytes
) -> None:
    named = source(tmp_path, bad)
    code, folder = run([named])
    line = fault_of(tmp_path)
    assert (code, (folder / "manifest.json").exists()) == (2, False)
    assert line.startswith(
        f"reference.sources[0]={named['path']} cannot be kept out of training: ingest could not read"
    )
    assert "1 of 4 pictures" in line
    assert "reference.max_unreadable_fraction=0.26 (now 0)" in line
    code, folder = run([named], allowed=0.26)
    assert code == 0
    assert read(folder).counts == {"rows": 4, "unreadable": 1}
    assert [note for note in read(folder).facts["notes"] if "1 pictures cannot be kept out of training" in note]


def test_a_list_of_wrong_paths_protects_nothing_whatever_share_is_allowed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("nowhere/a.jpg\nnowhere/b.jpg\n")
    code, _ = run([{"kind": "list", "path": str(tmp_path / "list.txt")}], allowed=1.0)
    assert code == 2
    assert f"could not read 2 of 2 pictures (2 unreadable), the first {tmp_path}/nowhere/a.jpg" in fault_of(tmp_path)


def test_an_archive_that_is_cut_stops_the_run(run: Run, tmp_path: Path) -> None:
    path = Path(tar_of(tmp_path, picture(9))["path"])
    path.write_bytes(path.read_bytes()[:3000])
    code, _ = run([{"kind": "tar", "path": str(path)}])
    assert code == 2
    assert "parts of it, the first" in fault_of(tmp_path)


@pytest.mark.parametrize("target", ["nowhere.jpg", "{outside}/0.jpg"])
def test_a_link_that_is_not_followed_stops_the_run(run: Run, tmp_path: Path, target: str) -> None:
    pictures(tmp_path / "set", 1, 3)
    pictures(tmp_path / "outside", 2, 1)
    (tmp_path / "set" / "link.jpg").symlink_to(target.format(outside=tmp_path / "outside"))
    code, _ = run([{"kind": "folder", "path": str(tmp_path / "set")}])
    assert code == 2
    assert fault_of(tmp_path).startswith("reference.sources[0]=")
    assert "1 of 4 pictures (1 " in fault_of(tmp_path)


def test_a_line_that_does_not_parse_stops_the_run(run: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "set", 1, 3)
    (tmp_path / "list.csv").write_text("path,identity\nset/0.jpg,a\nset/1.jpg,b,c\nset/2.jpg,a\n")
    code, _ = run([{"kind": "list", "path": str(tmp_path / "list.csv")}])
    assert code == 2
    assert "1 of 3 pictures (1 lines with more fields than their heading)" in fault_of(tmp_path)


def test_one_good_reference_does_not_excuse_another(run: Run, tmp_path: Path) -> None:
    pictures(tmp_path / "good", 1, 9)
    code, _ = run([{"kind": "folder", "path": str(tmp_path / "good")}, tar_of(tmp_path, GARBAGE)])
    assert code == 2
    assert fault_of(tmp_path).startswith("reference.sources[1]=")


PAIRS_TXT = "2 1\na 1 2\na 1 b 1\nb 1 2\na 2 b 2\n"


def lfw(root: Path) -> Path:
    """A set in the format of LFW: two people, two pictures of each."""
    for place, name in enumerate(["a/a_0001", "a/a_0002", "b/b_0001", "b/b_0002"]):
        path = root / "lfw" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(place))
    (root / "lfw" / "pairs.txt").write_text(PAIRS_TXT)
    return root / "lfw"


def missing(path: Path) -> None:
    (path / "b" / "b_0002.jpg").unlink()


def damaged(path: Path) -> None:
    (path / "b" / "b_0002.jpg").write_bytes(GARBAGE)


def emptied(path: Path) -> None:
    (path / "b" / "b_0002.jpg").write_bytes(b"")


def replaced(path: Path) -> None:
    (path / "b" / "b_0002.jpg").write_bytes(PAGE)


def unlisted(path: Path) -> None:
    (path / "pairs.txt").write_text("2 1\n")


@pytest.mark.parametrize("spoil", [missing, damaged, emptied, replaced, unlisted])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
def test_a_listed_set_with_a_picture_that_cannot_be_read_stops_the_run(
    run: Run, tmp_path: Path, spoil: Callable[[Path], None], packed: bool
) -> None:
    path = lfw(tmp_path)
    spoil(path)
    if packed:
        with tarfile.open(tmp_path / "lfw.tar", "w") as archive:
            archive.add(path, "lfw")
        path = tmp_path / "lfw.tar"
    code, folder = run([], sets={"lfw": {"pairs": "pairs_txt", "path": str(path)}})
    assert (code, (folder / "manifest.json").exists()) == (2, False)
    assert fault_of(tmp_path).startswith("evaluate.sets.lfw")
    assert str(path) in fault_of(tmp_path)


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(([picture(1), GARBAGE], [True])), pickle.dumps(([picture(1)], [True])), pickle.dumps(([], [])), b"x"],
    ids=["damaged", "odd", "empty", "no pack"],
)
def test_a_pack_that_cannot_be_read_stops_the_run(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    code, folder = run([], sets={"a": {"pairs": "bin", "path": str(tmp_path / "a.bin"), "folds": 2}})
    assert (code, (folder / "manifest.json").exists()) == (2, False)
    assert fault_of(tmp_path).startswith("evaluate.sets.a")


def test_sound_sets_of_every_kind_become_references(run: Run, tmp_path: Path) -> None:
    path = lfw(tmp_path)
    (tmp_path / "a.bin").write_bytes(pickle.dumps(([picture(n) for n in range(10, 14)], [True, False])))
    packed = {"pairs": "bin", "path": str(tmp_path / "a.bin"), "folds": 2}
    code, folder = run([], sets={"lfw": {"pairs": "pairs_txt", "path": str(path)}, "a": packed, "val": {}})
    assert code == 0
    assert read(folder).counts == {"rows": 9}
