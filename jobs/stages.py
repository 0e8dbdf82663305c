"""The stages of a run in the order in which the data flows: what each makes, and of what.

Most stages flow once. Some are there only where the settings ask for them, and from the clean-up by embeddings on they
may flow again: each further round trains on what the model of the round before thought of the pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from jobs.listing import describe_embedder, describe_pairs, describe_references, describe_source
from jobs.rounds import (
    Applies,
    Instances,
    RelevantSettings,
    evaluation_sets,
    in_every_round,
    in_first_round,
    in_later_rounds,
    one_unnamed,
    with_embeddings,
    with_references,
    without_embeddings,
)
from jobs.settings import RunSettings
from pipelines.sources.listing import SourceListing

# The data outside the store that a stage reads, described for one of its instances.
Outside = Callable[[RunSettings, str], SourceListing | None]


@dataclass(frozen=True)
class Stage:
    """One verb of the mill: a line of the table, and with a round and an instance a stage of a run."""

    verb: str
    makes: str | None  # kind of its artefact in the store; None = it only writes into the run's folder
    # Kinds, of each of which it gets the newest artefact above it, or verbs, for what that very stage made. What is not
    # part of the run is left out.
    reads: tuple[str, ...]
    settings: tuple[str, ...]  # sections or fields whose change redoes it, such as "feed" or "evaluate.sets.{instance}"
    launcher: Literal["spark", "ranks", "local"]
    job: str  # module
    version: int = 1  # to be raised when the same settings give another artefact
    checks_only: tuple[str, ...] = ()  # sections that may stop it and never change what it makes
    not_in_fingerprint: tuple[str, ...] = ()  # "section.field" of those that change the time, never the result
    outside: Outside | None = None
    applies: Applies = in_first_round
    instances: Instances = one_unnamed  # it is done once for each
    by_content: Mapping[str, str] = field(default_factory=dict)  # kind -> the table that alone it reads of it
    earlier: tuple[str, ...] = ()  # kinds whose artefacts of earlier deliveries it reads as well
    relevant_settings: RelevantSettings | None = None  # to the settings that count for it
    instance: str = ""
    round: int = 1
    lineage: Mapping[str, str] = field(default_factory=dict)  # what it reads -> name of the stage that makes it

    @property
    def name(self) -> str:
        """Its name in the run: `train`, in the second round `train-2`, for an evaluation set `evaluate.lfw-2`."""
        named = f"{self.verb}.{self.instance}" if self.instance else self.verb
        return named if self.round == 1 else f"{named}-{self.round}"


STAGES: tuple[Stage, ...] = (
    Stage(
        "ingest",
        "records",
        (),
        ("source", "pixels", "faces"),
        launcher="spark",
        job="jobs.ingest",
        version=4,
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
        version=2,
        outside=describe_references,
        applies=with_references,
    ),
    Stage(
        "pairs",
        "pairs",
        ("records", "references"),
        ("dedup",),
        launcher="spark",
        job="jobs.pairs",
        version=2,
        not_in_fingerprint=("dedup.max_hashes_per_task", "dedup.max_residual"),
        earlier=("records", "pairs"),
    ),
    Stage(
        "export",
        "onnx",
        ("model",),
        (),
        launcher="local",
        job="jobs.export",
        applies=in_later_rounds,
    ),
    Stage(
        "embed",
        "embeddings",
        ("records", "references", "onnx"),
        ("embed", "pixels", "shard"),
        launcher="spark",
        job="jobs.embed",
        outside=describe_embedder,
        applies=with_embeddings,
        earlier=("records",),
    ),
    Stage(
        "score",
        "scores",
        ("records", "references", "embeddings"),
        ("seed", "score"),
        launcher="spark",
        job="jobs.score",
        applies=with_embeddings,
        earlier=("records",),
    ),
    Stage(
        "curate",
        "decisions",
        ("records", "references", "pairs", "scores"),
        ("seed", "dedup", "curate"),
        launcher="spark",
        job="jobs.curate",
        version=4,
        not_in_fingerprint=("curate.rounds", "dedup.max_hashes_per_task", "dedup.min_recall"),
        applies=in_every_round,
        earlier=("records", "pairs"),
        relevant_settings=without_embeddings,
    ),
    Stage(
        "shard",
        "dataset",
        ("records", "decisions"),
        ("seed", "pixels", "shard"),
        launcher="spark",
        job="jobs.shard",
        version=2,
        applies=in_every_round,
        by_content={"decisions": "rows"},
        earlier=("records",),
    ),
    Stage(
        "train",
        "model",
        ("dataset",),
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
        ("dataset", "model"),
        ("evaluate.batch_size", "evaluate.sets.{instance}"),
        launcher="ranks",
        job="jobs.evaluate",
        outside=describe_pairs,
        applies=in_every_round,
        instances=evaluation_sets,
    ),
    Stage(
        "report",
        None,
        ("records", "references", "pairs", "scores", "decisions", "dataset", "model", "train", "evaluation"),
        (),
        launcher="local",
        job="jobs.report",
        earlier=("records",),
    ),
)


def river(settings: RunSettings, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """The stages of one run, round after round, each with what it reads; what makes no artefact comes last.

    A reader of a kind that has an artefact for each of several instances gets them all, as `evaluation.lfw` and so on.
    """
    known = {name for stage in stages for name in (stage.verb, stage.makes)}
    newest: dict[str, dict[str, str]] = {}  # kind or verb -> instance -> name of the stage
    found: list[Stage] = []
    for stage, number in _flowing(settings, stages):
        assert known.issuperset(stage.reads), f"{stage.verb} reads {stage.reads}, and some of these no stage makes"
        lineage = {
            f"{read}.{instance}" if instance else read: name
            for read in stage.reads
            for instance, name in newest.get(read, {}).items()
        }
        own = [
            replace(stage, round=number, instance=instance, lineage=lineage) for instance in stage.instances(settings)
        ]
        found += own
        names = {one.instance: one.name for one in own}
        newest |= {stage.verb: names} | ({stage.makes: names} if stage.makes else {})
    return found


def _flowing(settings: RunSettings, stages: Sequence[Stage]) -> list[tuple[Stage, int]]:
    """Every stage with each round that it is part of."""
    making = [
        (stage, number)
        for number in range(1, settings.curate.rounds + 1)
        for stage in stages
        if stage.makes is not None and stage.applies(settings, number)
    ]
    return making + [(stage, 1) for stage in stages if stage.makes is None]
