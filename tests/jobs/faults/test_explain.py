"""Errors of Spark, of Py4J and of the ranks, each thrown by the real library."""

import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from jobs.faults.explain import explain, explain_log
from jobs.faults.fault import Fault
from jobs.faults.surroundings import Surroundings
from jobs.places.settings import LocalSettings
from pipelines.settings import UserError

AROUND = Surroundings(LocalSettings(), "spark", {})


def thrown_in_a_worker(spark: SparkSession, fail: Callable[[], None]) -> Exception:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        fail()
        yield from batches

    with pytest.raises(Exception) as caught:  # noqa: PT011
        spark.range(2).mapInArrow(work, "id long").collect()
    return caught.value


@pytest.mark.spark
def test_an_error_of_a_python_worker_is_that_of_its_own_last_line(spark: SparkSession) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by nothing\nat all")

    assert explain(thrown_in_a_worker(spark, fail), AROUND) == Fault(False, "ZeroDivisionError: by nothing")


@pytest.mark.spark
def test_a_mistake_of_the_user_that_a_worker_finds_is_the_users(spark: SparkSession) -> None:
    def fail() -> None:
        raise UserError("source.path=/x is wrong; take /y")

    assert explain(thrown_in_a_worker(spark, fail), AROUND) == Fault(True, "source.path=/x is wrong; take /y")


@pytest.mark.spark
def test_a_full_disk_that_a_worker_meets_is_final(spark: SparkSession) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    fault = explain(thrown_in_a_worker(spark, fail), AROUND)
    assert fault.line.startswith("a file system was full")
    assert fault.is_final


@pytest.mark.spark
def test_of_an_exception_of_the_jvm_the_root_cause_is_shown(spark: SparkSession) -> None:
    with pytest.raises(Py4JJavaError) as caught:
        spark.sparkContext._jvm.java.util.Optional.empty().get()  # type: ignore[union-attr]
    assert explain(caught.value, AROUND) == Fault(False, "java.util.NoSuchElementException: No value present")


@pytest.mark.spark
def test_a_parquet_file_that_was_cut_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        spark.read.schema("id long").parquet(str(tmp_path)).collect()
    fault = explain(caught.value, AROUND)
    assert fault.line.startswith(f"{tmp_path}/a.parquet is damaged or was cut")
    assert fault.is_final


def test_a_cause_below_the_error_is_found() -> None:
    def fail() -> None:
        try:
            raise OSError(24, "Too many open files")
        except OSError as error:
            raise RuntimeError("the feed failed") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert "ulimit -n" in explain(caught.value, AROUND).line


def test_an_error_while_tidying_up_does_not_hide_the_first() -> None:
    def fail() -> None:
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise ConnectionRefusedError("the JVM is gone")

    with pytest.raises(ConnectionRefusedError) as caught:
        fail()
    assert explain(caught.value, AROUND).line.startswith("a file system was full")


JVM = """An error occurred while calling o1.x.
: org.apache.spark.SparkException: Job aborted.
\tat org.apache.spark.x(X.scala:1)
Caused by: java.io.IOException: the second
\tat java.y(Y.java:2)
Caused by: java.net.BindException: the root
\t... 3 more
"""
CHAINED = """An exception was thrown from the Python worker.
Traceback (most recent call last):
  File "a.py", line 1, in f
KeyError: 'inner'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 2, in g
    fail()
my.module.OuterError: what it means

\tat org.apache.spark.api.python.BasePythonRunner
Caused by: java.lang.Exception: of the JVM
"""


@pytest.mark.parametrize(
    ("said", "line"), [(JVM, "java.net.BindException: the root"), (CHAINED, "OuterError: what it means")]
)
def test_of_several_causes_the_root_of_the_jvm_or_the_last_of_python_is_shown(said: str, line: str) -> None:
    assert explain(RuntimeError(said), AROUND) == Fault(False, line)


class _WakeError(RuntimeError):
    is_consequence = True


def test_an_error_in_the_wake_of_another_rank_is_marked_and_keeps_no_type() -> None:
    assert explain(_WakeError("rank 1\nis gone"), AROUND) == Fault(False, "rank 1 is gone", is_consequence=True)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(""), "ValueError"),
        (ValueError("\n\n  the first line\nmore"), "ValueError: the first line"),
        (ValueError("y" * 9_000), f"ValueError: {'y' * 488} ..."),
    ],
)
def test_any_other_error_is_its_type_and_its_first_line(error: Exception, line: str) -> None:
    assert explain(error, AROUND) == Fault(False, line)


def test_an_error_whose_text_cannot_be_had_is_explained_all_the_same() -> None:
    class GoneError(Exception):
        def __str__(self) -> str:
            raise socket.gaierror("no gateway")

    assert explain(GoneError(), AROUND).line == "GoneError: (its text could not be had: gaierror)"


def test_a_log_that_names_no_cause_explains_nothing() -> None:
    assert explain_log("all went well\n", AROUND) is None
