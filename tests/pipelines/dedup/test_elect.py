"""pipelines/dedup/elect: which of two names stays."""

import numpy as np
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from pipelines.dedup.elect import NOT_TRUSTED, elect, source_rank
from pipelines.settings import ConflictSettings

MAJORITY = ConflictSettings(policy="majority")
TRUSTED = ConflictSettings(policy="trusted", trusted=("/checked", "/c"))


def _elect(settings: ConflictSettings, *votes: tuple[int, int, int]) -> int | None:
    names, rows, ranks = (np.array(column) for column in zip(*votes, strict=True))
    return elect(settings, names, rows, ranks)


def test_by_default_no_name_stays() -> None:
    assert _elect(ConflictSettings(), (0, 9, 0), (1, 1, 1)) is None


@pytest.mark.parametrize(
    ("votes", "elected"),
    [
        ([(7, 2, 0), (8, 1, 0)], 7),
        ([(7, 1, 0), (8, 3, 0), (7, 1, 0)], 8),  # rows count, not pictures
        ([(7, 2, 0), (8, 1, 0), (9, 1, 0)], 7),  # more than any other, if not than all of them
        ([(7, 2, 0), (8, 2, 0), (9, 1, 0)], None),
    ],
)
def test_the_majority_names_more_rows_than_any_other(votes: list[tuple[int, int, int]], elected: int | None) -> None:
    assert _elect(MAJORITY, *votes) == elected


@pytest.mark.parametrize(
    ("votes", "elected"),
    [
        ([(7, 1, 0), (8, 5, 1)], 7),
        ([(7, 1, 1), (8, 5, NOT_TRUSTED)], 7),
        ([(7, 1, 0), (8, 1, 0), (8, 1, 1)], None),  # the best source says both
        ([(7, 1, NOT_TRUSTED), (8, 5, NOT_TRUSTED)], None),
    ],
)
def test_the_most_trusted_source_names(votes: list[tuple[int, int, int]], elected: int | None) -> None:
    assert _elect(TRUSTED, *votes) == elected


def test_trust_needs_somebody_who_is_trusted() -> None:
    with pytest.raises(ValidationError, match=r"trusted=\["):
        ConflictSettings(policy="trusted")


@pytest.mark.spark
def test_the_first_beginning_that_fits_ranks_a_source(spark: SparkSession) -> None:
    sources = ["/checked/1.jpg", "/crawl/1.jpg", "/other/checked"]
    rows = spark.createDataFrame([(source,) for source in sources], "source string")
    found = {
        row["source"]: row["rank"]
        for row in rows.select("source", source_rank(TRUSTED, rows.source).alias("rank")).collect()
    }
    assert found == {sources[0]: 0, sources[1]: 1, sources[2]: NOT_TRUSTED}
