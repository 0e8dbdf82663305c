"""Writing a sample set to a folder: images/<identity>/<number>.jpg, truth.csv, and last sample.json.

The columns of truth.csv: path (below images/, or the member's name in images.tar), identity, fault (empty for a clean
photo), of (the path of a copy's original), expected (kept, rejected, duplicate or conflict; for copies see
planted_faults) and expected_reason.
"""

import contextlib
import csv
import io
import multiprocessing
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from pydantic import ValidationError

from pipelines.durable import write_atomically
from pipelines.manifest import fingerprint
from pipelines.sample.album import draw_album
from pipelines.sample.planted_faults import PLANTED_FAULTS, Photo, encode_jpeg
from pipelines.sample.sample_plan import PlannedFile, plan_sample
from pipelines.sample.settings import SampleSettings
from pipelines.settings import Settings, UserError

IMAGES_NAME = "images"
TAR_NAME = "images.tar"
TRUTH_NAME = "truth.csv"
SUMMARY_NAME = "sample.json"
TRUTH_COLUMNS = ("path", "identity", "fault", "of", "expected", "expected_reason")

_VERSION = 2  # increase it when the same settings give other bytes

Drawn = list[tuple[str, bytes]]
Sink = Callable[[str, bytes], None]


class SampleSummary(Settings):
    """The contents of a finished sample: sample.json."""

    fingerprint: str
    images: str  # the source to ingest, relative to the sample's folder
    num_identities: int
    num_photos: int  # clean ones
    num_files: int
    num_bytes: int
    faults: dict[str, int]


def write_sample(out: Path, settings: SampleSettings, *, on_progress: Callable[[int, int], None]) -> SampleSummary:
    """Draw the set and return its summary; a folder with the same finished set is not changed.

    Args:
        on_progress: called after each identity with the number done and the total.

    Raises:
        UserError: the folder has other content, or the settings cannot be met.
    """
    planned = plan_sample(settings)
    mark = fingerprint("sample", version=_VERSION, settings=settings.model_dump(exclude={"processes"}), parents={})
    finished = _read_finished(out, mark)
    if finished is not None:
        return finished
    num_bytes = 0
    with _open_sink(out, settings) as sink:
        for done, drawn in enumerate(_draw_all(planned, settings), start=1):
            for path, content in drawn:
                sink(path, content)
                num_bytes += len(content)
            on_progress(done, settings.identities)
    _write_truth(out / TRUTH_NAME, planned)
    summary = _summarise(planned, settings, mark=mark, num_bytes=num_bytes)
    write_atomically(out / SUMMARY_NAME, summary.model_dump_json(indent=1).encode() + b"\n")
    return summary


def _read_finished(out: Path, mark: str) -> SampleSummary | None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder for the sample")
    if not out.exists() or not any(out.iterdir()):
        return None
    with contextlib.suppress(FileNotFoundError, ValidationError):
        summary = SampleSummary.model_validate_json((out / SUMMARY_NAME).read_bytes())
        if summary.fingerprint == mark:
            return summary
    raise UserError(
        f"{out} is not empty and holds no finished sample of these settings; remove it or name another folder"
    )


def _draw_all(planned: list[list[PlannedFile]], settings: SampleSettings) -> Iterator[Drawn]:
    tasks = [(settings, identity, files) for identity, files in enumerate(planned)]
    if settings.processes == 1:
        yield from map(_draw_identity, tasks)
        return
    # Spawned, not forked: the caller may run threads, and a fork would copy locks that they hold.
    with multiprocessing.get_context("spawn").Pool(
        settings.processes, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        yield from pool.imap(_draw_identity, tasks)


def _draw_identity(task: tuple[SampleSettings, int, list[PlannedFile]]) -> Drawn:
    """Draw every file that shows one person, including copies under other names."""
    settings, identity, files = task
    num_photos = 1 + max(file.photo for file in files)
    album = draw_album(settings.seed, identity, num_photos, size_px=(settings.min_side_px, settings.max_side_px))
    photos = [Photo(picture, encode_jpeg(picture, quality)) for picture, quality in album]
    return [
        (file.path, _content(photos[file.photo], file, [settings.seed, identity, place]))
        for place, file in enumerate(files)
    ]


def _content(photo: Photo, file: PlannedFile, entropy: list[int]) -> bytes:
    if not file.fault:
        return photo.jpeg
    # The fourth word separates this stream from those of the album, whose last word counts attempts.
    return PLANTED_FAULTS[file.fault].make(photo, np.random.default_rng([*entropy, 1_000_000]))


@contextlib.contextmanager
def _open_sink(out: Path, settings: SampleSettings) -> Iterator[Sink]:
    out.mkdir(parents=True, exist_ok=True)
    if not settings.tar:
        yield lambda path, content: _write_file(out / IMAGES_NAME / path, content)
        return
    with tarfile.open(out / TAR_NAME, "w") as archive:
        yield lambda path, content: _add_member(archive, path, content)


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _add_member(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    # A new TarInfo has no time and no owner, so that the archive's bytes depend on the set alone.
    member = tarfile.TarInfo(path)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _write_truth(path: Path, planned: list[list[PlannedFile]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        for file in sorted((file for files in planned for file in files), key=lambda file: file.path):
            reason = PLANTED_FAULTS[file.fault].reason if file.fault else ""
            writer.writerow((file.path, file.identity, file.fault, file.of, file.expected, reason))


def _summarise(
    planned: list[list[PlannedFile]], settings: SampleSettings, *, mark: str, num_bytes: int
) -> SampleSummary:
    counts = Counter(file.fault for files in planned for file in files)
    return SampleSummary(
        fingerprint=mark,
        images=TAR_NAME if settings.tar else IMAGES_NAME,
        num_identities=settings.identities,
        num_photos=counts.pop(""),
        num_files=sum(len(files) for files in planned),
        num_bytes=num_bytes,
        faults=dict(sorted(counts.items())),
    )
