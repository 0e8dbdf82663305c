"""The tables against a search by brute force, on planted identities."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn.covariance import LedoitWolf

from pipelines.records import EMBEDDINGS, FITS, IDENTITY, IMAGE_ID, MERGES, NEIGHBOURS
from pipelines.score import passes
from pipelines.score.score import Scores, score
from pipelines.score.settings import ScoreSettings
from pipelines.score.whiten import Whitening
from pipelines.tables.arrow import to_lists

pytestmark = pytest.mark.spark

TRIM = 0.25
Rows = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def people() -> tuple[Rows, list[tuple[str, str]]]:
    """Vectors by image_id, and named pictures: 12 people of 8, the last two of them one; 20 pictures without names."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(11, 16))
    rows = [directions[min(number // 8, 10)] + 0.6 * rng.normal(size=16) for number in range(96)]
    rows += list(rng.normal(size=(20, 16)))
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(rows))]
    vectors = {one: (row / np.linalg.norm(row)).astype(np.float32) for one, row in zip(ids, rows, strict=True)}
    named = [(one, f"p{number // 8:02d}") for number, one in enumerate(ids[:96])]
    # A picture under two names, and a person with one picture.
    return vectors, [*named, (ids[0], "p05"), (ids[96], "alone")]


@pytest.fixture(scope="module")
def tables(spark: SparkSession) -> Callable[..., tuple[DataFrame, DataFrame]]:
    def build(vectors: Rows, named: list[tuple[str, str]], parts: int = 1) -> tuple[DataFrame, DataFrame]:
        columns = [pa.array(list(vectors)), to_lists(np.stack(list(vectors.values())))]
        embeddings = spark.createDataFrame(pa.Table.from_arrays(columns, schema=EMBEDDINGS))
        names = spark.createDataFrame([*named, *named[:3]], f"{IMAGE_ID} string, {IDENTITY} string")
        return embeddings.repartition(parts), names.repartition(parts)

    return build


def _collected(scores: Scores) -> list[list[dict[str, Any]]]:
    frames = ((scores.fits, FITS), (scores.merges, MERGES), (scores.neighbours, NEIGHBOURS))
    return [sorted((row.asDict() for row in frame.select(*s.names).collect()), key=str) for frame, s in frames]


def _centres(vectors: Rows, named: list[tuple[str, str]]) -> dict[str, tuple[np.ndarray, list[str]]]:
    """By identity the sum of what is left in, and of which pictures: the mean, taken thrice."""
    centres = {}
    for identity in {name for _, name in named}:
        own = sorted(one for one, name in named if name == identity)
        inside = own
        for _ in range(3):
            mean = np.sum([vectors[one].astype(float) for one in inside], axis=0)
            worst_last = sorted(own, key=lambda one: -float(vectors[one] @ mean))
            inside = worst_last[: len(own) - int(TRIM * len(own))]
        centres[identity] = (np.sum([vectors[one].astype(float) for one in inside], axis=0), inside)
    return centres


def _cosine(vector: np.ndarray, total: np.ndarray) -> float:
    return float(vector @ total / np.linalg.norm(total))


@pytest.fixture(scope="module")
def exact(people: tuple[Rows, list[tuple[str, str]]], tables: Any) -> list[list[dict[str, Any]]]:
    return _collected(score(*tables(*people), ScoreSettings(trim=TRIM, min_neighbour_cosine=0.6, neighbours=100)))


def test_pictures_are_held_against_their_own_and_the_nearest_other_identity(people: Any, exact: Any) -> None:
    vectors, named = people
    centres = _centres(vectors, named)
    found = {(row["image_id"], row["identity"]): row for row in exact[0]}
    assert found.keys() == set(named)
    assert len(exact[0]) == len(found)
    for (one, identity), row in found.items():
        total, inside = centres[identity]
        if identity == "alone":
            assert row["own_cosine"] is None
        else:
            others = total - vectors[one] if one in inside else total
            assert row["own_cosine"] == pytest.approx(_cosine(vectors[one], others), abs=1e-5)
        cosine, other = max(
            (_cosine(vectors[one], total), name) for name, (total, _) in centres.items() if name != identity
        )
        assert (row["other_identity"], row["other_cosine"]) == (other, pytest.approx(cosine, abs=1e-5))


def test_identities_of_one_person_are_the_closest_and_stand_out(people: Any, exact: Any) -> None:
    vectors, named = people
    everything = np.stack(list(vectors.values())).astype(float)
    covariance = LedoitWolf().fit(everything).covariance_
    values, axes = np.linalg.eigh(covariance)
    white = {one: (row - everything.mean(axis=0)) @ axes / np.sqrt(values) for one, row in vectors.items()}
    white = {one: row / np.linalg.norm(row) for one, row in white.items()}
    centres = {
        name: np.sum([white[one] for one, other in named if other == name], axis=0) for name in {n for _, n in named}
    }
    wanted = {
        (left, right): _cosine(centres[left] / np.linalg.norm(centres[left]), centres[right])
        for left in centres
        for right in centres
        if left < right
    }
    found = {(row["left"], row["right"]): row["cosine"] for row in exact[1]}
    assert found == pytest.approx({pair: cosine for pair, cosine in wanted.items() if cosine >= 0.2}, abs=1e-5)
    assert max(found, key=lambda pair: found[pair]) == ("p10", "p11")
    assert max(exact[1], key=lambda row: row["prominence"])["left"] == "p10"


def test_close_pictures_are_found_those_without_a_name_too(people: Any, exact: Any) -> None:
    vectors, _ = people
    wanted = {
        (left, right): float(vectors[left] @ vectors[right])
        for left in vectors
        for right in vectors
        if left < right and vectors[left] @ vectors[right] >= 0.6
    }
    found = {(row["left"], row["right"]): row["cosine"] for row in exact[2]}
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(found) == len(exact[2])


@pytest.mark.parametrize("per_cell", [16384, 40])
def test_partitions_change_nothing(people: Any, tables: Any, spark: SparkSession, per_cell: int) -> None:
    settings = ScoreSettings(trim=TRIM, vectors_per_cell=per_cell)
    once = _collected(score(*tables(*people), settings))
    for key, value in (("spark.sql.shuffle.partitions", "5"), ("spark.sql.execution.arrow.maxRecordsPerBatch", "3")):
        before = spark.conf.get(key)
        spark.conf.set(key, value)
        again = _collected(score(*tables(*people, parts=4), settings))
        spark.conf.set(key, before)
        assert again == once


def test_cells_find_most_of_what_brute_force_finds(people: Any, tables: Any, exact: Any) -> None:
    scores = score(*tables(*people), ScoreSettings(trim=TRIM, min_neighbour_cosine=0.6, vectors_per_cell=40))
    fits, merges, neighbours = _collected(scores)
    assert scores.num_cells == 3
    assert [row["own_cosine"] for row in fits] == [row["own_cosine"] for row in exact[0]]
    same = [one["other_identity"] == other["other_identity"] for one, other in zip(fits, exact[0], strict=True)]
    assert np.mean(same) > 0.9
    assert {str(row["left"]) for row in merges} <= {str(row["left"]) for row in exact[1]}
    pairs, wanted = ({(row["left"], row["right"]) for row in rows} for rows in (neighbours, exact[2]))
    assert pairs <= wanted
    assert len(pairs) > 0.9 * len(wanted)


def test_a_large_identity_gets_its_centre_from_its_first_pictures(
    people: Any, tables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, named = people
    everyone = [(one, "all") for one, _ in named[:96]]
    first = sorted(one for one, _ in everyone)[:50]
    found = list(passes.fitter(0.0, Whitening(np.zeros(16), np.eye(16)))([_batch(everyone, vectors)]))
    monkeypatch.setattr(passes, "_MOST_IN_CENTRE", 50)
    capped = pa.Table.from_batches(
        passes.fitter(0.0, Whitening(np.zeros(16), np.eye(16)))([_batch(everyone, vectors)])
    ).to_pylist()
    total = np.sum([vectors[one].astype(float) for one in first], axis=0)
    own = {row["image_id"]: row["own_cosine"] for row in capped[:-1]}
    assert own.keys() == {one for one, _ in everyone}
    for one, cosine in own.items():
        others = total - vectors[one] if one in first else total
        assert cosine == pytest.approx(_cosine(vectors[one], others), abs=1e-5)
    np.testing.assert_allclose(capped[-1]["embedding"], total / np.linalg.norm(total), atol=1e-6)
    assert sum(map(len, found)) == len(capped)


def _batch(named: list[tuple[str, str]], vectors: Rows) -> pa.RecordBatch:
    rows = sorted(named)
    columns = [[one for one, _ in rows], [name for _, name in rows]]
    matrix = to_lists(np.stack([vectors[one] for one, _ in rows]))
    return pa.RecordBatch.from_arrays([*map(pa.array, columns), matrix], names=["image_id", "identity", "embedding"])
