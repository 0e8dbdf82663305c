"""pipelines/ingest: what a source holds is what is written, in the same files every time, whatever was there before."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.ingest import ROWS_PER_GROUP, Survey, ingest, records_of, survey
from pipelines.manifest import File
from pipelines.parquet import FILE, write_runs
from pipelines.records import IMAGE, RECORDS
from pipelines.settings import PixelSettings, UserError
from pipelines.sources.chunks import Chunk
from pipelines.sources.entry import Break, Container, Portion
from pipelines.sources.reading import describe
from pipelines.sources.settings import SOURCES, SourceSettings

PIXELS = PixelSettings()


def source(kind: str, path: Path, **values: object) -> SourceSettings:
    return SOURCES.validate({"kind": kind, "path": str(path), "chunk_images": 7, **values})


@pytest.fixture(scope="module")
def files(draw, to_jpeg) -> dict[str, bytes]:
    """Fifty pictures and what is none, by name."""
    pictures = {f"p{number % 6}/{number}.jpg": to_jpeg(draw(number)) for number in range(50)}
    whole = pictures["p0/0.jpg"]
    return pictures | {"p1/cut.jpg": whole[:400], "p1/copy.jpg": whole, "p2/none.txt": b"text", "p3/empty.jpg": b""}


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes], write_images) -> SourceSettings:
    return source("folder", write_images(tmp_path / "faces", files))


@pytest.fixture
def archives(tmp_path: Path, files: dict[str, bytes], write_tar) -> SourceSettings:
    """The same in three archives."""
    names = sorted(files)
    (tmp_path / "tars").mkdir()
    for place in range(3):
        write_tar(
            tmp_path / "tars" / f"{place}.tar", {name: files[name] for name in names[18 * place : 18 * place + 18]}
        )
    return source("tar", tmp_path / "tars")


def made(spark: SparkSession, found: Survey, settings: SourceSettings, out: Path) -> list[File]:
    return ingest(spark, found.chunks, out, source=settings, pixels=PIXELS)


def table(out: Path, files: list[File]) -> pa.Table:
    return pa.concat_tables(pq.read_table(out / file.path) for file in files)


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["folder", "archives"])
def test_every_file_is_a_record_of_its_bytes_as_found(
    spark: SparkSession, kind: str, request: pytest.FixtureRequest, files: dict[str, bytes], tmp_path: Path
) -> None:
    settings: SourceSettings = request.getfixturevalue(kind)
    found = survey(spark, settings)
    written = made(spark, found, settings, tmp_path / "out")
    rows = table(tmp_path / "out", written)
    assert rows.schema.equals(RECORDS)
    assert len(rows) == sum(file.rows for file in written) == found.num_images == describe(settings).num_files
    divider = "!/" if kind == "archives" else f"{settings.path}/"
    assert {row["source"].partition(divider)[2]: row["image"] for row in rows.to_pylist()} == files
    for row in rows.to_pylist():
        assert row["image_id"] == hashlib.sha256(row["image"]).hexdigest()
        assert row["num_bytes"] == len(row["image"])
        assert row["identity"] == Path(row["source"].partition(divider)[2]).parent.name
    assert Counter(rows.column("decode").to_pylist()) == {"ok": 51, "truncated": 1, "not_an_image": 1, "empty": 1}


@pytest.mark.spark
def test_the_files_are_those_that_one_process_writes_alone(
    spark: SparkSession, archives: SourceSettings, tmp_path: Path
) -> None:
    found = survey(spark, archives)
    assert len(found.chunks) > 6
    written = made(spark, found, archives, tmp_path / "spark")
    alone = [
        file
        for chunk in reversed(found.chunks)
        for file in write_runs(
            records_of(chunk, archives, PIXELS), tmp_path / "alone", schema=RECORDS, rows_per_group=ROWS_PER_GROUP
        )
    ]
    assert written == sorted(alone, key=lambda file: file.path)
    by_halves = [
        file
        for chunks in (found.chunks[4:], found.chunks[:4])
        for file in made(spark, replace(found, chunks=chunks), archives, tmp_path / "halves")
    ]
    assert sorted(by_halves, key=lambda file: file.path) == written


@pytest.mark.spark
def test_what_an_interrupted_attempt_finished_is_taken_over_and_the_rest_made_again(
    spark: SparkSession, folder: SourceSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = survey(spark, folder)
    first = made(spark, found, folder, out)
    paths = [out / file.path for file in first]
    assert len(paths) == 8
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:50])
    pq.write_table(pq.read_table(paths[4]).slice(1), paths[4])
    (out / "rows" / ".000000.parquet.999").write_bytes(b"what a killed task left")
    kept = {path: path.stat().st_ino for path in paths[5:]}
    assert made(spark, found, folder, out) == first
    assert {path: path.stat().st_ino for path in paths[5:]} == kept


@pytest.mark.spark
def test_what_was_out_of_reach_is_read_again_by_the_next_attempt(
    spark: SparkSession, archives: SourceSettings, tmp_path: Path
) -> None:
    undisturbed = made(spark, survey(spark, archives), archives, tmp_path / "undisturbed")
    found = survey(spark, archives)
    away = Path(archives.path, "1.tar").rename(tmp_path / "away.tar")
    during = made(spark, found, archives, tmp_path / "out")
    rows = table(tmp_path / "out", during)
    assert sum(file.rows for file in during) == found.num_images == 54
    assert rows.column("decode").to_pylist().count("unreadable") == 18
    assert during != undisturbed
    away.rename(Path(archives.path, "1.tar"))
    assert made(spark, found, archives, tmp_path / "out") == undisturbed


@pytest.mark.spark
def test_a_container_cut_between_survey_and_pass_loses_what_is_gone_and_no_row(
    spark: SparkSession, archives: SourceSettings, tmp_path: Path
) -> None:
    found = survey(spark, archives)
    path = Path(archives.path, "2.tar")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rows = table(tmp_path / "out", made(spark, found, archives, tmp_path / "out"))
    assert len(rows) == 54
    lost = [row for row in rows.to_pylist() if row["decode"] == "unreadable"]
    assert 0 < len(lost) < 18
    assert {row["source"].partition("!/")[0] for row in lost} == {str(path)}
    assert len({row["source"] for row in lost}) == len(lost)
    assert all((row["image"], row["num_bytes"], row["width"], row["hash"]) == (b"", 0, None, None) for row in lost)


@pytest.mark.spark
def test_a_survey_names_what_is_broken_and_cuts_the_rest(
    spark: SparkSession, archives: SourceSettings, tmp_path: Path
) -> None:
    Path(archives.path, "1.tar").write_bytes(b"nonsense" * 1000)
    found = survey(spark, archives)
    assert [container.path for container in found.containers] == [f"{archives.path}/{place}.tar" for place in range(3)]
    assert [(part.container, part.num_bytes) for part in found.breaks] == [(f"{archives.path}/1.tar", 8000)]
    assert found.num_images == 36
    sizes = [container.num_bytes for container in found.containers]
    assert found.broken_fraction() == pytest.approx((sizes[0] + sizes[2]) / 2 / (1.5 * (sizes[0] + sizes[2])))


@pytest.mark.spark
def test_a_mistake_in_the_list_of_identities_is_told_before_any_task(
    spark: SparkSession, folder: SourceSettings, tmp_path: Path
) -> None:
    who = tmp_path / "who.csv"
    who.write_text("picture,identity\n")
    with pytest.raises(UserError, match=rf"^{who} has the columns picture, identity; call that"):
        survey(spark, folder.model_copy(update={"identity_list": who}))


@pytest.mark.spark
@pytest.mark.parametrize("change", ["rename", "grow", "remove"])
def test_the_digest_of_a_survey_changes_with_what_is_to_be_read(
    spark: SparkSession, folder: SourceSettings, change: str
) -> None:
    before = survey(spark, folder).digest
    assert survey(spark, folder).digest == before
    path = Path(folder.path, "p3/3.jpg")
    if change == "rename":
        path.rename(path.with_name("3b.jpg"))
    elif change == "grow":
        path.write_bytes(path.read_bytes() + b"!")
    else:
        path.unlink()
    assert survey(spark, folder).digest != before


def of(sizes: list[int], found: int, breaks: list[tuple[int, int, int]], images: int = 100) -> Survey:
    """A survey of containers of some sizes; their breaks are (container, offset, bytes)."""
    containers = [Container(f"{place}.tar", size, "") for place, size in enumerate(sizes)]
    chunks = [Chunk(0, (Portion("0.tar", 0, 1, images, found),))] if images else []
    return Survey(containers, chunks, [Break(f"{place}.tar", at, size, "broken") for place, at, size in breaks])


@pytest.mark.parametrize(
    ("found", "unreadable", "fraction"),
    [
        (of([1000, 1000], 1900, []), 0, 0.0),
        (of([1000, 1000], 900, [(0, 0, 1000)]), 0, 0.5),
        (of([1000, 1000], 1900, [(0, 300, 50), (1, 500, 50)]), 0, 0.05),
        (of([1000, 1000, 0], 1900, [(2, 0, 0)]), 0, 1 / 3),
        (of([1000, 0, 0, 0], 900, [(1, 0, 0), (2, 0, 0), (3, 0, 0)]), 0, 3 / 4),
        # An error page instead of an archive; an archive of which a half came.
        (of([1000, 1000, 1000, 200], 2900, [(3, 0, 200)]), 0, 1 / 4),
        (of([1000, 1000, 1000, 500], 3400, [(3, 490, 10)]), 0, 510 / 4000),
        # Larger than the others, it lacks no more than it shows.
        (of([1000, 1000, 3000], 4800, [(2, 2900, 100)]), 0, 100 / 5000),
        (of([1000], 0, [(0, 0, 1000)], images=0), 0, 1.0),
        (of([0, 0], 0, [(0, 0, 0), (1, 0, 0)], images=0), 0, 1.0),
        (of([0], 5000, []), 7, 0.07),
        (of([0], 5000, []), 100, 1.0),
        (of([1000], 500, [(0, 0, 500)]), 60, 1.0),
        # Compressed inside: the pictures are more bytes than their file.
        (of([100], 9900, [(0, 0, 99)]), 0, 99 / 9999),
        # A note on an index beside the container.
        (of([100, 10], 110, [(1, 10, 0)]), 0, 0.0),  # only the mark of its end is missing
        (Survey([Container("0.rec", 100, "")], of([], 90, []).chunks, [Break("0.idx", 0, 0, "strange")]), 0, 0.0),
    ],
)
def test_the_broken_share_is_of_bytes_and_of_images(found: Survey, unreadable: int, fraction: float) -> None:
    assert found.broken_fraction(num_unreadable=unreadable) == pytest.approx(fraction)


def test_batches_are_bounded_by_bytes_and_by_images(tmp_path: Path, write_tar) -> None:
    large = {f"{number:02d}": bytes(3 << 20) for number in range(8)}
    small = {f"s/{number:04d}": b"x" for number in range(600)}
    settings = source("tar", write_tar(tmp_path / "a.tar", large | small))
    batches = list(records_of(Chunk(3, tuple(_portions(settings))), settings, PIXELS))
    assert [batch.num_rows for batch in batches] == [3, 3, 256, 256, 90]
    assert sum(batch.column(IMAGE).nbytes for batch in batches[:1]) < 10 << 20
    assert {name for batch in batches for name in batch.column(FILE).to_pylist()} == {"rows/000003"}


def test_an_image_above_the_limit_is_a_record_without_its_bytes(tmp_path: Path, write_tar) -> None:
    settings = source("tar", write_tar(tmp_path / "a.tar", {"a/1.jpg": b"x" * 2000, "a/2.jpg": b"y" * 10}))
    chunk = Chunk(0, tuple(_portions(settings)))
    (batch,) = records_of(chunk, settings, PixelSettings(max_bytes=1000))
    large, small = batch.to_pylist()
    assert (large["decode"], large["num_bytes"], large["image"]) == ("too_many_bytes", 2000, b"")
    assert large["image_id"] == hashlib.sha256(b"x" * 2000).hexdigest()
    assert (small["decode"], small["num_bytes"], small["image"]) == ("not_an_image", 10, b"y" * 10)


def test_names_of_any_bytes_are_records(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"n\xff")
    path.mkdir()
    (path / "1.jpg").write_bytes(b"x")
    settings = source("folder", tmp_path)
    ((row,),) = [batch.to_pylist() for batch in records_of(Chunk(0, tuple(_portions(settings))), settings, PIXELS)]
    assert (row["source"], row["identity"]) == (f"{tmp_path}/n\\xff/1.jpg", "n\\xff")


def _portions(settings: SourceSettings) -> Iterator[Portion]:
    from pipelines.sources import reading

    parts = (part for one in reading.containers(settings) for part in reading.scan(one, settings))
    return (part for part in parts if isinstance(part, Portion))
