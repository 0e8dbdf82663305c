"""Connected components of a table of pairs.

Few pairs are resolved on the driver. Many are contracted on the executors by alternating large-star and small-star
operations (Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii: Connected Components in MapReduce and Beyond, SOCC
2014): every node is linked to ever smaller neighbours until each component is a star around its smallest member. Not as
there: the minimum of a neighbourhood is an aggregate that is joined back, so that no task holds a neighbourhood in
memory. Both ways give the same table.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipelines.records import IMAGE_ID, LEFT, RIGHT
from pipelines.tables.frames import read_parquet

COMPONENT = "component"
# Pairs of two digests each, about 700 MB: within Spark's limit of 1 GB for results.
_LOCAL_PAIRS = 5_000_000
_FOUND = pa.schema([(IMAGE_ID, pa.string()), (COMPONENT, pa.string())])


def components(pairs: DataFrame, *, scratch: Path, local_pairs: int = _LOCAL_PAIRS) -> DataFrame:
    """The component of every name that occurs in a pair.

    Args:
        pairs: `left` and `right`, names of any kind; their order and repetitions do not matter.
        scratch: a folder for intermediate tables that every executor can write to. The result may be read from it, so
            the caller removes it afterwards.
        local_pairs: the largest number of pairs that is collected to the driver.

    Returns:
        image_id (each name once), component (the smallest name of it).
    """
    ends = pairs.select(LEFT, RIGHT).where(F.col(LEFT) != F.col(RIGHT))
    if ends.count() <= local_pairs:
        return pairs.sparkSession.createDataFrame(joined(ends.toArrow()))
    return contracted(ends, scratch=scratch)


def joined(pairs: pa.Table) -> pa.Table:
    """The components of `left` and `right`, in memory."""
    if not len(pairs):
        return _FOUND.empty_table()
    ends = pa.chunked_array([*pairs.column(LEFT).chunks, *pairs.column(RIGHT).chunks]).cast(pa.large_string())
    coded = ends.combine_chunks().dictionary_encode()
    names, codes = coded.dictionary, coded.indices.to_numpy()
    left, right = codes[: len(pairs)], codes[len(pairs) :]
    graph = coo_matrix((np.ones(len(pairs), dtype=np.int8), (left, right)), shape=(len(names), len(names)))
    count, labels = connected_components(graph, directed=False)
    by_name = pc.array_sort_indices(names).to_numpy()
    smallest = np.empty(count, dtype=np.int64)
    smallest[labels[by_name[::-1]]] = by_name[::-1]  # the last value written stays: the smallest name
    return pa.table([names, names.take(pa.array(smallest[labels]))], names=_FOUND.names).cast(_FOUND)


def contracted(pairs: DataFrame, *, scratch: Path) -> DataFrame:
    """The components of `left` and `right`, on the executors."""
    # Every node but the smallest of a component ends as the right end of one pair.
    edges = pairs.select(F.greatest(LEFT, RIGHT).alias(RIGHT), F.least(LEFT, RIGHT).alias(LEFT)).distinct()
    before: tuple[object, ...] | None = None
    number = 0
    while True:
        edges, now = _written(edges, scratch, number)
        if now == before:
            break
        before, number = now, number + 1
        edges = _small_star(_large_star(edges))
    members = edges.select(F.col(RIGHT).alias(IMAGE_ID), F.col(LEFT).alias(COMPONENT))
    centres = edges.select(F.col(LEFT).alias(IMAGE_ID), F.col(LEFT).alias(COMPONENT)).distinct()
    return members.unionByName(centres)


def _large_star(edges: DataFrame) -> DataFrame:
    """Link the larger neighbours of every node to the smallest of its neighbours and itself."""
    backwards = edges.select(F.col(LEFT).alias(RIGHT), F.col(RIGHT).alias(LEFT))
    both_ways = edges.unionByName(backwards).select(F.col(RIGHT).alias("node"), F.col(LEFT).alias("neighbour"))
    smallest = both_ways.groupBy("node").agg(F.least("node", F.min("neighbour")).alias("smallest"))
    larger = both_ways.where(F.col("neighbour") > F.col("node")).join(smallest, on="node", how="inner")
    # Equal edges may result; removing them in the small star saves one shuffle.
    return larger.select(F.col("neighbour").alias(RIGHT), F.col("smallest").alias(LEFT))


def _small_star(edges: DataFrame) -> DataFrame:
    """Link every node and its smaller neighbours to the smallest of these."""
    smallest = edges.groupBy(RIGHT).agg(F.min(LEFT).alias("smallest"))
    others = edges.join(smallest, on=RIGHT, how="inner").select(F.col(LEFT).alias(RIGHT), F.col("smallest").alias(LEFT))
    nodes = smallest.withColumnRenamed("smallest", LEFT)
    return nodes.unionByName(others.where(F.col(RIGHT) != F.col(LEFT)).select(RIGHT, LEFT)).distinct()


def _written(edges: DataFrame, scratch: Path, number: int) -> tuple[DataFrame, tuple[object, ...]]:
    """Write and reread the edges, since the plan would grow with every round; with their number and sum of hashes."""
    folder = scratch / f"edges-{number}"
    edges.write.mode("overwrite").parquet(str(folder))
    shutil.rmtree(scratch / f"edges-{number - 1}", ignore_errors=True)
    stored = read_parquet(edges.sparkSession, folder, schema=edges.schema)
    hashes = F.sum(F.xxhash64(LEFT, RIGHT).cast("decimal(20,0)"))
    row = stored.agg(F.count(F.lit(1)), hashes).first()
    assert row is not None
    return stored, tuple(row)
