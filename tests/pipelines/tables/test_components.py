"""pipelines/tables/components: the components are networkx's, on the driver and on the executors."""

from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from pipelines.tables.components import components, contracted, joined

Edges = list[tuple[str, str]]


def _random_graphs(count: int) -> list[nx.Graph]:
    """From scattered pairs to one knot, and as many trees, whose components take longest to find."""
    rng = np.random.default_rng(0)
    graphs = []
    for seed in range(count):
        nodes = int(rng.integers(2, 60))
        graph = nx.gnm_random_graph(nodes, int(rng.integers(1, 2 * nodes)), seed=seed)
        graphs.append(nx.random_labeled_tree(nodes, seed=seed) if seed % 4 == 0 else graph)
    return graphs


def _named(graph: nx.Graph, prefix: str = "") -> Edges:
    """Its edges, under names whose order has nothing to do with the graph's."""
    rng = np.random.default_rng(len(graph))
    names = rng.permutation(len(graph))
    return [(f"{prefix}{names[left]:06d}", f"{prefix}{names[right]:06d}") for left, right in graph.edges]


def _expected(edges: Edges) -> dict[str, str]:
    return {name: min(part) for part in nx.connected_components(nx.Graph(edges)) for name in part}


def _table(edges: Edges) -> pa.Table:
    left, right = zip(*edges, strict=True) if edges else ((), ())
    return pa.table({"left": pa.array(left, pa.string()), "right": pa.array(right, pa.string())})


def _found(table: pa.Table) -> dict[str, str]:
    ids, parts = (table.column(name).to_pylist() for name in ("image_id", "component"))
    assert len(set(ids)) == len(ids), "each name once"
    return dict(zip(ids, parts, strict=True))


def test_on_the_driver_the_components_of_two_hundred_graphs_are_networkxs() -> None:
    for graph in _random_graphs(200):
        edges = _named(graph)
        assert _found(joined(_table(edges))) == _expected(edges)


@pytest.mark.spark
@pytest.mark.parametrize("partitions", [1, 3])
def test_on_the_executors_the_components_of_two_hundred_graphs_are_networkxs(
    spark: SparkSession, tmp_path: Path, partitions: int
) -> None:
    edges = [edge for number, graph in enumerate(_random_graphs(200)) for edge in _named(graph, f"{number:03d}/")]
    # Either way round, some twice, and one with itself: none of that says more.
    untidy = [edge[::-1] if number % 2 else edge for number, edge in enumerate(edges)]
    untidy += [*edges[:20], ("alone", "alone")]
    pairs = spark.createDataFrame(_table(untidy)).repartition(partitions)
    found = components(pairs, scratch=tmp_path, local_pairs=0).toArrow()
    assert _found(found) == _expected(edges)
    assert _found(components(pairs, scratch=tmp_path, local_pairs=10**6).toArrow()) == _expected(edges)


@pytest.mark.spark
def test_no_pairs_have_no_components(spark: SparkSession, tmp_path: Path) -> None:
    pairs = spark.createDataFrame(_table([]))
    assert components(pairs, scratch=tmp_path).isEmpty()
    assert contracted(pairs, scratch=tmp_path).isEmpty()


@pytest.mark.slow
@pytest.mark.spark
def test_a_long_chain_and_a_large_star_are_one_component_each(spark: SparkSession, tmp_path: Path) -> None:
    edges = _named(nx.path_graph(10_000), "chain/") + _named(nx.star_graph(100_000), "star/")
    expected = {name: f"{name.partition('/')[0]}/000000" for edge in edges for name in edge}
    assert len(expected) == 110_001
    assert _found(joined(_table(edges))) == expected
    assert _found(contracted(spark.createDataFrame(_table(edges)), scratch=tmp_path).toArrow()) == expected


@pytest.mark.spark
def test_of_the_intermediate_tables_only_the_last_is_left(spark: SparkSession, tmp_path: Path) -> None:
    contracted(spark.createDataFrame(_table(_named(nx.path_graph(50)))), scratch=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
