"""Pictures by stage: raw, decoded, kept, split and trained on, with a reason for each that is missing."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.report.artefact import Artefact
from jobs.report.contents import Contents
from jobs.report.formats import percent
from jobs.report.section import Body, Figure
from pipelines.records import (
    CONFLICT,
    DECODE_OK,
    DUPLICATE,
    KEPT,
    REASON,
    REJECTED,
    SPLIT,
    SPLITS,
    STATUS,
)

# What the losses are called, in the order of the pipeline.
LOSSES = {REJECTED: "rejected", DUPLICATE: "duplicates", CONFLICT: "conflicts"}


@dataclass(frozen=True)
class Loss:
    """Pictures that went for one reason."""

    kind: str  # "rejected", "duplicates" or "conflicts"
    reason: str
    rows: int


@dataclass(frozen=True)
class Funnel:
    """Numbers of rows from the raw pictures to the training."""

    raw: int
    decoded: int
    decided: int | None  # rows of the decisions; None where nothing is decided yet
    by_status: dict[str, int]  # status of the decisions -> rows
    by_split: dict[str, int]  # train, val, test -> kept rows
    losses: list[Loss]  # most first, within the order of the pipeline
    in_dataset: dict[str, int] | None  # split -> rows written; None where there is no dataset yet

    @property
    def kept(self) -> int:
        return self.by_status.get(KEPT, 0)

    def lost(self, kind: str) -> int:
        return sum(loss.rows for loss in self.losses if loss.kind == kind)

    def problems(self) -> list[str]:
        """The sums that do not add up; empty where every picture is accounted for."""
        return [] if self.decided is None else list(self._problems(self.decided))

    def _problems(self, decided: int) -> Iterator[str]:
        accounted = self.kept + sum(map(self.lost, LOSSES.values()))
        if accounted != self.raw:
            yield f"{self.raw:,} pictures came in, {accounted:,} are kept, rejected, duplicates or conflicts"
        if decided != accounted:
            yield f"{decided - accounted:,} decisions have a status that is none of those"
        if sum(self.by_split.values()) != self.kept:
            yield f"{self.kept:,} pictures are kept, {sum(self.by_split.values()):,} lie in a split"
        for split, rows in (self.in_dataset or {}).items():
            if rows != self.by_split.get(split, 0):
                yield f"{self.by_split.get(split, 0):,} pictures were put into {split}, {rows:,} were written"


def build(contents: Contents) -> Body:
    """The section, and at the head of the page how many pictures came in and how many are kept."""
    records = contents.newest("records")
    if records is None:
        return Body(pending="Ingest")
    funnel = measure_funnel(records, contents.newest("decisions"), contents.newest("dataset"))
    epochs = [row["epoch"] for row in contents.metrics if "epoch" in row]
    values = {
        "funnel": funnel,
        "is_trained": contents.newest("model") is not None,
        "num_epochs": 1 + max(epochs, default=-1),
    }
    return Body(values, tuple(_figures(funnel)))


def measure_funnel(records: Artefact, decisions: Artefact | None, dataset: Artefact | None) -> Funnel:
    """Count the rows themselves; no manifest is believed but that of the dataset."""
    decodes = records.count_by(["decode"])
    counts = decisions.count_by([STATUS, REASON, SPLIT]) if decisions else Counter()
    by_status: Counter[str] = Counter()
    by_split: Counter[str] = Counter()
    losses: Counter[tuple[str, str]] = Counter()
    for (status, reason, split), rows in counts.items():
        by_status[status] += rows
        if status == KEPT and split is not None:
            by_split[split] += rows
        elif status in LOSSES:
            losses[status, reason or "no reason given"] += rows
    order = sorted(losses, key=lambda loss: (list(LOSSES).index(loss[0]), -losses[loss], loss[1]))
    return Funnel(
        raw=sum(decodes.values()),
        decoded=decodes[DECODE_OK,],
        decided=sum(counts.values()) if decisions else None,
        by_status=dict(by_status),
        by_split={split: by_split[split] for split in (*SPLITS, *sorted(set(by_split) - set(SPLITS)))},
        losses=[Loss(LOSSES[status], reason, losses[status, reason]) for status, reason in order],
        in_dataset=_rows_written(dataset) if dataset else None,
    )


def _figures(funnel: Funnel) -> Iterator[Figure]:
    yield Figure("pictures in", f"{funnel.raw:,}", f"{funnel.raw - funnel.decoded:,} unreadable")
    if funnel.decided is not None:
        yield Figure("kept", f"{funnel.kept:,}", f"{percent(funnel.kept / max(1, funnel.raw))} of them")


def _rows_written(dataset: Artefact) -> dict[str, int]:
    rows = dict.fromkeys(SPLITS, 0)
    for file in dataset.manifest.files:
        split = file.path.split("/")[0]
        if split in rows:
            rows[split] += file.rows
    return rows
