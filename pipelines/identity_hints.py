"""Notes on the identities of a source, right after it was read: most images without one, names that deceive.

What is wrong with names is seen here in one pass over two columns, and otherwise only in the figures of a training.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.records import DECODE_OK, IDENTITY, SOURCE
from pipelines.sources import parquet
from pipelines.sources.entry import INSIDE
from pipelines.sources.lists.text import is_utf8
from pipelines.sources.naming import listed
from pipelines.sources.settings import (
    FolderSettings,
    ListSettings,
    NamedSettings,
    ParquetSettings,
    SourceSettings,
    TarSettings,
)

# Words that stand for a missing label, which may be names too: people are called Nan and None.
_MISSING = [
    "nan",
    "none",
    "null",
    "na",
    "n/a",
    "nil",
    "unknown",
    "undefined",
    "unnamed",
    "unlabeled",
    "unlabelled",
    "?",
]
# Folders under which every identity of a set stands again.
_SPLIT = "(?i)(?:^|/)(?:train|training|val|valid|validation|test|testing|dev|eval|query|gallery|probe)$"
_MANY_PARENTS = 10
_OF_FOLDER_ABOVE = "(?:^|/)([^/]+)/[^/]+/[^/]+$"


def identity_notes(records: DataFrame, settings: SourceSettings) -> list[str]:
    """Notes for the user on the identities of a source, a line each.

    Args:
        records: `records.RECORDS`, of which identity, source and decode are read.
    """
    decoded = records.where(F.col("decode") == DECODE_OK).select(IDENTITY, SOURCE)
    notes = [*_of_missing(decoded, settings)]
    if isinstance(settings, NamedSettings) and settings.identity_list is not None:
        notes += _of_list(settings)
    elif isinstance(settings, ListSettings) and settings.identity_pattern is None:
        notes += _of_twice_listed(decoded)
    elif isinstance(settings, FolderSettings | TarSettings) and settings.identity_pattern is None:
        notes += _of_parents(decoded, settings.path)
    return [*notes, *_of_encoding(settings)]


def without_identity(num_without: int, num_images: int, settings: SourceSettings) -> str:
    """The line on a source most of whose images have no identity, with the remedy of its kind."""
    share = "none" if num_without == num_images else f"only {num_images - num_without:,}"
    return f"{share} of {num_images:,} images has an identity: {settings.identity_remedy}"


def _of_missing(decoded: DataFrame, settings: SourceSettings) -> Iterator[str]:
    is_word = F.lower(IDENTITY).isin(*_MISSING)
    facts = decoded.agg(
        F.count(F.lit(1)).alias("all"),
        F.count_if(F.col(IDENTITY).isNull()).alias("without"),
        F.min(F.when(F.col(IDENTITY).isNull(), F.col(SOURCE))).alias("first"),
        F.count_if(is_word).alias("words"),
        F.min(F.when(is_word, F.col(IDENTITY))).alias("word"),
    ).collect()[0]
    if facts["without"] > facts["all"] / 2:
        columns = ", ".join(parquet.column_names(settings)) if isinstance(settings, ParquetSettings) else ""
        has = f" (it has {columns})" if columns else ""
        yield without_identity(facts["without"], facts["all"], settings) + has
        if isinstance(settings, NamedSettings) and settings.identity_list is not None:
            yield (
                f"source.identity_list={settings.identity_list} has names such as {listed(settings).example}, "
                f"the source such as {_below(facts['first'], settings)}; they must be the same"
            )
    if facts["words"]:
        yield (
            f"{facts['words']:,} images have an identity such as {facts['word']}, taken for a name; "
            "if it stands for a missing label, leave that empty"
        )


def _below(source: str, settings: SourceSettings) -> str:
    """The name of a picture below its source."""
    return source.partition(INSIDE)[2] or source.removeprefix(settings.path.rstrip("/") + "/")


def _of_list(settings: NamedSettings) -> Iterator[str]:
    found, path = listed(settings), settings.identity_list
    if found.num_conflicts:
        name, first, second = found.conflicts[0]
        yield (
            f"source.identity_list={path} names {found.num_conflicts:,} images twice under two identities, "
            f"the first {name} as {first} and {second}: they have no identity"
        )
    if found.passed_over.total:
        yield f"source.identity_list={path}: {found.passed_over.note('line')}"


def _of_twice_listed(decoded: DataFrame) -> Iterator[str]:
    """A note on images that a list names twice under two identities: they are two rows, and curation decides."""
    named = F.col(IDENTITY)
    twice = decoded.groupBy(SOURCE).agg(F.min(named).alias("first"), F.max(named).alias("last")).where("first < last")
    facts = twice.agg(F.count(F.lit(1)).alias("all"), F.min(F.struct(SOURCE, "first", "last")).alias("example"))
    count, example = facts.collect()[0]
    if count:
        yield (
            f"{count:,} images are listed twice under two identities, the first {example[SOURCE]} as "
            f"{example['first']} and {example['last']}: curate.conflicts decides on them"
        )


def _of_parents(decoded: DataFrame, path: str) -> Iterator[str]:
    """A note where an identity stands under many folders: in alice/2019 and bob/2019 both people are called 2019."""
    below = F.when(F.col(SOURCE).contains(INSIDE), F.substring_index(SOURCE, INSIDE, -1)).otherwise(
        F.substr(SOURCE, F.lit(len(path.rstrip("/")) + 2))
    )
    folder = F.regexp_extract(F.translate(below, "\\", "/"), "^(.*)/[^/]*$", 1)
    parent = F.regexp_extract(folder, "^(.*)/[^/]+$", 1)
    folders = (
        decoded.where(F.col(IDENTITY).isNotNull() & ~folder.contains("="))
        .select(IDENTITY, F.regexp_replace(parent, _SPLIT, "").alias("parent"))
        .distinct()
        .groupBy(IDENTITY)
        .agg(F.count(F.lit(1)).alias("parents"), F.min("parent").alias("first"), F.max("parent").alias("last"))
    )
    facts = folders.agg(
        F.count(F.lit(1)).alias("all"),
        F.count_if(F.col("parents") > 1).alias("shared"),
        F.max(F.struct("parents", IDENTITY, "first", "last")).alias("worst"),
    ).collect()[0]
    worst = facts["worst"]
    if facts["shared"] and (facts["shared"] >= facts["all"] / 2 or worst["parents"] >= _MANY_PARENTS):
        yield (
            f"the identity {worst[IDENTITY]} stands in {worst['parents']:,} folders, {worst['first'] or '.'} and "
            f"{worst['last']} among them, as do {facts['shared']:,} of {facts['all']:,} identities in several: "
            f"if these are other people, name them by the folder above, source.identity_pattern='{_OF_FOLDER_ABOVE}'"
        )


def _of_encoding(settings: SourceSettings) -> Iterator[str]:
    lists = {
        "source.path": settings.path if isinstance(settings, ListSettings) else None,
        "source.identity_list": settings.identity_list if isinstance(settings, NamedSettings) else None,
    }
    for setting, path in lists.items():
        with contextlib.suppress(OSError):  # it was read, and may be gone since
            if path is None or is_utf8(Path(path)):
                continue
            yield f"{setting}={path} is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names look wrong"
