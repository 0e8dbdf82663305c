"""Resolves groups of duplicates on the executors, a few whole components at a time."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from pipelines.dedup.case import MEMBERS
from pipelines.dedup.verdicts import VERDICTS, Rules, verdicts
from pipelines.tables.components import COMPONENT

_ROWS_AT_A_TIME = 32_768


def resolve_groups(members: DataFrame, rules: Rules) -> DataFrame:
    """Turn `case.MEMBERS` into `verdicts.VERDICTS`; one task gets all members of a component."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in whole_components(batches):
            yield from verdicts(table, rules).to_batches()

    rows = members.select(*MEMBERS.names).repartition(COMPONENT).sortWithinPartitions(COMPONENT)
    return rows.mapInArrow(work, from_arrow_schema(VERDICTS))


def whole_components(batches: Iterable[pa.RecordBatch], *, num_rows: int = _ROWS_AT_A_TIME) -> Iterator[pa.Table]:
    """Cut a stream that is sorted by component into tables of whole components, of about `num_rows` rows each."""
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        waiting.append(batch)
        num_waiting += batch.num_rows
        if num_waiting < num_rows:
            continue
        table = pa.Table.from_batches(waiting)
        # The last component may continue in the next batch.
        end = pc.index(table.column(COMPONENT), table.column(COMPONENT)[-1]).as_py()
        if end:
            yield table.slice(0, end)
            waiting = table.slice(end).to_batches()
            num_waiting -= end
    if num_waiting:
        yield pa.Table.from_batches(waiting)
