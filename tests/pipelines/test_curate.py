"""pipelines/ingest, curate, shard and parquet together: planted truth comes out, and the same bytes every time."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.columns import DATASET
from pipelines.curate import decide, not_kept
from pipelines.dedup.near import comparable, near_pairs
from pipelines.dedup.settings import DedupSettings
from pipelines.ingest import ingest, survey
from pipelines.leak import exclusions
from pipelines.parquet import in_files, write_files
from pipelines.records import (
    DECISIONS,
    FITS,
    IMAGE,
    MERGES,
    NEIGHBOURS,
    PAIRS,
    RECORDS,
    REJECTED_ROWS,
    REJECTIONS,
)
from pipelines.settings import CurateSettings, PixelSettings, ShardSettings, SplitSettings, UserError
from pipelines.shard import place_rows, shard
from pipelines.sources.settings import FolderSettings

pytestmark = pytest.mark.spark

SETTINGS = CurateSettings(split=SplitSettings(val_fraction=0.2))
DEDUP = DedupSettings()
KEY = ("image_id", "source")
Decide = Callable[..., DataFrame]


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
    settings = FolderSettings(path=str(source), chunk_images=5)
    files = ingest(spark, survey(spark, settings).chunks, out, source=settings, pixels=PixelSettings())
    return spark.read.parquet(*(str(out / file.path) for file in files))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def to_decisions(scratch: Path) -> Decide:
    """Pairs are found as the job of that name does it, unless they are given."""

    def run(
        records: DataFrame,
        settings: CurateSettings = SETTINGS,
        *,
        seed: int = 0,
        pairs: DataFrame | None = None,
        references: DataFrame | None = None,
        dedup: DedupSettings = DEDUP,
        **embeddings: DataFrame,
    ) -> DataFrame:
        if pairs is None:
            images = comparable(records if references is None else records.unionByName(references), DEDUP)
            pairs = near_pairs(images, DEDUP, scratch / "pairs").rows
        known = {"references": references, **embeddings}
        return decide(records.drop(IMAGE), pairs, settings, dedup, seed=seed, scratch=scratch, **known)

    return run


@pytest.fixture(scope="module")
def records(spark: SparkSession, source: Path, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    return _records(spark, source, tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def decisions(records: DataFrame, to_decisions: Decide) -> dict[str, dict[str, object]]:
    rows = to_decisions(records).collect()
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
    records: DataFrame, to_decisions: Decide, decisions: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    decided = to_decisions(records)
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
    for row in rows.values():
        told = (row["measurement"], row["value"], row["limit"])
        if row["reason"] != "near_duplicate":
            assert told == (None, None, None)
        elif row["measurement"] != "image_id":
            assert row["measurement"] in ("num_pixels", "num_bytes", "blur")
            assert row["value"] < row["limit"], "the keeper is better in what it was chosen by"


def test_of_equal_bytes_a_row_without_a_name_does_not_stand_for_the_others(
    spark: SparkSession, to_decisions: Decide
) -> None:
    rows = [_row(0, "/1", None), _row(0, "/2", "ann"), _row(0, "/3", "ann"), _row(1, "/4", "ann")]
    decided = to_decisions(_table(spark, rows), CurateSettings(split=SplitSettings(val_fraction=0)))
    found = {row["source"]: (row["status"], row["reason"]) for row in decided.collect()}
    assert found == {
        "/1": ("rejected", "no_identity"),
        "/2": ("kept", None),
        "/3": ("duplicate", "exact_duplicate"),
        "/4": ("kept", None),
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_decisions_are_those_of_looking_at_every_row_and_every_pair(
    spark: SparkSession, to_decisions: Decide, seed: int
) -> None:
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
    found = {row["source"]: tuple(row[name] for name in columns) for row in to_decisions(_table(spark, rows)).collect()}
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


def test_of_equal_rows_one_is_kept(spark: SparkSession, to_decisions: Decide) -> None:
    rows = [_row(family, f"a.tar!/{family}", "ann") for family in (1, 2, 3)]
    decided = to_decisions(
        _table(spark, [*rows, rows[0], rows[0]]), CurateSettings(split=SplitSettings(val_fraction=0))
    )
    outcomes = Counter((row["source"], row["status"], row["reason"]) for row in decided.collect())
    assert outcomes == {
        ("a.tar!/1", "kept", None): 1,
        ("a.tar!/1", "duplicate", "exact_duplicate"): 2,
        ("a.tar!/2", "kept", None): 1,
        ("a.tar!/3", "kept", None): 1,
    }


@pytest.mark.parametrize(("limit", "leaks"), [(0.3, False), (0.3, True), (None, False)])
def test_a_second_look_at_thumbnails_keeps_photos_of_close_hashes_unless_they_leak(
    spark: SparkSession, to_decisions: Decide, limit: float | None, leaks: bool
) -> None:
    looks = np.random.default_rng(0).integers(0, 64, (2, 48 * 48), dtype=np.uint8)
    rows = [
        _row(3, f"/{number}", "ann", flips=range(number))
        | {"thumbnail": looks[number % 2].tobytes(), "width": 50 - number}
        for number in range(6)
    ]
    settings = CurateSettings(split=SplitSettings(val_fraction=0), min_images_per_identity=1)
    reference = _table(spark, [_row(3, "/test", None, flips=[200])]) if leaks else None
    dedup = DedupSettings(max_residual=limit)
    decided = to_decisions(_table(spark, rows), settings, references=reference, dedup=dedup).collect()
    outcomes = {row["source"]: row["reason"] for row in sorted(decided)}
    kept = {"/0", "/1"} if limit else {"/0"}
    expected = {row["source"]: None if row["source"] in kept else "near_duplicate" for row in rows}
    assert outcomes == (dict.fromkeys(outcomes, "leak") if leaks else expected)


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
    fit = [row for row in rows if not reasons[row["source"]]]
    copies: dict[str, list[Row]] = {}
    for row in sorted(fit, key=lambda row: (row["identity"], row["source"])):
        copies.setdefault(row["image_id"], []).append(row)
    groups = {row["source"]: (None, None, None) for row in rows} | _groups(copies)
    names: dict[object, set[str]] = {}
    for row in fit:
        if row["identity"] is not None:
            names.setdefault(groups[row["source"]][0], set()).add(row["identity"])
    outcomes: dict[str, tuple[str, str | None]] = {}
    for row in rows:
        group, keeper, _ = groups[row["source"]]
        lying = [copy for copy in copies.get(row["image_id"], ()) if copy["identity"] == row["identity"]]
        if reasons[row["source"]]:
            outcomes[row["source"]] = ("rejected", reasons[row["source"]])
        elif group is not None and len(names[group]) > 1:
            outcomes[row["source"]] = ("conflict", "two_identities")
        elif keeper is not None:
            outcomes[row["source"]] = ("duplicate", "near_duplicate" if lying[0] is row else "exact_duplicate")
        else:
            outcomes[row["source"]] = ("kept", None)
    sizes = Counter(row["identity"] for row in rows if outcomes[row["source"]] == ("kept", None))
    for row in rows:
        if outcomes[row["source"]] == ("kept", None) and sizes[row["identity"]] < min_images:
            outcomes[row["source"]] = ("rejected", "few_images")
    return {source: (*outcomes[source], *groups[source]) for source in outcomes}


def _groups(copies: dict[str, list[Row]]) -> dict[str, tuple[object, object, object]]:
    """Source -> group, keeper, distance of the fit rows; those of a picture stand in order."""
    keepers = _keepers({name: lying[0] for name, lying in copies.items()})
    leaders = {keeper for keeper, _ in keepers.values()}
    groups: dict[str, tuple[object, object, object]] = {}
    for name, lying in copies.items():
        for place, row in enumerate(lying):
            is_copy = place and lying[place - 1]["identity"] == row["identity"]
            keeper, distance = keepers.get(name, (name, 0) if is_copy else (None, None))
            leads = name in leaders or len(lying) > 1
            groups[row["source"]] = (keeper or (name if leads else None), keeper, distance)
    return groups


def _keepers(fit: dict[str, Row]) -> dict[str, tuple[str, int]]:
    """Image -> its keeper and the distance to it, of all that are compared with all."""

    waiting, found = set(fit), {}
    while waiting:
        family, new = set(), {waiting.pop()}
        while new:
            family |= new
            near = {one for one in waiting for old in new if _distance(fit[one], fit[old]) <= DEDUP.max_distance}
            waiting, new = waiting - near, near
        while family:
            best = min(family, key=lambda one: (-fit[one]["width"], one))
            apart = {one: _distance(fit[best], fit[one]) for one in family - {best}}
            found |= {one: (best, bits) for one, bits in apart.items() if bits <= DEDUP.max_distance}
            family = {one for one, bits in apart.items() if bits > DEDUP.max_distance}
    return found


def test_an_identity_stands_on_one_side_with_one_dense_label(decisions: dict[str, dict[str, object]]) -> None:
    kept = [row for row in decisions.values() if row["status"] == "kept"]
    sides = {row["identity"]: (row["split"], row["label"]) for row in kept}
    assert len({(row["identity"], row["split"], row["label"]) for row in kept}) == len(sides) == 6
    assert sorted(label for side, label in sides.values() if side == "train") == list(range(5))


def test_the_same_input_gives_the_same_bytes_for_any_partitioning(
    spark: SparkSession, to_decisions: Decide, source: Path, tmp_path: Path
) -> None:
    digests = []
    for partitions, name in ((1, "one"), (4, "four")):
        records = _records(spark, source, tmp_path / name / "records")
        spark.conf.set("spark.sql.shuffle.partitions", str(1 + partitions))
        decided = to_decisions(records.repartition(partitions), seed=5)
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
    records: DataFrame, to_decisions: Decide, tmp_path: Path
) -> None:
    decided = to_decisions(records).cache()
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


def _outcomes(decided: DataFrame) -> dict[str, tuple[str, str | None]]:
    return {row["source"]: (row["status"], row["reason"]) for row in decided.collect()}


ALL_IN_TRAIN = SplitSettings(val_fraction=0)


def _settings(**given: Any) -> CurateSettings:
    return CurateSettings(split=ALL_IN_TRAIN, min_images_per_identity=1, **given)


def test_what_the_evaluation_set_has_too_is_rejected_and_listed(spark: SparkSession, to_decisions: Decide) -> None:
    rows = [
        _row(1, "/same file", "ann"),
        _row(1, "/its copy", "ann"),
        _row(2, "/alike", "ann", flips=[1, 2, 3]),
        _row(3, "/close", "bob"),
        _row(4, "/other", "bob"),
        _row(2, "/dark", "bob") | {"brightness": 1.0},
    ]
    references = [_row(family, f"/test/{family}", "eve") for family in (1, 2, 5)]
    ids = {row["source"]: row["image_id"] for row in [*rows, *references]}
    neighbours = _pairs(spark, NEIGHBOURS, (ids["/close"], ids["/test/5"], 0.93), (ids["/other"], ids["/test/5"], 0.6))
    decided = to_decisions(
        _table(spark, rows),
        _settings(leak={"min_cosine": 0.9}),
        references=_table(spark, references),
        neighbours=neighbours,
    )
    assert _outcomes(decided) == {
        **dict.fromkeys(["/same file", "/its copy", "/alike", "/close"], ("rejected", "leak")),
        "/other": ("kept", None),
        "/dark": ("rejected", "dark"),
    }
    listed = {row["source"]: (row["keeper_id"], row["distance"], row["value"]) for row in exclusions(decided).collect()}
    assert listed == {
        "/same file": (ids["/test/1"], 0, None),
        "/its copy": (ids["/test/1"], 0, None),
        "/alike": (ids["/test/2"], 3, None),
        "/close": (ids["/test/5"], None, pytest.approx(0.93)),
    }


def test_embeddings_part_people_and_join_them(spark: SparkSession, to_decisions: Decide) -> None:
    rows = [
        _row(1, "/1", "ann"),
        _row(1, "/2", "anne"),  # the same picture of the same person under two names: no conflict
        _row(2, "/3", "anna"),
        _row(3, "/4", "ann"),  # of somebody else
        _row(4, "/5", "bob"),
        _row(5, "/6", "bob"),  # seen from the side
    ]
    ids = {row["source"]: row["image_id"] for row in rows}
    cosines = {("/1", "ann"): 0.8, ("/1", "anne"): 0.8, ("/3", "anna"): 0.7, ("/4", "ann"): 0.1, ("/5", "bob"): 0.9}
    fits = [(ids[source], identity, own, "bob", 0.0) for (source, identity), own in cosines.items()]
    tables = {
        "fits": spark.createDataFrame(
            pa.Table.from_pylist([dict(zip(FITS.names, fit, strict=True)) for fit in fits], FITS)
        ),
        "merges": _merges(spark, ("ann", "anne", 4.1), ("anna", "anne", 2.6), ("ann", "bob", 1.3)),
        "neighbours": _pairs(spark, NEIGHBOURS, (ids["/5"], ids["/6"], 0.97)),
    }
    identities = {"min_own_cosine": 0.3, "merge_prominence": 2.5, "merge": "apply"}
    settings = _settings(identities=identities, semantic={"min_cosine": 0.95})
    decided = to_decisions(_table(spark, rows), settings, **tables).persist()
    outcomes = _outcomes(decided)
    bobs = sorted([outcomes.pop("/5"), outcomes.pop("/6")])
    assert bobs == [("duplicate", "semantic_duplicate"), ("kept", None)]
    assert outcomes == {
        "/1": ("kept", None),
        "/2": ("duplicate", "exact_duplicate"),
        "/3": ("kept", None),
        "/4": ("rejected", "outlier"),
    }
    told = {row["source"]: row for row in decided.collect()}
    assert {told[source]["merged_into"] for source in ("/1", "/2", "/3", "/4")} == {"ann"}
    assert told["/5"]["merged_into"] is None
    assert told["/1"]["label"] is not None
    assert told["/1"]["label"] == told["/3"]["label"]
    assert (told["/4"]["measurement"], told["/4"]["limit"]) == ("own_cosine", 0.3)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop", set()), ("majority", {"/a/1"}), ("trusted", {"/checked/1"})],
    ids=lambda told: str(told),
)
def test_of_two_names_that_stays_which_the_settings_say(
    spark: SparkSession, to_decisions: Decide, policy: str, kept: set[str]
) -> None:
    rows = [_row(1, "/a/1", "ann"), _row(1, "/a/2", "ann", flips=[7]) | {"width": 49}, _row(1, "/checked/1", "bob")]
    settings = _settings(conflicts={"policy": policy, "trusted": ["/checked/"]})
    outcomes = _outcomes(to_decisions(_table(spark, rows), settings))
    assert {source for source, outcome in outcomes.items() if outcome == ("kept", None)} == kept


@pytest.mark.parametrize("setting", ["leak", "semantic"])
def test_what_asks_for_embeddings_that_are_not_there_is_refused(
    spark: SparkSession, to_decisions: Decide, setting: str
) -> None:
    rows = _table(spark, [_row(1, "/1", "ann")])
    with pytest.raises(UserError, match=rf"curate.{setting}.min_cosine=0.9 needs embeddings"):
        to_decisions(rows, _settings(**{setting: {"min_cosine": 0.9}}), references=rows)


@pytest.mark.parametrize("policy", ["drop", "majority"])
def test_a_spanning_tree_of_the_pairs_decides_as_all_of_them_do_on_any_partitions(
    spark: SparkSession, to_decisions: Decide, policy: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for picture in range(150):
        flips = rng.choice(60, rng.integers(0, 22), replace=False)
        drawn = _row(picture // 8, f"/{picture}", f"p{rng.integers(3)}", flips=flips)
        rows.append(
            drawn | {"brightness": float(rng.choice([5, 120], p=[0.2, 0.8])), "width": int(rng.integers(48, 52))}
        )
    table = _table(spark, rows)
    found = near_pairs(comparable(table, DEDUP), DEDUP, tmp_path).rows.collect()
    graph = nx.Graph([(row["left"], row["right"]) for row in found])
    trees = [nx.random_spanning_tree(graph.subgraph(part), seed=1) for part in nx.connected_components(graph)]
    few = [tuple(sorted(edge)) for tree in trees for edge in tree.edges]
    assert len(few) < len(found) / 2
    settings = _settings(conflicts={"policy": policy})
    decided = []
    for partitions, pairs in ((1, found), (5, few)):
        spark.conf.set("spark.sql.shuffle.partitions", str(1 + partitions))
        listed = _pairs(spark, PAIRS, *((pair[0], pair[1], 0) for pair in pairs)).repartition(partitions)
        decided.append(
            sorted(map(tuple, to_decisions(table.repartition(partitions), settings, pairs=listed).collect()), key=str)
        )
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    assert decided[0] == decided[1]
    statuses = Counter(row[DECISIONS.names.index("status")] for row in decided[0])
    assert sum(statuses.values()) == len(rows)
    assert len(statuses) == 4


@pytest.mark.parametrize(("seed", "policy"), [(0, "drop"), (1, "majority"), (2, "majority")])
def test_no_identity_and_no_group_lies_on_two_sides_of_the_split(
    spark: SparkSession, to_decisions: Decide, seed: int, policy: str
) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for picture in range(240):
        flips = rng.choice(60, rng.integers(0, 22), replace=False)
        person = picture // 12 if rng.random() < 0.9 else rng.integers(20)
        row = _row(picture // 4, f"/{picture}", f"p{person:02}", flips=flips)
        rows.append(row | {"width": 48 + int(row["image_id"], 16) % 4})  # equal bytes are equally wide
    settings = CurateSettings(
        split=SplitSettings(val_fraction=0.4),
        min_images_per_identity=1,
        conflicts={"policy": policy},
        identities={"merge": "apply"},
    )
    merges = _merges(spark, ("p00", "p01", 4.0), ("p01", "p07", 3.5), ("p11", "p12", 3.5), ("p02", "p03", 2.0))
    decided = to_decisions(_table(spark, rows), settings, seed=seed, merges=merges).collect()
    assert len(decided) == len(rows)
    kept = [row for row in decided if row["status"] == "kept"]
    names = {row["source"]: row["merged_into"] or row["identity"] for row in kept}
    sides = {(names[row["source"]], row["split"], row["label"]) for row in kept}
    assert {split for _, split, _ in sides} == {"train", "val"}
    assert len({name for name, _, _ in sides}) == len(sides), "a name has one side and one label"
    assert {name for name in names.values() if name in ("p00", "p01", "p07", "p11", "p12")} <= {"p00", "p11"}
    by_image = {row["image_id"]: row for row in rows}
    pairs = combinations((by_image[row["image_id"]] for row in kept), 2)
    apart = [_distance(one, other) for one, other in pairs]
    assert min(apart) > DEDUP.max_distance, "of pictures that are alike one is kept, so none lies on the other side"
    of_group = {row["group_id"]: row["split"] for row in kept}
    keepers = {row["keeper_id"]: row["group_id"] for row in decided if row["status"] == "duplicate"}
    assert keepers
    assert all(keeper == group and group in of_group for keeper, group in keepers.items())


def _distance(one: Row, other: Row) -> int:
    ways = (("hash", "hash"), ("hash_flipped", "hash"), ("hash", "hash_flipped"))
    return min((int.from_bytes(one[a]) ^ int.from_bytes(other[b])).bit_count() for a, b in ways)


def _pairs(spark: SparkSession, schema: pa.Schema, *pairs: tuple[str, str, float]) -> DataFrame:
    rows = [(*sorted(pair[:2]), pair[2]) for pair in pairs]
    return spark.createDataFrame(
        pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    )


def _merges(spark: SparkSession, *told: tuple[str, str, float]) -> DataFrame:
    rows = [dict(zip(MERGES.names, (left, right, 0.5, prominence), strict=True)) for left, right, prominence in told]
    return spark.createDataFrame(pa.Table.from_pylist(rows, MERGES))
