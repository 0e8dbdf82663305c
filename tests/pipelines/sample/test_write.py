"""The sample on disk."""

import csv
import hashlib
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.hashing import hamming, perceptual_hashes, to_hash_input
from pipelines.sample.settings import SampleSettings
from pipelines.sample.write import SampleSummary, write_sample
from pipelines.settings import UserError

SMALL = SampleSettings(identities=6, photos=8, max_side_px=128)


def _write(out: Path, settings: SampleSettings = SMALL) -> SampleSummary:
    return write_sample(out, settings, on_progress=lambda done, total: None)


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _truth(folder: Path) -> list[dict[str, str]]:
    with (folder / "truth.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "small"
    _write(out)
    return out


def test_truth_names_every_file_and_no_other(sample: Path) -> None:
    assert {row["path"] for row in _truth(sample)} == set(_digests(sample / "images"))


def test_the_number_of_processes_changes_no_byte(sample: Path, tmp_path: Path) -> None:
    _write(tmp_path / "two", SMALL.model_copy(update={"processes": 2}))
    assert _digests(tmp_path / "two") == _digests(sample)


def test_different_photos_lie_apart_and_clean_ones_have_structure(sample: Path) -> None:
    clean = [row["path"] for row in _truth(sample) if not row["fault"]]
    greys = [to_hash_input(cv2.imread(str(sample / "images" / path), cv2.IMREAD_GRAYSCALE)) for path in clean]
    hashes = perceptual_hashes(np.stack(greys))
    above = np.triu_indices(len(clean), 1)
    assert hamming(hashes.plain[:, None], hashes.plain)[above].min() >= 36
    assert hamming(hashes.plain[:, None], hashes.flipped)[above].min() >= 36
    assert hashes.quality.min() >= 50


def test_truth_points_copies_at_the_file_they_were_made_from(sample: Path) -> None:
    rows = [row for row in _truth(sample) if row["fault"] == "exact_copy"]
    assert len(rows) == 4
    digests = _digests(sample / "images")
    assert all(digests[row["path"]] == digests[row["of"]] for row in rows)


def test_equal_bytes_only_lie_where_truth_says_so(sample: Path) -> None:
    digests = _digests(sample / "images")
    alone = [row["path"] for row in _truth(sample) if not row["of"] and row["fault"] != "empty"]
    assert len({digests[path] for path in alone}) == len(alone)


def test_a_finished_sample_is_left_as_it_is(sample: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sample.rglob("*")}
    calls: list[int] = []
    summary = write_sample(sample, SMALL, on_progress=lambda done, total: calls.append(done))
    assert summary.num_photos == 48
    assert summary.num_files == len(_truth(sample))
    assert calls == []
    assert before == {path: path.stat().st_mtime_ns for path in sample.rglob("*")}


def test_other_settings_or_an_unfinished_folder_are_refused(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not empty and holds no finished sample of these settings; remove it"):
        _write(sample, SMALL.model_copy(update={"seed": 1}))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        _write(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        _write(tmp_path / "notes.txt")


def test_progress_counts_to_the_number_of_identities(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    settings = SampleSettings(identities=3, photos=2, min_faults=0)
    write_sample(tmp_path / "out", settings, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_tar_holds_the_same_files(sample: Path, tmp_path: Path) -> None:
    summary = _write(tmp_path / "tar", SMALL.model_copy(update={"tar": True}))
    assert summary.images == "images.tar"
    with tarfile.open(tmp_path / "tar" / "images.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}  # type: ignore[union-attr]
    assert {name: hashlib.sha256(content).hexdigest() for name, content in members.items()} == _digests(
        sample / "images"
    )
    assert _truth(tmp_path / "tar") == _truth(sample)
