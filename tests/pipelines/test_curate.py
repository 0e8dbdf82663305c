"""pipelines/ingest, curate, shard and parquet together: planted truth comes out, and the same bytes every time."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.curate import CurateSettings, decide, not_kept
from pipelines.dedup.near import DedupSettings, comparable, near_pairs
from pipelines.ingest import ingest, survey
from pipelines.parquet import in_files, write_files
from pipelines.pixels import PixelSettings
from pipelines.records import DATASET, DECISIONS, IMAGE, RECORDS, REJECTED_ROWS, REJECTIONS
from pipelines.shard import ShardSettings, place_rows, shard
from pipelines.sources import SourceSettings
from pipelines.split import SplitSettings

pytestmark = pytest.mark.spark

SETTINGS = CurateSettings(split=SplitSettings(val_fraction=0.2))
DEDUP = DedupSettings()
KEY = ("image_id", "source")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, draw, to_jpeg, write_images) -> Path:
    files = {f"p{person}/{photo}.jpg": to_jpeg(draw(10 * person + photo)) for person in range(6) for photo in range(4)}
    picture = draw(0)
    files["p0/copy.jpg"] = files["p0/0.jpg"]
    files["p0/again.jpg"] = to_jpeg(picture, 40)
    files["p0/small.jpg"] = to_jpeg(cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
    files["p0/mirror.jpg"] = to_jpeg(np.ascontiguousarray(picture[:, ::-1]))
    files["p1/cut.jpg"] = files["p1/0.jpg"][:500]
    files["p2/page.jpg"] = b"<html>not found</html>"
    files["p3/empty.jpg"] = b""
    files["p4/stolen.jpg"] = files["p5/0.jpg"]
    files["lonely/1.jpg"] = to_jpeg(draw(999))
    files["a.jpg"] = files["p2/1.jpg"]  # of nobody, and in front of the one that it is a copy of
    files["p2/flat.jpg"] = to_jpeg(np.full((90, 90, 3), 128, dtype=np.uint8))
    return write_images(tmp_path_factory.mktemp("source") / "faces", files)


def _records(spark: SparkSession, source: Path, out: Path) -> DataFrame:
    settings = SourceSettings(kind="folder", path=str(source), chunk_images=5)
    files = ingest(spark, survey(spark, settings).chunks, out, source=settings, pixels=PixelSettings())
    return spark.read.parquet(*(str(out / file.path) for file in files))


def _decide(records: DataFrame, settings: CurateSettings = SETTINGS, *, seed: int = 0) -> DataFrame:
    pairs = near_pairs(comparable(records, DEDUP), DEDUP, Path(mkdtemp()))
    return decide(records.drop(IMAGE), pairs.rows, settings, DEDUP, seed=seed, scratch=Path(mkdtemp()))


@pytest.fixture(scope="module")
def records(spark: SparkSession, source: Path, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    return _records(spark, source, tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def decisions(records: DataFrame) -> dict[str, dict[str, object]]:
    rows = _decide(records).collect()
    return {row["source"].split("/faces/")[1]: row.asDict() for row in rows}


def test_a_record_is_the_file_as_found(records: DataFrame, source: Path) -> None:
    rows = {row["source"]: row for row in records.select("source", "image", "image_id").collect()}
    paths = [path for path in source.rglob("*") if path.is_file()]
    assert len(rows) == len(paths)
    for path in paths:
        row = rows[str(path)]
        assert bytes(row["image"]) == path.read_bytes()
        assert row["image_id"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_planted_picture_gets_its_decision(decisions: dict[str, dict[str, object]]) -> None:
    outcome = {name: (row["status"], row["reason"]) for name, row in decisions.items()}
    expected = {
        "p0/copy.jpg": ("duplicate", "exact_duplicate"),
        "p0/again.jpg": ("duplicate", "near_duplicate"),
        "p0/small.jpg": ("duplicate", "near_duplicate"),
        "p0/mirror.jpg": ("duplicate", "near_duplicate"),
        "p1/cut.jpg": ("rejected", "truncated"),
        "p2/page.jpg": ("rejected", "not_an_image"),
        "p3/empty.jpg": ("rejected", "empty"),
        "p4/stolen.jpg": ("conflict", "two_identities"),
        "p5/0.jpg": ("conflict", "two_identities"),
        "lonely/1.jpg": ("rejected", "few_images"),
        "p2/flat.jpg": ("rejected", "flat"),
        "a.jpg": ("rejected", "no_identity"),
        "p2/1.jpg": ("kept", None),
    }
    group = ["p0/0.jpg", "p0/copy.jpg", "p0/again.jpg", "p0/mirror.jpg"]
    keepers = [name for name in group if outcome[name][0] == "kept"]
    assert len(keepers) == 1, "exactly one of the equals survives"
    for name in group:
        expected.pop(name, None)
        assert decisions[name]["group_id"] == decisions[keepers[0]]["image_id"]
    for name, wanted in expected.items():
        assert outcome[name] == wanted, name
    planted = set(expected) | set(group)
    assert all(outcome[name] == ("kept", None) for name in outcome if name not in planted)


def test_whatever_is_not_kept_lies_in_the_table_of_the_rejected_with_what_it_was_refused_by(
    records: DataFrame, decisions: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    decided = _decide(records)
    (file,) = write_files(
        in_files(not_kept(decided), num_rows=15, key=KEY, folder=REJECTED_ROWS),
        tmp_path,
        schema=REJECTIONS,
        rows_per_group=100,
    )
    table = pq.read_table(tmp_path / file.path)
    assert table.schema.equals(REJECTIONS)
    rows = {row["source"].split("/faces/")[1]: row for row in table.to_pylist()}
    assert set(rows) == {name for name, row in decisions.items() if row["status"] != "kept"}
    same = set(REJECTIONS.names) & set(DECISIONS.names)
    assert all(row[name] == decisions[source][name] for source, row in rows.items() for name in same)
    flat = rows.pop("p2/flat.jpg")
    assert (flat["measurement"], flat["value"], flat["limit"]) == ("contrast", 0.0, SETTINGS.contrast.min)
    # A duplicate goes by what its keeper is better in; nothing else was held against a limit.
    assert all((row["measurement"] is not None) == (row["reason"] == "near_duplicate") for row in rows.values())


def test_of_equal_bytes_a_row_without_a_name_does_not_stand_for_the_others(spark: SparkSession) -> None:
    rows = [_row(0, "/1", None), _row(0, "/2", "ann"), _row(0, "/3", "ann"), _row(1, "/4", "ann")]
    decided = _decide(_table(spark, rows), CurateSettings(split=SplitSettings(val_fraction=0)))
    found = {row["source"]: (row["status"], row["reason"]) for row in decided.collect()}
    assert found == {
        "/1": ("rejected", "no_identity"),
        "/2": ("kept", None),
        "/3": ("duplicate", "exact_duplicate"),
        "/4": ("kept", None),
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_decisions_are_those_of_looking_at_every_row_and_every_pair(spark: SparkSession, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for picture in range(90):
        # Bits apart within a family: mostly less than the largest distance, in chains more.
        drawn = _row(picture // 3, "", f"p{picture // 9}", flips=rng.choice(256, rng.integers(0, 22), replace=False))
        drawn |= {"brightness": float(rng.choice([5, 120], p=[0.15, 0.85])), "width": int(rng.integers(50, 53))}
        for copy in range(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
            identity = rng.choice([drawn["identity"], "other", None], p=[0.85, 0.05, 0.1])
            rows.append(drawn | {"identity": identity, "source": f"/{rng.integers(10**6):06d}/{picture}/{copy}"})
    columns = ("status", "reason", "group_id", "keeper_id", "distance")
    found = {row["source"]: tuple(row[name] for name in columns) for row in _decide(_table(spark, rows)).collect()}
    expected = _one_by_one(rows, min_images=SETTINGS.min_images_per_identity)
    assert found == expected
    assert {outcome[:2] for outcome in expected.values()} == {
        ("kept", None),
        ("rejected", "dark"),
        ("rejected", "no_identity"),
        ("rejected", "few_images"),
        ("duplicate", "near_duplicate"),
        ("duplicate", "exact_duplicate"),
        ("conflict", "two_identities"),
    }


def test_of_equal_rows_one_is_kept(spark: SparkSession) -> None:
    rows = [_row(family, f"a.tar!/{family}", "ann") for family in (1, 2, 3)]
    decided = _decide(_table(spark, [*rows, rows[0], rows[0]]), CurateSettings(split=SplitSettings(val_fraction=0)))
    outcomes = Counter((row["source"], row["status"], row["reason"]) for row in decided.collect())
    assert outcomes == {
        ("a.tar!/1", "kept", None): 1,
        ("a.tar!/1", "duplicate", "exact_duplicate"): 2,
        ("a.tar!/2", "kept", None): 1,
        ("a.tar!/3", "kept", None): 1,
    }


Row = dict[str, Any]


def _row(family: int, source: str, identity: str | None, *, flips: Sequence[int] = ()) -> Row:
    """What is measured of a fit picture, whose hash is that of its family but for the bits that are flipped."""
    rng = np.random.default_rng(family)
    bits = rng.integers(0, 2, 256, dtype=np.uint8)
    bits[list(flips)] ^= 1
    fit = {"decode": "ok", "width": 50, "height": 50, "num_bytes": 1000, "blur": 100.0, "brightness": 120.0}
    fit |= {"contrast": 50.0, "entropy": 7.0, "dominance": 0.1, "hash_quality": 100.0}
    hashes = {"hash": np.packbits(bits).tobytes(), "hash_flipped": rng.bytes(32)}
    image_id = hashlib.sha256(hashes["hash"]).hexdigest()
    return {**fit, **hashes, "image_id": image_id, "source": source, "identity": identity}


def _table(spark: SparkSession, rows: list[Row]) -> DataFrame:
    whole = [{name: row.get(name) for name in RECORDS.names} for row in rows]
    return spark.createDataFrame(pa.Table.from_pylist(whole, schema=RECORDS))


def _one_by_one(rows: list[Row], *, min_images: int) -> dict[str, tuple[object, ...]]:
    """Source -> status, reason, group, keeper and distance, the slow way."""
    reasons = {
        row["source"]: "no_identity" if row["identity"] is None else "dark" if row["brightness"] < 10 else None
        for row in rows
    }
    copies: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (reasons[row["source"]] is not None, row["identity"] or "", row["source"])):
        copies.setdefault(row["image_id"], []).append(row)
    groups = _groups(copies, reasons)
    names: dict[object, set[str]] = {}
    for row in rows:
        if reasons[row["source"]] is None:
            names.setdefault(groups[row["source"]][0], set()).add(row["identity"])
    outcomes: dict[str, tuple[str, str | None]] = {}
    for row in rows:
        group, keeper, _ = groups[row["source"]]
        is_first = copies[row["image_id"]][0] is row
        if reasons[row["source"]]:
            outcomes[row["source"]] = ("rejected", reasons[row["source"]])
        elif group is not None and len(names[group]) > 1:
            outcomes[row["source"]] = ("conflict", "two_identities")
        elif keeper is not None:
            outcomes[row["source"]] = ("duplicate", "near_duplicate" if is_first else "exact_duplicate")
        else:
            outcomes[row["source"]] = ("kept", None)
    sizes = Counter(row["identity"] for row in rows if outcomes[row["source"]] == ("kept", None))
    for row in rows:
        if outcomes[row["source"]] == ("kept", None) and sizes[row["identity"]] < min_images:
            outcomes[row["source"]] = ("rejected", "few_images")
    _let_first_rows_stand(copies, reasons, outcomes, groups)
    return {source: (*outcomes[source], *groups[source]) for source in outcomes}


def _let_first_rows_stand(
    copies: dict[str, list[Row]],
    reasons: dict[str, str | None],
    outcomes: dict[str, tuple[str, str | None]],
    groups: dict[str, tuple[object, object, object]],
) -> None:
    for name, lying in copies.items():
        # Of one picture under two names the first row of neither stands behind the other.
        firsts = {row["identity"]: row["source"] for row in reversed(lying) if reasons[row["source"]] is None}
        for source in firsts.values():
            if outcomes[source][0] == "conflict" and groups[source][1] == name:
                groups[source] = (name, None, None)


def _groups(copies: dict[str, list[Row]], reasons: dict[str, str | None]) -> dict[str, tuple[object, object, object]]:
    """Source -> group, keeper, distance."""
    keepers = _keepers({name: lying[0] for name, lying in copies.items() if reasons[lying[0]["source"]] is None})
    leaders = {keeper for keeper, _ in keepers.values()}
    groups: dict[str, tuple[object, object, object]] = {}
    for name, lying in copies.items():
        for place, row in enumerate(lying):
            is_fit = reasons[row["source"]] is None
            if not is_fit:
                groups[row["source"]] = (None, None, None)
                continue
            keeper, distance = keepers.get(name, (name, 0) if place else (None, None))
            leads = name in leaders or sum(reasons[one["source"]] is None for one in lying) > 1
            groups[row["source"]] = (keeper or (name if leads else None), keeper, distance)
    return groups


def _keepers(fit: dict[str, Row]) -> dict[str, tuple[str, int]]:
    """Image -> its keeper and the distance to it, of all that are compared with all."""

    def distance(one: Row, other: Row) -> int:
        ways = (("hash", "hash"), ("hash_flipped", "hash"), ("hash", "hash_flipped"))
        return min((int.from_bytes(one[a]) ^ int.from_bytes(other[b])).bit_count() for a, b in ways)

    waiting, found = set(fit), {}
    while waiting:
        family, new = set(), {waiting.pop()}
        while new:
            family |= new
            near = {one for one in waiting for old in new if distance(fit[one], fit[old]) <= DEDUP.max_distance}
            waiting, new = waiting - near, near
        while family:
            best = min(family, key=lambda one: (-fit[one]["width"], one))
            apart = {one: distance(fit[best], fit[one]) for one in family - {best}}
            found |= {one: (best, bits) for one, bits in apart.items() if bits <= DEDUP.max_distance}
            family = {one for one, bits in apart.items() if bits > DEDUP.max_distance}
    return found


def test_an_identity_stands_on_one_side_with_one_dense_label(decisions: dict[str, dict[str, object]]) -> None:
    kept = [row for row in decisions.values() if row["status"] == "kept"]
    sides = {row["identity"]: (row["split"], row["label"]) for row in kept}
    assert len({(row["identity"], row["split"], row["label"]) for row in kept}) == len(sides) == 6
    assert sorted(label for side, label in sides.values() if side == "train") == list(range(5))


def test_the_same_input_gives_the_same_bytes_for_any_partitioning(
    spark: SparkSession, source: Path, tmp_path: Path
) -> None:
    digests = []
    for partitions, name in ((1, "one"), (4, "four")):
        records = _records(spark, source, tmp_path / name / "records")
        spark.conf.set("spark.sql.shuffle.partitions", str(1 + partitions))
        decided = _decide(records.repartition(partitions), seed=5)
        folder = tmp_path / name / "decisions"
        written = write_files(in_files(decided, num_rows=40, key=KEY), folder, schema=DECISIONS, rows_per_group=100)
        left_out = in_files(not_kept(decided), num_rows=15, key=KEY, folder=REJECTED_ROWS)
        rejected = write_files(left_out, folder, schema=REJECTIONS, rows_per_group=100)
        table = spark.read.parquet(str(folder / "rows"))
        rows = shard(
            records.repartition(partitions), place_rows(table, ShardSettings(rows_per_file=7, rows_per_group=3), seed=5)
        )
        shards = write_files(rows, tmp_path / name / "dataset", schema=DATASET, rows_per_group=3)
        digests.append([(file.path, file.sha256, file.rows) for file in (*written, *rejected, *shards)])
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert digests[0] == digests[1]


def test_shards_are_even_with_exact_row_groups_and_intact_bytes(
    spark: SparkSession, records: DataFrame, tmp_path: Path
) -> None:
    decided = _decide(records).cache()
    rows = shard(records, place_rows(decided, ShardSettings(rows_per_file=7, rows_per_group=3), seed=0))
    files = write_files(rows, tmp_path, schema=DATASET, rows_per_group=3)
    train = [file.rows for file in files if file.path.startswith("train/")]
    assert len(train) == 3
    assert max(train) - min(train) <= 1
    for file in files:
        assert [group.rows for group in file.row_groups[:-1]] == [3] * (len(file.row_groups) - 1)
        table = pq.read_table(tmp_path / file.path)
        assert table.schema.metadata[b"huggingface"]
        for row in table.to_pylist():
            assert hashlib.sha256(row["image"]).hexdigest() == row["image_id"]
            assert zlib.crc32(row["image"]) == row["digest"]
