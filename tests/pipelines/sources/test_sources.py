"""pipelines/sources: the same faces in any container become the same records, decisions and shards."""

import hashlib
import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.columns import DATASET
from pipelines.curate import decide
from pipelines.dedup.near import comparable, near_pairs
from pipelines.dedup.settings import DedupSettings
from pipelines.ingest import ingest, survey
from pipelines.parquet import in_files, write_files
from pipelines.records import DECISIONS, IMAGE, RECORDS
from pipelines.settings import CurateSettings, PixelSettings, ShardSettings, SplitSettings
from pipelines.shard import place_rows, shard
from pipelines.sources.chunks import Chunk
from pipelines.sources.entry import Break, Portion
from pipelines.sources.reading import containers, describe, read, scan
from pipelines.sources.settings import (
    FolderSettings,
    ListSettings,
    ParquetSettings,
    RecordIOSettings,
    SourceSettings,
    TarSettings,
    WebDatasetSettings,
)

KINDS = ("folder", "list", "tar", "webdataset", "rec", "rec with idx", "parquet", "hugging face")
DEDUP = DedupSettings()
CURATE = CurateSettings(split=SplitSettings(val_fraction=0.2))

Faces = list[tuple[int, bytes]]  # identity, picture
Pack = Callable[[str, Faces, Path], SourceSettings]


@pytest.fixture(scope="module")
def pack(write_images, write_tar, write_rec, to_record) -> Pack:
    """Lay faces down as a source of some kind."""

    def named(faces: Faces) -> dict[str, bytes]:
        return {f"{who}/{number:06d}.jpg": data for number, (who, data) in enumerate(faces)}

    def packed(kind: str, faces: Faces, home: Path) -> SourceSettings:
        home.mkdir(parents=True)
        whos, images = [who for who, _ in faces], [data for _, data in faces]
        if kind == "folder":
            return FolderSettings(path=str(write_images(home / "faces", named(faces))))
        if kind == "list":
            root = write_images(home / "faces", {f"{number}": data for number, data in enumerate(images)})
            (root / "list.csv").write_text("path,identity\n" + "".join(f"{n},{who}\n" for n, who in enumerate(whos)))
            return ListSettings(path=str(root / "list.csv"))
        if kind == "tar":
            return TarSettings(path=str(write_tar(home / "faces.tar", named(faces))))
        if kind == "webdataset":
            sides = [{f"{n}.cls": b"%d" % who, f"{n}.jpg": data} for n, (who, data) in enumerate(faces)]
            members = {name: content for side in sides for name, content in side.items()}
            return WebDatasetSettings(path=str(write_tar(home / "faces.tar", members)))
        if kind.startswith("rec"):
            payloads = [to_record(who, data) for who, data in faces]
            write_rec(home / "faces.rec", payloads, index=kind.endswith("idx"))
            return RecordIOSettings(path=str(home / "faces.rec"))
        table = pa.table({"image": pa.array(images), "identity": [str(who) for who in whos]})
        if kind == "hugging face":
            names = sorted({str(who) for who in whos})
            told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
            struct = pa.array([{"bytes": data, "path": None} for data in images])
            table = pa.table({"image": struct, "label": [names.index(str(who)) for who in whos]})
            table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
        pq.write_table(table, home / "faces.parquet", row_group_size=97)
        return ParquetSettings(path=str(home / "faces.parquet"))

    return packed


@dataclass(frozen=True)
class Outcome:
    """What became of a source, without the names of its pictures."""

    records: list[tuple[object, ...]]
    decisions: list[tuple[object, ...]]
    shards: list[tuple[str, str]]


def without_source(paths: list[Path], names: list[str]) -> list[tuple[object, ...]]:
    columns = [name for name in names if name != "source"]
    table = pa.concat_tables(pq.read_table(path, columns=columns) for path in paths)
    return sorted(zip(*(table.column(name).to_pylist() for name in columns), strict=True), key=repr)


def milled(spark: SparkSession, settings: SourceSettings, home: Path, *, curate: bool = True) -> Outcome:
    """Source to shards, by the stages that the jobs call."""
    found = survey(spark, settings)
    assert not found.breaks
    made = ingest(spark, found.chunks, home / "records", source=settings, pixels=PixelSettings())
    paths = [home / "records" / file.path for file in made]
    facts = without_source(paths, [name for name in RECORDS.names if name != IMAGE])
    if not curate:
        return Outcome(facts, [], [])
    records = spark.read.parquet(*map(str, paths))
    pairs = near_pairs(comparable(records, DEDUP), DEDUP, home / "pairs")
    decided = in_files(
        decide(records, pairs.rows, CURATE, DEDUP, seed=5, scratch=home / "scratch"),
        num_rows=len(facts),
        key=("image_id", "source"),
    )
    written = write_files(decided, home / "d", schema=DECISIONS, rows_per_group=10_000)
    decisions = [home / "d" / file.path for file in written]
    placed = place_rows(spark.read.parquet(*map(str, decisions)), ShardSettings(rows_per_file=4096), seed=5)
    shards = write_files(shard(records, placed), home / "dataset", schema=DATASET, rows_per_group=512)
    spark.catalog.clearCache()
    return Outcome(facts, without_source(decisions, DECISIONS.names), [(file.path, file.sha256) for file in shards])


def with_faults(faces: Faces) -> Faces:
    """Plant exact copies, the same picture under two identities, and what is no picture."""
    copies = [(who, data) for who, data in faces[5:65:6]]
    stolen = [(who + 1, data) for who, data in faces[7:70:10]]
    broken = [(faces[3][0], b""), (faces[4][0], faces[4][1][:300]), (faces[2][0], b"<html>not found</html>")]
    return [*faces, *copies, *stolen, *broken]


@pytest.fixture(scope="module")
def few(draw, to_jpeg) -> Faces:
    return with_faults([(number // 10, to_jpeg(draw(number))) for number in range(180)])


@pytest.fixture(scope="module")
def truth(spark: SparkSession, few: Faces, pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What becomes of the folder."""
    home = tmp_path_factory.mktemp("folder")
    return milled(spark, pack("folder", few, home / "source"), home)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_gives_every_picture_with_its_identity(kind: str, few: Faces, pack: Pack, tmp_path: Path) -> None:
    settings = pack(kind, few, tmp_path / "source")
    parts = [part for one in containers(settings) for part in scan(one, settings)]
    assert not [part for part in parts if isinstance(part, Break)]
    portions = [part for part in parts if isinstance(part, Portion)]
    rows = [row for n, one in enumerate(portions) for row in read(Chunk(n, (one,)), settings, max_bytes=1 << 20)]
    assert sorted((row.identity, row.data) for row in rows) == sorted((str(who), data) for who, data in few)
    assert all(row.image_id == hashlib.sha256(row.data).hexdigest() for row in rows)
    assert len({row.source for row in rows}) == len(few) == describe(settings).num_files


@pytest.mark.spark
def test_the_planted_faults_of_the_folder_are_found(truth: Outcome, few: Faces) -> None:
    reasons = [row[DECISIONS.names.index("reason") - 1] for row in truth.decisions]
    assert len(truth.records) == len(truth.decisions) == len(few)
    # Two of the ten that were copied were also put under another identity.
    assert reasons.count("exact_duplicate") == 8
    assert reasons.count("two_identities") == 5 * 2 + 2 * 3
    assert [reasons.count(fault) for fault in ("empty", "truncated", "not_an_image")] == [1, 1, 1]


@pytest.mark.spark
@pytest.mark.parametrize("kind", KINDS[1:])
def test_any_container_gives_the_records_of_the_folder(
    spark: SparkSession, kind: str, few: Faces, truth: Outcome, pack: Pack, tmp_path: Path
) -> None:
    assert milled(spark, pack(kind, few, tmp_path / "source"), tmp_path, curate=False).records == truth.records


# Of the kinds whose rows are named by numbers, which puts copies into another order than paths do.
@pytest.mark.spark
@pytest.mark.parametrize("kind", ["rec", "hugging face"])
def test_a_container_without_names_gives_the_decisions_and_shards_of_the_folder(
    spark: SparkSession, kind: str, few: Faces, truth: Outcome, pack: Pack, tmp_path: Path
) -> None:
    assert milled(spark, pack(kind, few, tmp_path / "source"), tmp_path) == truth


@pytest.mark.slow
@pytest.mark.spark
def test_twenty_thousand_faces_become_the_same_dataset_from_any_container(
    spark: SparkSession, pack: Pack, tmp_path: Path
) -> None:
    drawn = runpy.run_path(str(Path(__file__).parents[2] / "bench" / "pictures.py"))["drawn_jpegs"]
    pictures: Iterator[bytes] = drawn(20_000 - 20)
    faces = with_faults([(number // 50, data) for number, data in enumerate(pictures)])
    assert len(faces) == 20_000
    spark.conf.set("spark.sql.codegen.wholeStage", "true")
    try:
        outcomes = {}
        for kind in KINDS:
            home = tmp_path / kind.replace(" ", "_")
            outcomes[kind] = milled(spark, pack(kind, faces, home / "source"), home)
            shutil.rmtree(home)
    finally:
        spark.conf.set("spark.sql.codegen.wholeStage", "false")
    truth = outcomes.pop("folder")
    assert len(truth.decisions) == 20_000
    assert len(truth.shards) == 5
    assert [kind for kind, outcome in outcomes.items() if outcome != truth] == []
