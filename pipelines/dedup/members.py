"""The members of groups: the pictures to decide on, with their component and the columns they are compared by."""

from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.dedup.case import MEMBERS
from pipelines.dedup.elect import source_rank
from pipelines.dedup.settings import DedupSettings
from pipelines.identity import NAME, require_embeddings
from pipelines.records import (
    COSINE,
    DECODE_OK,
    HASH,
    HASH_FLIPPED,
    IMAGE_ID,
    LEFT,
    PIXEL_DIGEST,
    REASON,
    RIGHT,
    SOURCE,
    THUMBNAIL,
)
from pipelines.settings import ConflictSettings, SemanticSettings
from pipelines.tables.components import COMPONENT, components
from pipelines.tables.frames import cached_broadcast

_COMPARED_BY = ("num_pixels", "num_bytes", "blur", HASH, HASH_FLIPPED, "hash_is_reliable", PIXEL_DIGEST, THUMBNAIL)


def semantic_links(neighbours: DataFrame | None, settings: SemanticSettings) -> DataFrame | None:
    """The pairs of `records.NEIGHBOURS` that count as duplicates; None where the settings set no cosine.

    Raises:
        UserError: `curate.semantic.min_cosine` is set and there are no neighbours.
    """
    if settings.min_cosine is None:
        return None
    known = require_embeddings(neighbours, f"curate.semantic.min_cosine={settings.min_cosine}")
    return known.where(F.col(COSINE) >= settings.min_cosine)


def find_members(
    cleaned: DataFrame,
    pairs: DataFrame,
    two_named: DataFrame,
    dedup: DedupSettings,
    conflicts: ConflictSettings,
    *,
    scratch: Path,
    references: DataFrame | None,
    leaks: DataFrame | None,
    links: DataFrame | None,
) -> DataFrame | None:
    """`case.MEMBERS`: the fit pictures that are paired with others, have two names, or may be leaks.

    None where there are none, so that the executors need not start Python.

    Args:
        cleaned: every row with its measurements, `name` and `reason`.
        pairs: `records.PAIRS`, those of unfit pictures included: within a component not every pair is listed, so an
            unfit picture may be the only link between two others.
        two_named: the `image_id`s of the fit pictures that have two names.
        scratch: a folder for intermediate tables; see `components`.
        references: the measurements of the evaluation set's pictures, which `pairs` covers too.
        leaks: as `leak.cosine_leaks` returns them.
        links: as `semantic_links` returns them.
    """
    edges = pairs.select(LEFT, RIGHT)
    paired = components(edges if links is None else edges.unionByName(links.select(LEFT, RIGHT)), scratch=scratch)
    unpaired = [two_named, *(table for table in (references, leaks) if table is not None)]
    component_of = _components_of(cached_broadcast(paired), [table.select(IMAGE_ID) for table in unpaired])
    if component_of.isEmpty():
        return None
    fit = cleaned.where(F.col(REASON).isNull()).join(component_of, on=IMAGE_ID, how="inner")
    # Equal bytes have equal measurements, so this groups by the picture and its name.
    pictures = (
        _compared(fit, dedup, COMPONENT, IMAGE_ID, NAME, SOURCE)
        .groupBy(COMPONENT, IMAGE_ID, NAME, *_COMPARED_BY)
        .agg(F.count(F.lit(1)).alias("num_rows"), F.min(source_rank(conflicts, F.col(SOURCE))).alias("rank"))
    )
    members = _with_links(_with_leaks(pictures, leaks), links).withColumn("is_reference", F.lit(False))
    if references is None:
        return members.select(*MEMBERS.names)
    by_hash = dedup.model_copy(update={"max_residual": None})  # leaks get no second look
    found = _compared(references.join(component_of, on=IMAGE_ID, how="inner"), by_hash, COMPONENT, IMAGE_ID).distinct()
    return members.unionByName(found.withColumn("is_reference", F.lit(True)), allowMissingColumns=True)


def _components_of(paired: DataFrame, unpaired: list[DataFrame]) -> DataFrame:
    """The component of every picture; a picture that is in no pair is a component of its own."""
    others = reduce(DataFrame.unionByName, unpaired).distinct().join(paired, on=IMAGE_ID, how="left_anti")
    return cached_broadcast(paired.unionByName(others.withColumn(COMPONENT, F.col(IMAGE_ID))))


def _compared(rows: DataFrame, settings: DedupSettings, *names: str) -> DataFrame:
    num_pixels = F.col("width").cast("long") * F.col("height")
    columns: dict[str, Column] = {"num_pixels": num_pixels, "hash_is_reliable": _hash_is_reliable(settings)}
    if settings.max_residual is None:
        columns[THUMBNAIL] = F.lit(None).cast("binary")
    return rows.select(*names, *(columns.get(name, F.col(name)).alias(name) for name in _COMPARED_BY))


def _hash_is_reliable(settings: DedupSettings) -> Column:
    hash_is_reliable = (F.col("decode") == DECODE_OK) & (F.col("hash_quality") >= settings.min_hash_quality)
    return F.coalesce(hash_is_reliable, F.lit(False))


def _with_leaks(pictures: DataFrame, leaks: DataFrame | None) -> DataFrame:
    if leaks is None:
        return pictures.withColumns({"leak_to": F.lit(None).cast("string"), COSINE: F.lit(None).cast("float")})
    return pictures.join(leaks, on=IMAGE_ID, how="left")


def _with_links(pictures: DataFrame, links: DataFrame | None) -> DataFrame:
    if links is None:
        return pictures.withColumn("links", F.lit(None).cast(f"array<struct<{IMAGE_ID}:string,{COSINE}:float>>"))
    to = F.collect_list(F.struct(F.col(RIGHT).alias(IMAGE_ID), COSINE)).alias("links")
    return pictures.join(links.groupBy(F.col(LEFT).alias(IMAGE_ID)).agg(to), on=IMAGE_ID, how="left")
