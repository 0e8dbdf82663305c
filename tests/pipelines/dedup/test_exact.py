"""pipelines/dedup/exact: equal pictures hang together by as few pairs as that takes."""

import networkx as nx
import numpy as np
import pytest
from pyspark.sql import SparkSession

from pipelines.dedup.exact import first_of_equal, star_pairs

pytestmark = pytest.mark.spark

SCHEMA = "image_id string, hash binary, is_old boolean"


def test_equal_pictures_are_joined_to_the_first_of_them(spark: SparkSession) -> None:
    rows = [("c", b"1", False), ("a", b"1", False), ("b", b"1", False), ("a", b"1", False), ("d", b"2", False)]
    images = spark.createDataFrame([*rows, ("e", None, False), ("f", None, False)], SCHEMA)
    assert sorted(map(tuple, star_pairs(images, "hash").collect())) == [("a", "b", 0), ("a", "c", 0)]
    assert sorted(row["image_id"] for row in first_of_equal(images, "hash").collect()) == ["a", "d"]


def test_old_pictures_are_not_joined_to_each_other_and_stand_for_new_ones(spark: SparkSession) -> None:
    rows = [("c", b"1", True), ("d", b"1", True), ("a", b"1", False), ("e", b"1", False), ("f", b"2", True)]
    images = spark.createDataFrame(rows, SCHEMA)
    assert sorted(map(tuple, star_pairs(images, "hash").collect())) == [("a", "c", 0), ("c", "e", 0)]
    assert sorted(row["image_id"] for row in first_of_equal(images, "hash").collect()) == ["c", "f"]


def test_a_picture_delivered_again_is_no_pair(spark: SparkSession) -> None:
    images = spark.createDataFrame([("a", b"1", True), ("a", b"1", False)], SCHEMA)
    assert star_pairs(images, "hash").collect() == []


def test_what_is_joined_is_what_is_equal_whatever_the_partitions(spark: SparkSession) -> None:
    values = np.random.default_rng(0).integers(0, 30, 200)
    rows = [(f"{number:03d}", bytes([value]), False) for number, value in enumerate(values)]
    images = spark.createDataFrame(rows, SCHEMA)
    pairs = sorted(map(tuple, star_pairs(images, "hash").collect()))
    graph = nx.Graph([(left, right) for left, right, _ in pairs])
    graph.add_nodes_from(name for name, _, _ in rows)
    equal = {frozenset(name for name, value, _ in rows if value == one) for _, one, _ in rows}
    assert {frozenset(part) for part in nx.connected_components(graph)} == equal
    assert len(pairs) == len(rows) - len(equal)
    assert sorted(map(tuple, star_pairs(images.repartition(5), "hash").collect())) == pairs
