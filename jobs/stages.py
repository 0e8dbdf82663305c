"""The river: the stages of a run in order, what each depends on, and where its artefact lies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jobs.listing import describe_pairs, describe_source
from jobs.settings import RunSettings
from pipelines.manifest import fingerprint, is_done
from pipelines.sources import SourceListing

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class Stage:
    """One verb of the mill."""

    name: str
    kind: str | None  # of its artefact in the store; None = it only writes into the run's folder
    parents: tuple[str, ...]  # whose artefacts it reads
    reads: tuple[str, ...]  # settings whose change redoes it: sections, or fields of the run
    launcher: Literal["spark", "ranks", "local"]
    job: str  # module
    version: int = 1  # to be raised when the same settings give another artefact
    heeds: tuple[str, ...] = ()  # sections that may stop it and never change what it makes
    spares: tuple[str, ...] = ()  # "section.field" of those that change the time and never the result
    outside: Callable[[RunSettings], SourceListing | None] | None = None  # data outside the store that it reads


STAGES: tuple[Stage, ...] = (
    Stage(
        "ingest",
        "records",
        (),
        ("source", "pixels", "faces"),
        launcher="spark",
        job="jobs.ingest",
        version=3,
        heeds=("ingest",),
        outside=describe_source,
    ),
    Stage("pairs", "pairs", ("ingest",), ("dedup",), launcher="spark", job="jobs.pairs", version=2),
    Stage(
        "curate",
        "decisions",
        ("ingest", "pairs"),
        ("seed", "dedup", "curate"),
        launcher="spark",
        job="jobs.curate",
        version=3,
    ),
    Stage("shard", "dataset", ("ingest", "curate"), ("seed", "pixels", "shard"), launcher="spark", job="jobs.shard"),
    Stage(
        "train",
        "model",
        ("shard",),
        ("seed", "feed", "model", "objective", "strategy", "recipe"),
        launcher="ranks",
        job="jobs.train",
        spares=("feed.threads", "feed.reader_threads", "feed.prefetch_batches", "recipe.keep_checkpoints"),
    ),
    Stage(
        "evaluate",
        "evaluation",
        ("shard", "train"),
        ("evaluate",),
        launcher="ranks",
        job="jobs.evaluate",
        outside=describe_pairs,
    ),
    Stage(
        "report",
        None,
        ("ingest", "pairs", "curate", "shard", "train", "evaluate"),
        (),
        launcher="local",
        job="jobs.report",
    ),
)


@dataclass(frozen=True)
class PlannedStage:
    """A stage of one run: its artefact is known before it exists."""

    stage: Stage
    fingerprint: str
    folder: Path
    is_done: bool
    listing: SourceListing | None = None  # of the data outside the store, where it reads any

    @property
    def name(self) -> str:
        return self.stage.name


def plan(
    settings: RunSettings, stages: Sequence[Stage] = STAGES, *, finished: Mapping[str, str] | None = None
) -> list[PlannedStage]:
    """Fingerprint every stage, and look which artefacts exist.

    Args:
        finished: stage -> fingerprint as the run's last record has it; tells whether a report is of this work.

    Raises:
        UserError: the data outside the store is missing.
    """
    planned: list[PlannedStage] = []
    prints: dict[str, str] = {}
    for stage in stages:
        listing = stage.outside(settings) if stage.outside else None
        read = settings_read(settings, stage)
        if listing is not None:
            read["outside"] = listing.digest
        parents = {name: prints[name] for name in stage.parents}
        prints[stage.name] = fingerprint(stage.name, version=stage.version, settings=read, parents=parents)
        folder = artefact_folder(settings, stage, prints[stage.name])
        if stage.kind is None:
            is_current = (finished or {}).get(stage.name) == prints[stage.name]
            done = is_current and (folder / REPORT_NAME).is_file() and all(parent.is_done for parent in planned)
        else:
            done = is_done(folder)
        planned.append(PlannedStage(stage, prints[stage.name], folder, done, listing))
    return planned


def on_paper(listing: SourceListing, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """The stages for raw images that are not here but are said to be so many; for a plan, not for a run."""

    def said(settings: RunSettings) -> SourceListing:
        return listing

    return [replace(stage, outside=said) if stage.outside is describe_source else stage for stage in stages]


def artefact_folder(settings: RunSettings, stage: Stage, mark: str) -> Path:
    """Where a stage writes: <store>/<kind>/<fingerprint>, or the run's folder."""
    return settings.folder if stage.kind is None else settings.store / stage.kind / mark


def settings_read(settings: RunSettings, stage: Stage) -> dict[str, Any]:
    """The part of the settings that decides what a stage makes."""
    own = settings.model_dump(mode="json", include=set(stage.reads))
    read = {name: own[name] if name in own else settings.sections[name] for name in stage.reads}
    return {name: _without(value, name, stage.spares) for name, value in read.items()}


def _without(value: Any, name: str, spares: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if f"{name}.{key}" not in spares}
