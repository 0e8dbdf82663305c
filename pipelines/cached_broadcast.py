"""Tables that are small enough to go to every executor, instead of meeting the rows in a shuffle."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# Of a few names and digests each: about 100 MB on every executor.
_MAX_ROWS = 250_000


def cached_broadcast(table: DataFrame) -> DataFrame:
    """Keep a table that is looked at more than once, and send it to every executor where it is small enough."""
    kept = table.persist()
    return F.broadcast(kept) if kept.count() <= _MAX_ROWS else kept
