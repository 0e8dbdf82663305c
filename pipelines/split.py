"""Splits and labels of identities: no identity, and so no group of duplicates, is in two splits."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.records import IDENTITY, LABEL, SPLIT
from pipelines.settings import SplitSettings, UserError
from pipelines.tables.frames import with_row_number


def label_identities(identities: DataFrame, settings: SplitSettings, *, seed: int) -> DataFrame:
    """Add `split` and `label` to a table of distinct identities.

    Identities are numbered in a seeded pseudo-random order; the first go to val, the next to test, the rest to train,
    and labels count from 0 within each split.

    Raises:
        UserError: none remains to train on.
    """
    count = identities.count()
    num_val = _held_out(settings.val_fraction, count)
    num_test = _held_out(settings.test_fraction, count)
    if count and count - num_val - num_test < 1:
        raise UserError(
            f"{count} identities are left after cleaning, of which curate.split holds out {num_val + num_test}: "
            "none remains to train on; give more identities or set curate.split.val_fraction=0"
        )
    number = F.col("_number")
    split = F.when(number < num_val, "val").when(number < num_val + num_test, "test").otherwise("train")
    first = F.when(number < num_val, 0).when(number < num_val + num_test, num_val).otherwise(num_val + num_test)
    return (
        with_row_number(identities, IDENTITY, seed=seed, name="_number")
        .withColumn(SPLIT, split)
        .withColumn(LABEL, (number - first).cast("long"))
        .drop("_number")
    )


def _held_out(fraction: float, count: int) -> int:
    return max(1, round(fraction * count)) if fraction > 0 and count > 1 else 0
