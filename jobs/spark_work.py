"""Helpers of the Spark jobs: a session for the job, its progress, and the tables of finished artefacts."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.entry import JobContext
from jobs.secret_values import secrets_of
from pipelines import manifest
from pipelines.records import ROWS
from pipelines.session import PICTURES_PER_BATCH, build_session
from pipelines.tables.frames import read_parquet

_POLL_SECONDS = 0.5


@contextlib.contextmanager
def spark_session(context: JobContext, *, rows_per_batch: int = PICTURES_PER_BATCH) -> Iterator[SparkSession]:
    """A session that reports its tasks as the job's progress."""
    name = f"ringmill {context.settings.name} {context.stage.name}"
    secrets = secrets_of(context.settings.place.spark_conf)
    spark = build_session(name, rows_per_batch=rows_per_batch, secrets=secrets)
    spark.sparkContext.setLogLevel("WARN")
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(spark, context.progress, ended), daemon=True)
    watcher.start()
    try:
        yield spark
    finally:
        ended.set()
        watcher.join()
        spark.stop()


def read_artefact(spark: SparkSession, folder: Path, schema: pa.Schema, *, table: str = ROWS) -> DataFrame:
    """One table of a finished artefact: the files below its folder that the manifest lists, and no others.

    Args:
        schema: the schema of a table without rows, which has no file.
    """
    files = [file for file in manifest.read(folder).files if file.path.startswith(f"{table}/")]
    return read_files(spark, folder, files) if files else spark.createDataFrame(schema.empty_table())


def read_everywhere(
    spark: SparkSession, context: JobContext, kind: str, schema: pa.Schema, *, table: str = ROWS
) -> DataFrame:
    """One table of a parent, and after it that of every earlier delivery that this run extends."""
    tables = [read_artefact(spark, folder, schema, table=table) for folder in _folders(context, kind)]
    return functools.reduce(DataFrame.unionByName, tables)


def names_everywhere(context: JobContext, *kinds: str) -> str:
    """The folders of the parents of some kinds, and of those of every earlier delivery, for messages."""
    return " or ".join(str(folder) for kind in kinds for folder in _folders(context, kind))


def _folders(context: JobContext, kind: str) -> list[Path]:
    parents = [context.parents[kind]] if kind in context.parents else []
    return [*parents, *(delivery[kind] for delivery in context.earlier if kind in delivery)]


def read_files(spark: SparkSession, folder: Path, files: Sequence[manifest.File]) -> DataFrame:
    """The rows of some files of an artefact, finished or just written."""
    return read_parquet(spark, *(folder / file.path for file in files))


def _watch(spark: SparkSession, progress: Callable[[int, int, str], None], ended: threading.Event) -> None:
    tracker = spark.sparkContext.statusTracker()
    while not ended.wait(_POLL_SECONDS):
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        running = [stage for stage in stages if stage is not None]
        if running:
            done = sum(stage.numCompletedTasks for stage in running)
            total = sum(stage.numTasks for stage in running)
            progress(done, total, f"{done}/{total} tasks")
