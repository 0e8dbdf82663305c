"""Records and pairs to decisions: clean, group duplicates, find conflicts, label, split. No pixel is read here.

Every function takes and returns a DataFrame; `decide` reads like the list of stages that it is. What belongs to groups
and to identities is told by small tables, and every row of the records is moved once, to the file that it is stored in.
"""

import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.clean import CleanSettings, clean
from pipelines.dedup.groups import Duplicate, Member, resolve
from pipelines.dedup.near import DedupSettings
from pipelines.identity import conflicting_groups, large_identities
from pipelines.records import (
    CONFLICT,
    DECISIONS,
    DISTANCE,
    DUPLICATE,
    GROUP_ID,
    HASH,
    HASH_FLIPPED,
    IDENTITY,
    IMAGE_ID,
    KEEPER_ID,
    KEPT,
    LABEL,
    LEFT,
    LIMIT,
    MEASUREMENT,
    REASON,
    REJECTED,
    REJECTIONS,
    RIGHT,
    SOURCE,
    STATUS,
    VALUE,
)
from pipelines.settings import UserError
from pipelines.split import SplitSettings, label_identities

# Above this many pairs the driver would need more than about 4 GB for the groups.
_MAX_PAIRS = 10_000_000
# A table of so many rows, each of a few names and digests, goes to every executor instead of meeting the rows in a
# shuffle: about 100 MB there.
_MAX_BROADCAST_ROWS = 250_000
_WHY = (MEASUREMENT, VALUE, LIMIT)
_ROW = (IMAGE_ID, SOURCE, IDENTITY, REASON, *_WHY)
_ALIKE = pa.schema([(IMAGE_ID, pa.string()), (KEEPER_ID, pa.string()), (DISTANCE, pa.int32())])


class CurateSettings(CleanSettings):
    """Which records become training pictures."""

    split: SplitSettings = SplitSettings()
    min_images_per_identity: int = Field(default=2, ge=1)  # fewer teach nothing about sameness


def decide(
    measurements: DataFrame, pairs: DataFrame, settings: CurateSettings, dedup: DedupSettings, *, seed: int
) -> DataFrame:
    """Decide what becomes of every record.

    Args:
        measurements: `records.RECORDS`, of which `image` is not read.
        pairs: `records.PAIRS` of the same records, found by the same `dedup`.

    Returns:
        Exactly one row of `records.DECISIONS` per row of the input, with the `measurement`, `value` and `limit` that
        its reason goes by.

    Raises:
        UserError: there are too many pairs, or too few identities to hold some out.
    """
    cleaned = clean(measurements, settings)
    rows = cleaned.select(*_ROW)
    groups = _groups(rows, _near_duplicates(cleaned, pairs, dedup))
    marked = _mark(rows, groups)
    return _label(marked, settings, seed)


def not_kept(decisions: DataFrame) -> DataFrame:
    """The rows that are left out: `records.REJECTIONS`."""
    return decisions.where(F.col(STATUS) != KEPT).select(*REJECTIONS.names)


def _near_duplicates(cleaned: DataFrame, pairs: DataFrame, settings: DedupSettings) -> DataFrame:
    """Every clean picture that another is alike to: `image_id`, and `keeper_id` and `distance` if it follows."""
    involved = _small(pairs.select(F.explode(F.array(LEFT, RIGHT)).alias(IMAGE_ID)).distinct())
    clean_rows = cleaned.where(F.col(REASON).isNull()).join(involved, on=IMAGE_ID, how="left_semi")
    images = clean_rows.select(IMAGE_ID, "width", "height", "num_bytes", "blur", HASH, HASH_FLIPPED).distinct()
    members = images.persist()
    clean_ids = _small(members.select(IMAGE_ID))
    both_clean = pairs
    for end in (LEFT, RIGHT):
        both_clean = both_clean.join(clean_ids.withColumnRenamed(IMAGE_ID, end), on=end, how="left_semi")
    found = both_clean.select(LEFT, RIGHT).limit(_MAX_PAIRS + 1).collect()
    if len(found) > _MAX_PAIRS:
        raise UserError(
            f"more than {_MAX_PAIRS:,} pairs of near-duplicates at dedup.max_distance={settings.max_distance}; "
            "choose a smaller distance, for example 16"
        )
    duplicates = _resolve(members, [(row[LEFT], row[RIGHT]) for row in found], settings)
    leaders = sorted({duplicate.keeper_id for duplicate in duplicates})
    alike = [(one.image_id, one.keeper_id, one.distance) for one in duplicates] + [(one, None, None) for one in leaders]
    columns = zip(*alike, strict=True) if alike else ((), (), ())
    table = pa.table(dict(zip(_ALIKE.names, map(list, columns), strict=True)), schema=_ALIKE)
    return cleaned.sparkSession.createDataFrame(table)


def _resolve(images: DataFrame, pairs: list[tuple[str, str]], settings: DedupSettings) -> list[Duplicate]:
    if not pairs:
        return []
    paired = {image_id for pair in pairs for image_id in pair}
    members = [
        Member(
            image_id=row[IMAGE_ID],
            num_pixels=row["width"] * row["height"],
            num_bytes=row["num_bytes"],
            blur=row["blur"],
            hash=bytes(row[HASH]),
            hash_flipped=bytes(row[HASH_FLIPPED]),
        )
        for row in sorted(images.collect(), key=lambda row: str(row[IMAGE_ID]))
        if row[IMAGE_ID] in paired
    ]
    return list(resolve(members, pairs, max_distance=settings.max_distance))


def _groups(rows: DataFrame, alike: DataFrame) -> DataFrame:
    """What is known of every picture that lies in two places or is alike to another.

    Returns:
        image_id, first_source (of equal bytes the row that stands for the others; null where there is but one),
        has_twins (null there too), keeper_id and distance (null unless it follows a different picture), is_conflict.
    """
    groups = _small(_first_copies(rows).join(alike, on=IMAGE_ID, how="full"))
    conflicts = conflicting_groups(_join_groups(rows, groups, how="inner"))
    of_picture = F.coalesce(KEEPER_ID, IMAGE_ID)
    is_conflict = conflicts.withColumn("is_conflict", F.lit(True))
    return _small(groups.withColumn(GROUP_ID, of_picture).join(is_conflict, on=GROUP_ID, how="left").drop(GROUP_ID))


def _first_copies(rows: DataFrame) -> DataFrame:
    """Of equal bytes, which row stands for the others: image_id, first_source, has_twins.

    That with the smallest identity and source of those that are fit: the source comes last, so that decisions do not
    depend on what a container calls its pictures. Twins are equal bytes under one source, such as a tar's member that
    was added twice.
    """
    repeated = _small(rows.groupBy(IMAGE_ID).count().where(F.col("count") > 1).select(IMAGE_ID))
    first = F.min(F.struct(F.col(REASON).isNotNull(), F.col(IDENTITY), F.col(SOURCE)))
    has_twins = F.count(F.lit(1)) > F.countDistinct(SOURCE)
    copies = rows.join(repeated, on=IMAGE_ID, how="left_semi").groupBy(IMAGE_ID)
    found = copies.agg(first.alias("first"), has_twins.alias("has_twins"))
    return found.select(IMAGE_ID, F.col(f"first.{SOURCE}").alias("first_source"), "has_twins")


def _join_groups(rows: DataFrame, groups: DataFrame, *, how: str, part_twins: bool = False) -> DataFrame:
    """Add `is_first`, `keeper_id`, `distance` and `group_id` to the rows that share a picture with others.

    Args:
        part_twins: let one of equal rows stand for the others, which moves every row; without it all of them do.
    """
    joined = rows.join(groups.withColumn("is_grouped", F.lit(True)), on=IMAGE_ID, how=how)
    is_clean = F.col(REASON).isNull()
    is_first = F.coalesce(F.col(SOURCE) == F.col("first_source"), F.lit(True))
    if part_twins:
        is_first &= F.row_number().over(Window.partitionBy(IMAGE_ID, SOURCE).orderBy(IDENTITY)) == 1
    is_copy = is_clean & ~F.col("is_first")
    keeper = F.coalesce(KEEPER_ID, F.when(is_copy, F.col(IMAGE_ID)))
    distance = F.coalesce(DISTANCE, F.when(is_copy, F.lit(0)))
    return (
        joined.withColumn("is_first", is_first)
        .withColumn(DISTANCE, distance)
        .withColumn(KEEPER_ID, keeper)
        .withColumn(GROUP_ID, F.coalesce(KEEPER_ID, F.when(is_clean & F.col("is_grouped"), F.col(IMAGE_ID))))
    )


def _mark(rows: DataFrame, groups: DataFrame) -> DataFrame:
    """Add `status`, and the reason of every row that is not kept."""
    status = (
        F.when(F.col(REASON).isNotNull(), REJECTED)
        .when(F.col("is_conflict"), CONFLICT)
        .when(F.col(KEEPER_ID).isNotNull(), DUPLICATE)
        .otherwise(KEPT)
    )
    copy = F.when(F.col("is_first"), "near_duplicate").otherwise("exact_duplicate")
    reason = (
        F.when(F.col(STATUS) == CONFLICT, "two_identities")
        .when(F.col(STATUS) == DUPLICATE, copy)
        .otherwise(F.col(REASON))
    )
    has_twins = not groups.where("has_twins").isEmpty()
    joined = _join_groups(rows, groups, how="left", part_twins=has_twins)
    return joined.withColumn(STATUS, status).withColumn(REASON, reason)


def _label(marked: DataFrame, settings: CurateSettings, seed: int) -> DataFrame:
    """Add `split` and `label`; pictures of an identity that has too few are kept no longer."""
    kept = marked.where(F.col(STATUS) == KEPT)
    large = _small(large_identities(kept, min_images=settings.min_images_per_identity))
    labelled = _small(label_identities(large, settings.split, seed=seed)).withColumn("was", F.lit(KEPT))
    joined = marked.withColumnRenamed(STATUS, "was").join(labelled, on=[IDENTITY, "was"], how="left")
    falls = (F.col("was") == KEPT) & F.col(LABEL).isNull()
    return (
        joined.withColumn(REASON, F.when(falls, "few_images").otherwise(F.col(REASON)))
        .withColumn(STATUS, F.when(falls, REJECTED).otherwise(F.col("was")))
        .select(*DECISIONS.names, *_WHY)
    )


def _small(table: DataFrame) -> DataFrame:
    """Keep a table that is looked at more than once, and send it to every executor where it is small enough."""
    kept = table.persist()
    return F.broadcast(kept) if kept.count() <= _MAX_BROADCAST_ROWS else kept
