"""Records of a source, in one pass: read, digest, decode, measure, hash, write.

The bytes of pictures stay in the process that read them until they are in the Parquet file. A task receives and returns
a few lines, since moving every picture through the JVM and back would cost a good part of decoding it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from pipelines.faces import FaceDetector
from pipelines.manifest import File
from pipelines.measure import examine
from pipelines.parquet import FILE, describe_parquet, write_runs
from pipelines.pictures import check_pictures
from pipelines.records import IMAGE, IMAGE_ID, RECORDS, ROWS
from pipelines.settings import PixelSettings, UserError
from pipelines.sources import reading
from pipelines.sources.chunks import Chunk, plan_chunks
from pipelines.sources.entry import CHANGED, UNREADABLE, Break, Container, RawImage, text
from pipelines.sources.listing import Scanned, content_digest, joined, listing_digest, rows_digest, sorted_out
from pipelines.sources.naming import naming
from pipelines.sources.passed_over import PassedOverTally
from pipelines.sources.settings import NamedSettings, SourceSettings

# A task holds about this many raw bytes at most, however large its chunk is.
_BATCH_BYTES = 8 << 20
_BATCH_IMAGES = 256

# More tasks than this do not make the scan of containers faster.
_MAX_SCANS = 1000

ROWS_PER_GROUP = 512
_BYTES_PER_GROUP = 64 << 20


@dataclass(frozen=True)
class Survey:
    """The result of scanning a whole source."""

    containers: list[Container]
    chunks: list[Chunk]
    breaks: list[Break]
    passed_over: PassedOverTally = field(default_factory=PassedOverTally)
    listing: str = ""  # as in a SourceListing, from what the scan saw

    @property
    def num_images(self) -> int:
        return sum(chunk.num_images for chunk in self.chunks)

    @property
    def digest(self) -> str:
        """16 hex digits that change when a scan shows that a chunk would give other records."""
        digest = hashlib.sha256()
        for part in (*self.containers, *self.chunks):
            digest.update(repr(part).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()[:16]

    def broken_fraction(self, *, num_unreadable: int = 0) -> float:
        """The share of the source in which no image was found, by bytes, or no image could be read, by number.

        A container that is empty or cut at its end counts with the average size of the others: the missing part is
        unknown, and a failed download may have left next to nothing. One that may be whole, and lacks only the mark of
        its end, counts nothing.
        """
        if not self.chunks and self.breaks:
            return 1.0
        sizes = {container.path: container.num_bytes for container in self.containers}
        cut = {part.container for part in self.breaks if _is_cut(part, sizes.get(part.container))}
        others = [size for path, size in sizes.items() if path not in cut]
        average = sum(others) / max(1, len(others))
        missing = sum(max(0.0, average - sizes[path]) for path in cut)
        broken = sum(part.num_bytes for part in self.breaks) + missing
        found = sum(portion.num_bytes for chunk in self.chunks for portion in chunk.portions)
        whole = max(sum(sizes.values()) + missing, found + broken)
        return min(1.0, broken / max(1, whole) + num_unreadable / max(1, self.num_images))


def _is_cut(part: Break, size: int | None) -> bool:
    return size == part.offset + part.num_bytes and (part.num_bytes > 0 or size == 0)


def survey(spark: SparkSession, settings: SourceSettings) -> Survey:
    """Scan every container on the executors, and cut the source into chunks.

    Raises:
        UserError: there is nothing at source.path, or source.identity_list is faulty.
    """
    if isinstance(settings, NamedSettings):
        naming(settings)  # reads the list of identities, so that a mistake is reported once and not by every task
    beside = reading.listed(settings)
    containers = beside.containers

    def scan(container: Container) -> Scanned:
        return sorted_out(reading.scan(container, settings))

    tasks = spark.sparkContext.parallelize(containers, max(1, min(len(containers), _MAX_SCANS)))
    found = joined([beside, *tasks.map(scan).collect()])
    return Survey(
        containers=containers,
        chunks=list(plan_chunks(found.portions, settings)),
        breaks=found.breaks,
        passed_over=found.passed_over,
        listing=listing_digest(beside, found, settings),
    )


def refuse_if_changed(found: Survey, settings: SourceSettings) -> None:
    """Compare the containers with those that were surveyed, after they have been read.

    Raises:
        UserError: one was written, came or went meanwhile; the records may be of either content.
    """
    before, after = set(found.containers), set(reading.containers(settings))
    if before != after:
        names = sorted({container.path for container in before ^ after})
        raise _changed(settings, len(names), text(names[0]))


def _changed(settings: SourceSettings, number: int, first: str) -> UserError:
    files = "1 file" if number == 1 else f"{number:,} files"
    return UserError(
        f"source.path={settings.path}: {files} changed between listing and reading, the first {first}; "
        "run again when nothing writes there any more: the source is then listed anew"
    )


def digest_of_records(spark: SparkSession, folder: Path, files: Sequence[File]) -> str:
    """The digest of the source's content, as a listing with source.verify=content has it, from the written records."""
    columns = ["source", "identity", "image_id", "num_bytes"]

    def digest(file: File) -> str:
        table = pq.read_table(folder / file.path, columns=columns)
        return rows_digest(zip(*(table.column(name).to_pylist() for name in columns), strict=True))

    tasks = spark.sparkContext.parallelize(files, max(1, len(files)))
    return content_digest(tasks.map(digest).collect())


def ingest(
    spark: SparkSession,
    chunks: list[Chunk],
    folder: Path,
    *,
    source: SourceSettings,
    pixels: PixelSettings,
    faces: FaceDetector | None = None,
) -> list[File]:
    """Write the records of every chunk, one file and one task each, below `folder`/rows.

    A file from an interrupted attempt is reused: files appear whole, and the name follows from the chunk.

    Args:
        faces: detects faces; without it their columns are null.

    Returns:
        The files' manifest entries, sorted by path.

    Raises:
        UserError: files of the source were written between listing and reading.
    """

    def make(chunk: Chunk) -> tuple[list[File], list[str]]:
        finished = _finished(folder, chunk)
        if finished is not None:
            return [finished], []
        changed: list[str] = []
        batches = _with_changed(records_of(chunk, source, pixels, faces), changed)
        runs = write_runs(
            batches, folder, schema=RECORDS, rows_per_group=ROWS_PER_GROUP, bytes_per_group=_BYTES_PER_GROUP
        )
        return list(runs), changed

    tasks = spark.sparkContext.parallelize(chunks, max(1, len(chunks)))
    made = tasks.map(make).collect()
    if changed := [name for _, names in made for name in names]:
        raise _changed(source, len(changed), changed[0])
    return sorted((file for files, _ in made for file in files), key=lambda file: file.path)


def _with_changed(batches: Iterator[pa.RecordBatch], changed: list[str]) -> Iterator[pa.RecordBatch]:
    """The batches; the sources of rows that are not what was listed are added to `changed`."""
    for batch in batches:
        if CHANGED in (faults := batch.column("decode").to_pylist()):
            names = batch.column("source").to_pylist()
            changed += [name for name, fault in zip(names, faults, strict=True) if fault == CHANGED]
        yield batch


def records_of(
    chunk: Chunk, source: SourceSettings, pixels: PixelSettings, faces: FaceDetector | None = None
) -> Iterator[pa.RecordBatch]:
    """The records of one chunk: the columns of `records.RECORDS` and `file`, in batches bounded by bytes."""
    file = _name(chunk)
    waiting: list[RawImage] = []
    num_bytes = 0
    for raw in reading.read(chunk, source, max_bytes=pixels.max_bytes):
        waiting.append(raw)
        num_bytes += len(raw.data)
        if len(waiting) >= _BATCH_IMAGES or num_bytes >= _BATCH_BYTES:
            yield _examine(waiting, file, pixels, faces)
            waiting, num_bytes = [], 0
    if waiting:
        yield _examine(waiting, file, pixels, faces)


def _finished(folder: Path, chunk: Chunk) -> File | None:
    path = folder / f"{_name(chunk)}.parquet"
    if not path.is_file():
        return None
    try:
        file = describe_parquet(folder, path)
        is_whole = file.rows == chunk.num_images and _is_sound(path)
    except (OSError, pa.ArrowException, UserError):
        return None
    return file if is_whole else None


def _is_sound(path: Path) -> bool:
    """True if every image could be read; no damage is passed over.

    Raises:
        OSError, pa.ArrowException, UserError: the file is not what was written.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as stored:
        for batch in stored.iter_batches(_BATCH_IMAGES):
            # Images that were unreadable or in change are tried again.
            if {UNREADABLE, CHANGED}.intersection(batch.column("decode").to_pylist()):
                return False
            # Of what is too large to be a picture no bytes are kept.
            kept = batch.filter(pc.greater(pc.binary_length(batch.column(IMAGE)), 0))
            images = (image.as_buffer() for image in kept.column(IMAGE))
            check_pictures(kept.column(IMAGE_ID).to_pylist(), images, records=str(path))
    return True


def _name(chunk: Chunk) -> str:
    return f"{ROWS}/{chunk.index:06d}"


def _examine(raws: list[RawImage], file: str, pixels: PixelSettings, faces: FaceDetector | None) -> pa.RecordBatch:
    measured = examine([raw.data for raw in raws], pixels, faces)
    columns = {name: measured.column(name) for name in measured.schema.names}
    faults = columns["decode"].to_pylist()
    columns |= {
        "decode": pa.array([raw.fault or fault for raw, fault in zip(raws, faults, strict=True)], pa.string()),
        "num_bytes": pa.array([raw.num_bytes for raw in raws], pa.int64()),
        "image_id": pa.array([raw.image_id for raw in raws], pa.string()),
        "source": pa.array([raw.source for raw in raws], pa.string()),
        "identity": pa.array([raw.identity for raw in raws], pa.string()),
        IMAGE: pa.array([raw.data for raw in raws], pa.binary()),
        FILE: pa.array([file] * len(raws), pa.string()),
    }
    return pa.RecordBatch.from_pydict({name: columns[name] for name in [*RECORDS.names, FILE]})
