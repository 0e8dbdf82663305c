"""The river: the stages of a run in order, what each depends on, and where its artefact lies.

Most stages flow once. Some are there only where the settings ask for them, and from the clean-up by embeddings on they
may flow again: each further round trains on what the model of the round before thought of the pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jobs.listing import describe_embedder, describe_pairs, describe_references, describe_source
from jobs.rounds import (
    Applies,
    RelevantSettings,
    in_every_round,
    in_first_round,
    in_later_rounds,
    with_embeddings,
    with_references,
    without_embeddings,
)
from jobs.settings import RunSettings
from pipelines.manifest import fingerprint, is_done
from pipelines.sources.listing import SourceListing

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class Stage:
    """One verb of the mill."""

    name: str  # of the stage in its run: its role, and from the second round on the number of the round
    kind: str | None  # of its artefact in the store; None = it only writes into the run's folder
    parents: tuple[str, ...]  # the roles whose artefacts it reads; those that are not part of the run are left out
    reads: tuple[str, ...]  # settings whose change redoes it: sections, or fields of the run
    launcher: Literal["spark", "ranks", "local"]
    job: str  # module
    version: int = 1  # to be raised when the same settings give another artefact
    checks_only: tuple[str, ...] = ()  # sections that may stop it and never change what it makes
    not_in_fingerprint: tuple[str, ...] = ()  # "section.field" of those that change the time, never the result
    outside: Callable[[RunSettings], SourceListing | None] | None = None  # data outside the store that it reads
    applies: Applies = in_first_round
    earlier: tuple[str, ...] = ()  # the roles whose artefacts of earlier deliveries it reads as well
    lineage: Mapping[str, str] = field(default_factory=dict)  # role -> name of each parent, as `river` finds them
    relevant_settings: RelevantSettings | None = None  # to the settings that count for it

    @property
    def role(self) -> str:
        """What it does, whichever round it does it in."""
        return self.name.partition("-")[0]

    @property
    def round(self) -> int:
        """Which round it does it in, counted from 1."""
        return int(self.name.partition("-")[2] or 1)


STAGES: tuple[Stage, ...] = (
    Stage(
        "ingest",
        "records",
        (),
        ("source", "pixels", "faces"),
        launcher="spark",
        job="jobs.ingest",
        version=3,
        checks_only=("ingest",),
        outside=describe_source,
    ),
    Stage(
        "reference",
        "references",
        (),
        ("reference", "pixels", "faces"),
        launcher="spark",
        job="jobs.reference",
        outside=describe_references,
        applies=with_references,
    ),
    Stage(
        "pairs",
        "pairs",
        ("ingest", "reference"),
        ("dedup",),
        launcher="spark",
        job="jobs.pairs",
        version=2,
        not_in_fingerprint=("dedup.max_hashes_per_task",),
        earlier=("ingest", "pairs"),
    ),
    Stage(
        "export",
        "onnx",
        ("train",),
        (),
        launcher="local",
        job="jobs.export",
        applies=in_later_rounds,
    ),
    Stage(
        "embed",
        "embeddings",
        ("ingest", "reference", "export"),
        ("embed", "pixels", "shard"),
        launcher="spark",
        job="jobs.embed",
        outside=describe_embedder,
        applies=with_embeddings,
        earlier=("ingest",),
    ),
    Stage(
        "score",
        "scores",
        ("ingest", "reference", "embed"),
        ("seed", "score"),
        launcher="spark",
        job="jobs.score",
        applies=with_embeddings,
        earlier=("ingest",),
    ),
    Stage(
        "curate",
        "decisions",
        ("ingest", "reference", "pairs", "score"),
        ("seed", "dedup", "curate"),
        launcher="spark",
        job="jobs.curate",
        version=4,
        not_in_fingerprint=("curate.rounds", "dedup.max_hashes_per_task", "dedup.min_recall"),
        applies=in_every_round,
        earlier=("ingest", "pairs"),
        relevant_settings=without_embeddings,
    ),
    Stage(
        "shard",
        "dataset",
        ("ingest", "curate"),
        ("seed", "pixels", "shard"),
        launcher="spark",
        job="jobs.shard",
        version=2,
        applies=in_every_round,
        earlier=("ingest",),
    ),
    Stage(
        "train",
        "model",
        ("shard",),
        ("seed", "feed", "model", "objective", "strategy", "recipe"),
        launcher="ranks",
        job="jobs.train",
        not_in_fingerprint=(
            *(f"feed.{name}" for name in ("threads", "reader_threads", "prefetch_batches")),
            *(f"feed.{name}" for name in ("location", "remote", "max_stall_seconds")),
            *(f"feed.{name}" for name in ("keep", "keep_bytes", "cache_dir", "cache_bytes")),
            "objective.centres.bank",
            "objective.pool.check_every_steps",
            "recipe.keep_checkpoints",
        ),
        applies=in_every_round,
    ),
    Stage(
        "evaluate",
        "evaluation",
        ("shard", "train"),
        ("evaluate",),
        launcher="ranks",
        job="jobs.evaluate",
        outside=lambda settings: describe_pairs(settings, next(iter(settings.evaluate.sets))),
        applies=in_every_round,
    ),
    Stage(
        "report",
        None,
        ("ingest", "reference", "pairs", "score", "curate", "shard", "train", "evaluate"),
        (),
        launcher="local",
        job="jobs.report",
        earlier=("ingest",),
    ),
)


def river(settings: RunSettings, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """The stages of one run, round after round, each with the names of its parents; what makes no artefact comes last.

    A stage of the second round is called `curate-2` and reads the nearest artefact of each parent's role above it.
    """
    flowing = [
        (stage, number)
        for number in range(1, settings.curate.rounds + 1)
        for stage in stages
        if stage.kind is not None and stage.applies(settings, number)
    ]
    flowing += [(stage, 1) for stage in stages if stage.kind is None]
    found: list[Stage] = []
    latest: dict[str, str] = {}
    for stage, number in flowing:
        name = stage.name if number == 1 else f"{stage.name}-{number}"
        lineage = {role: latest[role] for role in stage.parents if role in latest}
        found.append(replace(stage, name=name, lineage=lineage))
        latest[stage.name] = name
    return found


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
    """Fingerprint every stage of the run, and look which artefacts exist.

    Args:
        finished: stage -> fingerprint as the run's last record has it; tells whether a report is of this work.

    Raises:
        UserError: the data outside the store is missing.
    """
    planned: list[PlannedStage] = []
    prints: dict[str, str] = {}
    for stage in river(settings, stages):
        listing = stage.outside(settings) if stage.outside else None
        read = settings_read(settings, stage)
        if listing is not None:
            read["outside"] = listing.digest
        if stage.earlier and settings.earlier:
            read["earlier"] = [{role: one.fingerprints[role] for role in stage.earlier} for one in settings.earlier]
        # By role, so that equal work is the same in whichever round it is done.
        parents = {role: prints[name] for role, name in stage.lineage.items()}
        prints[stage.name] = fingerprint(stage.role, version=stage.version, settings=read, parents=parents)
        folder = artefact_folder(settings, stage, prints[stage.name])
        if stage.kind is None:
            is_current = (finished or {}).get(stage.name) == prints[stage.name]
            done = is_current and (folder / REPORT_NAME).is_file() and all(parent.is_done for parent in planned)
        else:
            done = is_done(folder)
        planned.append(PlannedStage(stage, prints[stage.name], folder, done, listing))
    return planned


def hypothetical(listing: SourceListing, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """The stages for raw images that are not here but are said to be so many; for a plan, not for a run."""

    def said(settings: RunSettings) -> SourceListing:
        return listing

    return [replace(stage, outside=said) if stage.outside is describe_source else stage for stage in stages]


def artefact_folder(settings: RunSettings, stage: Stage, mark: str) -> Path:
    """Where a stage writes: <store>/<kind>/<fingerprint>, or the run's folder."""
    return settings.folder if stage.kind is None else settings.store / stage.kind / mark


def settings_read(settings: RunSettings, stage: Stage) -> dict[str, Any]:
    """The part of the settings that decides what a stage makes."""
    settings = stage.relevant_settings(settings, stage.lineage) if stage.relevant_settings else settings
    read = settings.model_dump(mode="json", include=set(stage.reads))
    return {name: _without(value, name, stage.not_in_fingerprint) for name, value in read.items()}


def _without(value: Any, name: str, not_in_fingerprint: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if f"{name}.{key}" not in not_in_fingerprint}
    return {key: _without(inner, f"{name}.{key}", not_in_fingerprint) for key, inner in kept.items()}
