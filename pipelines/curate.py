"""The decision on every record: clean, find groups of duplicates, settle names, label, split.

No pixel is read here. Every function takes and returns a DataFrame; `decide` lists the steps in order. Groups and
identities are small tables, which are broadcast, so that every row of the records moves only once, to the file that it
is stored in.
"""

from pathlib import Path

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.clean import clean
from pipelines.dedup.groups import resolve_groups
from pipelines.dedup.members import find_members, semantic_links
from pipelines.dedup.settings import DedupSettings
from pipelines.dedup.signatures import CopyRule
from pipelines.dedup.verdicts import VERDICTS, Rules
from pipelines.identity import NAME, large_identities, merged_names, name_rows, outliers, reject_outliers
from pipelines.leak import cosine_leaks
from pipelines.records import (
    DECISIONS,
    DISTANCE,
    DUPLICATE,
    GROUP_ID,
    IDENTITY,
    IMAGE_ID,
    KEEPER_ID,
    KEPT,
    LABEL,
    LIMIT,
    MEASUREMENT,
    MERGED_INTO,
    REASON,
    REJECTED,
    REJECTIONS,
    SOURCE,
    STATUS,
    VALUE,
)
from pipelines.settings import (
    CurateSettings,
)
from pipelines.split import label_identities
from pipelines.tables.frames import cached_broadcast

_FINDING = (MEASUREMENT, VALUE, LIMIT)
_ROW = (IMAGE_ID, SOURCE, IDENTITY, MERGED_INTO, NAME, REASON, *_FINDING)
_PICTURE = [IMAGE_ID, NAME]  # identifies all rows of equal bytes under one name


def decide(
    measurements: DataFrame,
    pairs: DataFrame,
    settings: CurateSettings,
    dedup: DedupSettings,
    *,
    seed: int,
    scratch: Path,
    references: DataFrame | None = None,
    fits: DataFrame | None = None,
    merges: DataFrame | None = None,
    neighbours: DataFrame | None = None,
) -> DataFrame:
    """Decide on every record.

    Args:
        measurements: `records.RECORDS`, of which `image` is not read.
        pairs: `records.PAIRS` of the same records and of the references, found by the same `dedup`.
        scratch: a folder that every executor can write to. The decisions may be read from it, so the caller removes it
            afterwards.
        references: `records.RECORDS` of the evaluation set, whose pictures must not be in the training data.
        fits, merges, neighbours: the tables of `records` of those names, as far as the settings need embeddings.

    Returns:
        Exactly one row of `records.DECISIONS` per row of the input, with the `measurement`, `value` and `limit`
        behind its reason.

    Raises:
        UserError: the settings need embeddings that do not exist, or too few identities remain to hold some out.
    """
    names = merged_names(merges, settings.identities, scratch=scratch / "merges")
    named = name_rows(clean(measurements, settings), None if names is None else cached_broadcast(names))
    far = outliers(fits, names, settings.identities)
    cleaned = reject_outliers(named, None if far is None else cached_broadcast(far))
    rows = cleaned.select(*_ROW)
    copies = _copies(rows)
    leaks = None if references is None else cosine_leaks(references, neighbours, settings.leak)
    members = find_members(
        cleaned,
        pairs,
        _two_named(copies),
        dedup,
        settings.conflicts,
        scratch=scratch / "groups",
        references=references,
        leaks=leaks,
        links=semantic_links(neighbours, settings.semantic),
    )
    verdicts = None if members is None else resolve_groups(members, _rules(settings, dedup))
    marked = _mark(rows, _groups(copies, verdicts))
    return _label(marked, settings, seed)


def not_kept(decisions: DataFrame) -> DataFrame:
    """The rows that are not kept: `records.REJECTIONS`."""
    return decisions.where(F.col(STATUS) != KEPT).select(*REJECTIONS.names)


def _rules(settings: CurateSettings, dedup: DedupSettings) -> Rules:
    return Rules(
        copies=CopyRule(dedup.max_distance, dedup.max_residual),
        conflicts=settings.conflicts,
        leak_cosine=settings.leak.min_cosine,
        semantic_cosine=settings.semantic.min_cosine,
    )


def _copies(rows: DataFrame) -> DataFrame:
    """The representative row, under each name, of the fit pictures that occur in more than one row.

    It is the row with the smallest identity and then source: the source comes last, so that decisions do not depend on
    the names of pictures within a container. Twins are equal bytes under one source, such as a member that was added
    to a tar twice.

    Returns:
        image_id, name, first_source, num_copies (rows under this name), has_twins.
    """
    repeated = cached_broadcast(rows.groupBy(IMAGE_ID).count().where(F.col("count") > 1).select(IMAGE_ID))
    fit = rows.where(F.col(REASON).isNull()).join(repeated, on=IMAGE_ID, how="left_semi")
    found = fit.groupBy(*_PICTURE).agg(
        F.min(F.struct(IDENTITY, SOURCE)).alias("first"),
        F.count(F.lit(1)).alias("num_copies"),
        (F.count(F.lit(1)) > F.countDistinct(SOURCE)).alias("has_twins"),
    )
    return cached_broadcast(
        found.select(*_PICTURE, F.col(f"first.{SOURCE}").alias("first_source"), "num_copies", "has_twins")
    )


def _two_named(copies: DataFrame) -> DataFrame:
    return copies.groupBy(IMAGE_ID).count().where(F.col("count") > 1).select(IMAGE_ID)


def _groups(copies: DataFrame, verdicts: DataFrame | None) -> DataFrame:
    """Copies and verdicts of the pictures that occur twice or are alike to another, a row for each of their names."""
    if verdicts is None:
        verdicts = copies.sparkSession.createDataFrame(VERDICTS.empty_table())
    verdict = F.struct(*(name for name in VERDICTS.names if name not in _PICTURE))
    return cached_broadcast(copies.join(verdicts.select(*_PICTURE, verdict.alias("verdict")), on=_PICTURE, how="full"))


def _mark(rows: DataFrame, groups: DataFrame) -> DataFrame:
    """Add `status`, the group, and the reason of every row that is not kept."""
    is_fit = F.col(REASON).isNull()
    joined = _with_first(rows.join(groups, on=_PICTURE, how="left"), has_twins=not groups.where("has_twins").isEmpty())
    is_copy = ~F.col("is_first")
    keeper = _verdict(KEEPER_ID)
    # Of a kept picture only the first copy is kept; any other outcome holds for all copies.
    is_kept = F.coalesce(_verdict(STATUS) == KEPT, F.lit(True))
    is_duplicate = is_copy & (is_kept | (_verdict(STATUS) == DUPLICATE))
    alone = F.when(F.col("num_copies") > 1, F.col(IMAGE_ID))
    decided: dict[str, Column] = {
        STATUS: F.when(is_duplicate, DUPLICATE).otherwise(F.coalesce(_verdict(STATUS), F.lit(KEPT))),
        REASON: F.when(is_duplicate, "exact_duplicate").otherwise(_verdict(REASON)),
        KEEPER_ID: F.coalesce(keeper, F.when(is_copy, F.col(IMAGE_ID))),
        DISTANCE: F.when(keeper.isNotNull(), _verdict(DISTANCE)).when(is_copy, 0),
        GROUP_ID: F.when(_verdict(STATUS) != REJECTED, _verdict(GROUP_ID)).when(_verdict(STATUS).isNull(), alone),
        **{name: _verdict(name) for name in _FINDING},
    }
    unfit: dict[str, Column] = {STATUS: F.lit(REJECTED), **{name: F.col(name) for name in (REASON, *_FINDING)}}
    columns = {name: F.when(is_fit, column).otherwise(unfit.get(name, F.lit(None))) for name, column in decided.items()}
    return joined.withColumns(columns)


def _with_first(joined: DataFrame, *, has_twins: bool) -> DataFrame:
    """Add `is_first`: true for the representative of all rows that have the same bytes and name."""
    is_first = F.coalesce(F.col(SOURCE) == F.col("first_source"), F.lit(True))
    if has_twins:
        # This shuffles every row, so it is done only where twins exist.
        equal_rows = Window.partitionBy(IMAGE_ID, SOURCE, NAME).orderBy(F.col(REASON).isNotNull(), IDENTITY)
        is_first &= F.row_number().over(equal_rows) == 1
    return joined.withColumn("is_first", is_first)


def _verdict(name: str) -> Column:
    return F.col(f"verdict.{name}")


def _label(marked: DataFrame, settings: CurateSettings, seed: int) -> DataFrame:
    """Add `split` and `label`; reject the pictures of names that have too few."""
    kept = marked.where(F.col(STATUS) == KEPT)
    large = large_identities(kept, min_images=settings.min_images_per_identity)
    numbered = label_identities(cached_broadcast(large.withColumnRenamed(NAME, IDENTITY)), settings.split, seed=seed)
    labelled = cached_broadcast(numbered.withColumnRenamed(IDENTITY, NAME)).withColumn("_status", F.lit(KEPT))
    joined = marked.withColumnRenamed(STATUS, "_status").join(labelled, on=[NAME, "_status"], how="left")
    is_rejected = (F.col("_status") == KEPT) & F.col(LABEL).isNull()
    return (
        joined.withColumn(REASON, F.when(is_rejected, "few_images").otherwise(F.col(REASON)))
        .withColumn(STATUS, F.when(is_rejected, REJECTED).otherwise(F.col("_status")))
        .select(*DECISIONS.names, *_FINDING)
    )
