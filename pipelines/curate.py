"""Records to decisions: clean, find duplicates and conflicts, label, split. Pixels are never read here.

Every function takes and returns a DataFrame; `decide` reads like the list of stages that it is.
"""

from dataclasses import dataclass

from pydantic import Field
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.clean import CleanSettings, clean
from pipelines.dedup.bands import BandPlan, plan_bands
from pipelines.dedup.groups import Duplicate, Member, resolve
from pipelines.dedup.near import DedupSettings, near_pairs
from pipelines.identity import conflicting_groups, small_identities
from pipelines.parquet import FILE
from pipelines.records import CONFLICT, DECISIONS, DUPLICATE, GROUP_ID, IDENTITY, IMAGE_ID, KEPT, REJECTED, SOURCE
from pipelines.settings import Settings, UserError
from pipelines.split import SplitSettings, label_identities

# Above this many verified pairs the driver would need more than about 4 GB for the groups.
_MAX_PAIRS = 10_000_000
_ROWS_PER_FILE = 1_000_000
_ROW = (IMAGE_ID, SOURCE, IDENTITY, "reason", "is_first", "num_copies")


class CurateSettings(Settings):
    """Which records become training pictures."""

    clean: CleanSettings = CleanSettings()
    dedup: DedupSettings = DedupSettings()
    split: SplitSettings = SplitSettings()
    min_images_per_identity: int = Field(default=2, ge=1)  # fewer teach nothing about sameness


@dataclass(frozen=True)
class Curated:
    """The decisions and how the near-duplicates were looked for."""

    decisions: DataFrame
    plan: BandPlan


def decide(measurements: DataFrame, settings: CurateSettings, *, seed: int) -> Curated:
    """Decide what becomes of every record.

    Args:
        measurements: `records.RECORDS` without `image`.

    Returns:
        Exactly one row of `records.DECISIONS` per row of the input, and the plan of the duplicate search.
    """
    # Each step looks at its input twice, once for a summary and once for the rows: what is not kept would be
    # computed again by every later step, twice as often each time.
    cleaned = clean(measurements, settings.clean)
    firsts = _mark_exact_copies(cleaned).persist()
    plan, duplicates = _near_duplicates(firsts, settings.dedup)
    grouped = _join_groups(firsts.select(*_ROW), duplicates).persist()
    marked = _mark_conflicts(grouped).persist()
    decided = _drop_small(marked, settings.min_images_per_identity).persist()
    return Curated(decisions=_label(decided, settings.split, seed), plan=plan)


def in_files(decisions: DataFrame, *, num_rows: int) -> DataFrame:
    """Add `file`, and put the rows into the order in which they are stored, which follows from `image_id` alone."""
    num_files = max(1, -(-num_rows // _ROWS_PER_FILE))
    leading = F.conv(F.substring(IMAGE_ID, 1, 8), 16, 10).cast("long")
    file = F.concat(F.lit("rows/"), F.lpad((leading % num_files).cast("string"), 6, "0"))
    return decisions.withColumn(FILE, file).repartition(num_files, FILE).sortWithinPartitions(FILE, IMAGE_ID, SOURCE)


def _mark_exact_copies(cleaned: DataFrame) -> DataFrame:
    """Add `is_first`: of equal bytes, the row with the smallest identity and source stands for the others.

    The source comes last, so that decisions do not depend on what a container calls its pictures; a row that was
    rejected, which equal bytes are for the want of an identity alone, stands for none.
    """
    order = (F.col("reason").isNotNull(), F.col(IDENTITY), F.col(SOURCE))
    place = F.row_number().over(Window.partitionBy(IMAGE_ID).orderBy(*order))
    copies = F.count(F.lit(1)).over(Window.partitionBy(IMAGE_ID))
    return cleaned.withColumn("is_first", place == 1).withColumn("num_copies", copies)


def _near_duplicates(firsts: DataFrame, settings: DedupSettings) -> tuple[BandPlan, DataFrame]:
    """The keeper of every picture that stands behind a different one."""
    images = firsts.where(
        F.col("is_first") & F.col("reason").isNull() & (F.col("hash_quality") >= settings.min_hash_quality)
    )
    plan = plan_bands(images.count(), max_distance=settings.max_distance)
    pairs = near_pairs(images, plan, settings).select("left", "right").limit(_MAX_PAIRS + 1).collect()
    if len(pairs) > _MAX_PAIRS:
        raise UserError(
            f"more than {_MAX_PAIRS:,} pairs of near-duplicates at curate.dedup.max_distance={settings.max_distance}; "
            "choose a smaller distance, for example 16"
        )
    duplicates = _resolve(images, [(row["left"], row["right"]) for row in pairs], settings)
    table = firsts.sparkSession.createDataFrame(
        [(d.image_id, d.keeper_id, d.distance) for d in duplicates],
        "image_id string, keeper_id string, distance int",
    )
    return plan, table


def _resolve(images: DataFrame, pairs: list[tuple[str, str]], settings: DedupSettings) -> list[Duplicate]:
    involved = sorted({image_id for pair in pairs for image_id in pair})
    if not involved:
        return []
    wanted = images.sparkSession.createDataFrame([(image_id,) for image_id in involved], "image_id string")
    rows = images.join(wanted, on=IMAGE_ID, how="inner").collect()
    members = [
        Member(
            image_id=row["image_id"],
            num_pixels=row["width"] * row["height"],
            num_bytes=row["num_bytes"],
            blur=row["blur"],
            hash=bytes(row["hash"]),
            hash_flipped=bytes(row["hash_flipped"]),
        )
        for row in sorted(rows, key=lambda row: row["image_id"])
    ]
    return list(resolve(members, pairs, max_distance=settings.max_distance))


def _join_groups(firsts: DataFrame, duplicates: DataFrame) -> DataFrame:
    """Add `keeper_id`, `distance` and `group_id` to every row that shares a picture with another."""
    joined = firsts.join(duplicates, on=IMAGE_ID, how="left")
    is_clean = F.col("reason").isNull()
    is_copy = is_clean & ~F.col("is_first")
    keeper = F.coalesce(F.col("keeper_id"), F.when(is_copy, F.col(IMAGE_ID)))
    distance = F.coalesce(F.col("distance"), F.when(is_copy, F.lit(0)))
    has_followers = duplicates.select(F.col("keeper_id").alias(IMAGE_ID)).distinct().withColumn("leads", F.lit(True))
    return (
        joined.withColumn("keeper_id", keeper)
        .withColumn("distance", distance)
        .join(has_followers, on=IMAGE_ID, how="left")
        .withColumn(
            GROUP_ID,
            F.coalesce(
                F.col("keeper_id"),
                F.when(is_clean & (F.coalesce("leads", F.lit(False)) | (F.col("num_copies") > 1)), F.col(IMAGE_ID)),
            ),
        )
    )


def _mark_conflicts(grouped: DataFrame) -> DataFrame:
    """Add `status`, and the reason of every row that is not kept."""
    conflicts = conflicting_groups(grouped).withColumn("is_conflict", F.lit(True))
    joined = grouped.join(conflicts, on=GROUP_ID, how="left")
    status = (
        F.when(F.col("reason").isNotNull(), REJECTED)
        .when(F.coalesce("is_conflict", F.lit(False)), CONFLICT)
        .when(F.col("keeper_id").isNotNull(), DUPLICATE)
        .otherwise(KEPT)
    )
    copy = F.when(F.col("is_first"), "near_duplicate").otherwise("exact_duplicate")
    reason = (
        F.when(F.col("status") == CONFLICT, "two_identities")
        .when(F.col("status") == DUPLICATE, copy)
        .otherwise(F.col("reason"))
    )
    return joined.withColumn("status", status).withColumn("reason", reason)


def _drop_small(decided: DataFrame, min_images: int) -> DataFrame:
    kept = decided.where(F.col("status") == KEPT)
    small = small_identities(kept, min_images=min_images).withColumn("is_small", F.lit(True))
    joined = decided.join(small, on=IDENTITY, how="left")
    falls = (F.col("status") == KEPT) & F.coalesce("is_small", F.lit(False))
    return joined.withColumn("reason", F.when(falls, "few_images").otherwise(F.col("reason"))).withColumn(
        "status", F.when(falls, REJECTED).otherwise(F.col("status"))
    )


def _label(decided: DataFrame, settings: SplitSettings, seed: int) -> DataFrame:
    kept_identities = decided.where(F.col("status") == KEPT).select(IDENTITY).distinct()
    labelled = label_identities(kept_identities, settings, seed=seed).withColumn("status", F.lit(KEPT))
    joined = decided.join(labelled, on=[IDENTITY, "status"], how="left")
    return joined.select(*DECISIONS.names)
