"""The choice of pictures for the galleries: by content, so that the same decisions give the same page."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.report.artefact import Artefact
from pipelines.records import (
    CONFLICT,
    DISTANCE,
    DUPLICATE,
    GROUP_ID,
    IDENTITY,
    IMAGE_ID,
    KEPT,
    LIMIT,
    MEASUREMENT,
    REASON,
    REJECTED,
    REJECTED_ROWS,
    SOURCE,
    STATUS,
    VALUE,
)

COLUMNS = (IMAGE_ID, SOURCE, IDENTITY, STATUS, REASON, GROUP_ID, DISTANCE)
REJECTED_COLUMNS = (IMAGE_ID, SOURCE, IDENTITY, STATUS, REASON, MEASUREMENT, VALUE, LIMIT)
Order = list[tuple[str, str]]
BY_CONTENT: Order = [(IMAGE_ID, "ascending"), (SOURCE, "ascending")]


@dataclass(frozen=True)
class Decision:
    """One row of the decisions, as the galleries need it."""

    image_id: str
    source: str
    identity: str | None
    status: str
    reason: str | None
    group_id: str | None = None
    distance: int | None = None  # bits to the keeper
    measurement: str | None = None  # by which it was rejected; null where by none
    value: float | None = None
    limit: float | None = None  # that the value was held against

    @property
    def is_keeper(self) -> bool:
        return self.status == KEPT

    @property
    def finding(self) -> str:
        """The measurement that rejected it, such as `blur 12.5 < 30`; empty where none did."""
        if self.measurement is None or self.limit is None:
            return ""
        name = self.measurement.replace("_", " ")
        if self.value is None:
            return f"{name} unknown"
        return f"{name} {self.value:.4g} {'<' if self.value < self.limit else '>'} {self.limit:.4g}"


@dataclass(frozen=True)
class Chosen:
    """The shown part of a set of rows."""

    name: str
    num_rows: int  # of the whole set
    shown: list[Decision]


def rejected(decisions: Artefact, *, per_reason: int) -> list[Chosen]:
    """For each reason the rows of the smallest image_id, which is as good as drawn: it is a digest."""
    counts: dict[str, int] = defaultdict(int)
    kept: dict[str, pa.Table] = {}
    for piece in decisions.scan(REJECTED_COLUMNS, where=ds.field(STATUS) == REJECTED, table=REJECTED_ROWS):
        reasons = pc.fill_null(piece[REASON], "no reason given")
        for reason in pc.unique(reasons).to_pylist():
            rows = piece.filter(pc.equal(reasons, reason))
            counts[reason] += len(rows)
            so_far = pa.concat_tables([kept[reason], rows]) if reason in kept else rows
            kept[reason] = so_far.take(pc.select_k_unstable(so_far, k=per_reason, sort_keys=BY_CONTENT))
    order = sorted(kept, key=lambda reason: (-counts[reason], reason))
    return [Chosen(reason, counts[reason], _decisions(kept[reason])) for reason in order]


def duplicate_groups(decisions: Artefact, *, num_groups: int, per_group: int) -> list[Chosen]:
    """The groups whose members lie farthest from their keeper: where a mistake would show. Keepers come first."""
    is_duplicate = ds.field(STATUS) == DUPLICATE
    group_ids = _extreme_groups(decisions, where=is_duplicate, limit=num_groups)
    is_shown = ds.field(GROUP_ID).isin(group_ids) & (is_duplicate | (ds.field(STATUS) == KEPT))
    groups = _grouped(row for piece in decisions.scan(COLUMNS, where=is_shown) for row in _decisions(piece))
    return _shelved(groups, group_ids.to_pylist(), per_group=per_group)


def conflicts(decisions: Artefact, *, num_groups: int, per_group: int) -> list[Chosen]:
    """Rows that contradict each other: one picture, or copies of it, under several identities."""
    is_conflict = ds.field(STATUS) == CONFLICT
    group_ids = _extreme_groups(decisions, where=is_conflict, limit=num_groups)
    is_shown = is_conflict & (ds.field(GROUP_ID).isin(group_ids) | ds.field(IMAGE_ID).isin(group_ids))
    groups = _grouped(row for piece in decisions.scan(COLUMNS, where=is_shown) for row in _decisions(piece))
    return _shelved(groups, group_ids.to_pylist(), per_group=per_group)


def _extreme_groups(decisions: Artefact, *, where: ds.Expression, limit: int) -> pa.StringArray:
    """The groups of the greatest distance; of equals those of the smallest name."""
    order: Order = [(DISTANCE, "descending"), (GROUP_ID, "ascending")]
    best = pa.table({GROUP_ID: pa.array([], pa.string()), DISTANCE: pa.array([], pa.int32())})
    for piece in decisions.scan((GROUP_ID, IMAGE_ID, DISTANCE), where=where):
        # A row without a group, or without a distance, is one that equals another byte for byte.
        named = pc.coalesce(piece[GROUP_ID], piece[IMAGE_ID])
        rows = pa.table({GROUP_ID: named, DISTANCE: pc.fill_null(piece[DISTANCE], 0)})
        # A group that falls out here comes back with the piece that holds its greatest distance.
        grouped = pa.concat_tables([best, rows]).group_by(GROUP_ID).aggregate([(DISTANCE, "max")])
        renamed = grouped.rename_columns([_original(name) for name in grouped.column_names])
        best = renamed.take(pc.select_k_unstable(renamed, k=limit, sort_keys=order)).select([GROUP_ID, DISTANCE])
    return best.sort_by(order)[GROUP_ID].combine_chunks()


def _original(name: str) -> str:
    return name.removesuffix("_max")


def _decisions(table: pa.Table) -> list[Decision]:
    rows: list[dict[str, Any]] = table.sort_by(BY_CONTENT).to_pylist()
    return [Decision(**row) for row in rows]


def _grouped(rows: Iterable[Decision]) -> dict[str, list[Decision]]:
    groups: dict[str, list[Decision]] = defaultdict(list)
    for row in rows:
        groups[row.group_id or row.image_id].append(row)
    return groups


def _shelved(groups: dict[str, list[Decision]], order: Sequence[str], *, per_group: int) -> list[Chosen]:
    def place(row: Decision) -> tuple[bool, int, str, str]:
        return not row.is_keeper, row.distance or 0, row.image_id, row.source

    return [Chosen(name, len(groups[name]), sorted(groups[name], key=place)[:per_group]) for name in order]
