"""The plan of a run: the fingerprint and the folder of every stage, as far as they are known, and what is done.

The fingerprint of a stage that reads a table by its content is known once that table is there. So a run is planned
again after each such table, and what reads it is done only if the table changed.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.code_parts import changed_parts, code_of, describe_change
from jobs.listing import describe_source
from jobs.settings import RunSettings
from jobs.stages import STAGES, Stage, river
from pipelines import manifest
from pipelines.manifest import Manifest, Parent
from pipelines.run_folder import RunFolder
from pipelines.sources.listing import SourceListing
from pipelines.store import Store


@dataclass(frozen=True)
class PlannedStage:
    """A stage of one run, and its artefact, which may not exist yet."""

    stage: Stage
    fingerprint: str | None  # None = follows from a table that is yet to be made
    folder: Path | None  # None = the same
    is_done: bool
    listing: SourceListing | None = None  # of the data outside the store, where it reads any
    other_code: str = ""  # of a finished artefact: the parts of the code that changed since it was made, in a line

    @property
    def name(self) -> str:
        return self.stage.name

    def manifest(self) -> Manifest:
        """The manifest of the finished artefact."""
        assert self.folder is not None, f"{self.name} is not planned to its end"
        return manifest.read(self.folder)

    def verify(self, settings: RunSettings) -> None:
        """Compare the files of the artefact, if it is finished, with its manifest.

        Raises:
            UserError: it is damaged.
        """
        if self.is_done and self.stage.makes is not None and self.fingerprint is not None:
            verify_artefact(settings, self.stage.makes, self.fingerprint)


def plan(
    settings: RunSettings,
    stages: Sequence[Stage] = STAGES,
    *,
    finished: Mapping[str, str] | None = None,
    listings: MutableMapping[str, SourceListing | None] | None = None,
) -> list[PlannedStage]:
    """Fingerprint every stage of the run as far as possible, and look which artefacts exist.

    Args:
        finished: stage -> fingerprint as the run's last record has it; tells whether a report is of this work.
        listings: stage -> its data outside the store, as an earlier plan of this run found it; the rest is added.

    Raises:
        UserError: the data outside the store is missing.
    """
    listings = {} if listings is None else listings
    planned: dict[str, PlannedStage] = {}
    for stage in river(settings, stages):
        if stage.name not in listings:
            listings[stage.name] = stage.outside(settings, stage.instance) if stage.outside else None
        listing = listings[stage.name]
        parents = {key: _parent_mark(planned[name], stage) for key, name in stage.lineage.items()}
        known = {key: mark for key, mark in parents.items() if mark is not None}
        mark = _fingerprint(settings, stage, listing, known) if len(known) == len(parents) else None
        folder = _folder(settings, stage, mark)
        if stage.makes is None:
            is_current = mark is not None and (finished or {}).get(stage.name) == mark
            is_written = RunFolder(settings.folder).report.is_file()
            is_done = is_current and is_written and all(one.is_done for one in planned.values())
        else:
            is_done = folder is not None and manifest.is_done(folder)
        other_code = _other_code(folder) if is_done and stage.makes and settings.code == "noted" else ""
        planned[stage.name] = PlannedStage(stage, mark, folder, is_done, listing, other_code)
    return list(planned.values())


def verify_artefact(settings: RunSettings, kind: str, fingerprint: str) -> None:
    """`Store.verified`, for what is read from the store: of a dataset with `feed.location` the feed reads the copy.

    Raises:
        UserError: it is damaged.
    """
    if kind == "dataset" and settings.feed.location is not None:
        return
    Store(settings.store).verified(kind, fingerprint)


def hypothetical(listing: SourceListing, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """The stages for raw images that are not here but are said to be so many; for a plan, not for a run."""

    def said(settings: RunSettings, instance: str) -> SourceListing:
        return listing

    return [replace(stage, outside=said) if stage.outside is describe_source else stage for stage in stages]


def parents_of(settings: RunSettings, stages: Mapping[str, Stage], stage: Stage) -> dict[str, Parent]:
    """The artefacts that a stage of a frozen run reads, for its manifest.

    Args:
        stages: name -> stage of the run.
    """
    store = Store(settings.store)
    parents = {}
    for key, name in stage.lineage.items():
        kind = stages[name].makes
        assert kind is not None, f"{stage.name} reads {name}, which makes nothing"
        mark = settings.fingerprints[name]
        table = stage.by_content.get(kind)
        content = manifest.content_digest(store.manifest(kind, mark), table) if table else None
        parents[key] = Parent(kind=kind, fingerprint=mark, content=content)
    for number, delivery in enumerate(settings.earlier, start=1):
        for kind in stage.earlier:
            parents[f"{kind} of delivery {number}"] = Parent(kind=kind, fingerprint=delivery.fingerprints[kind])
    return parents


def settings_read(settings: RunSettings, stage: Stage) -> dict[str, Any]:
    """The part of the settings that decides what a stage makes."""
    settings = stage.relevant_settings(settings, stage.lineage) if stage.relevant_settings else settings
    return {path: _without(_value(settings, path, stage), path, stage.not_in_fingerprint) for path in stage.settings}


def _value(settings: RunSettings, path: str, stage: Stage) -> Any:
    """The setting at a path, plain; the path may have the instance in it."""
    first, *rest = [part.format(instance=stage.instance) for part in path.split(".")]
    value = settings.section(first)
    for name in rest:
        value = value[name]
    return value


def _without(value: Any, name: str, not_in_fingerprint: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if f"{name}.{key}" not in not_in_fingerprint}
    return {key: _without(inner, f"{name}.{key}", not_in_fingerprint) for key, inner in kept.items()}


def _parent_mark(parent: PlannedStage, reader: Stage) -> str | None:
    """The part of a parent that enters the reader's fingerprint: the artefact's own, or the content of one table."""
    kind = parent.stage.makes
    table = reader.by_content.get(kind) if kind else None
    if table is None:
        return parent.fingerprint
    return manifest.content_digest(parent.manifest(), table) if parent.is_done else None


def _fingerprint(settings: RunSettings, stage: Stage, listing: SourceListing | None, parents: dict[str, str]) -> str:
    read = settings_read(settings, stage)
    if listing is not None:
        read["outside"] = listing.digest
    if stage.earlier and settings.earlier:
        read["earlier"] = [{kind: one.fingerprints[kind] for kind in stage.earlier} for one in settings.earlier]
    if settings.code == "fingerprint":
        read["code"] = code_of(stage.job)
    # By what is read and not by the stage that made it, so that equal work is the same in whichever round it is done.
    return manifest.fingerprint(stage.verb, version=stage.version, settings=read, parents=parents)


def _other_code(folder: Path | None) -> str:
    assert folder is not None, "what is done has a folder"
    return describe_change(changed_parts(manifest.read(folder).code))


def _folder(settings: RunSettings, stage: Stage, mark: str | None) -> Path | None:
    if stage.makes is None:
        return settings.folder
    return None if mark is None else Store(settings.store).folder(stage.makes, mark)
