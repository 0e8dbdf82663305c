"""What was made of what, by which settings, in which time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.run_folder import RunFolder, StageState
from training.report.artefact import Artefact


@dataclass(frozen=True)
class Stage:
    """One stage of a run, as the driver wrote it down."""

    name: str
    state: str  # waiting, running, done, cached, failed or stopped
    fingerprint: str  # "" = not known yet
    seconds: float
    retries: int
    summary: str


@dataclass(frozen=True)
class Run:
    """A run folder."""

    name: str
    settings: str  # the text of run.yaml
    stages: list[Stage]

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class Origin:
    """Where an artefact comes from."""

    stage: str
    kind: str
    fingerprint: str
    parents: dict[str, str]  # what the stage read -> fingerprint
    code_version: str
    num_bytes: int


def read_run(folder: Path) -> Run:
    """What the driver wrote into a run folder so far."""
    run = RunFolder(folder)
    state = run.read_state()
    return Run(
        name=state.name if state else folder.name,
        settings=run.settings.read_text() if run.settings.exists() else "",
        stages=[_stage(name, one) for name, one in state.stages.items()] if state else [],
    )


def origins(artefacts: Mapping[str, Artefact]) -> list[Origin]:
    """One line per artefact, in the order given.

    Args:
        artefacts: by the name of the stage that made each.
    """
    return [
        Origin(
            stage=stage,
            kind=artefact.manifest.kind,
            fingerprint=artefact.manifest.fingerprint,
            parents={read: parent.fingerprint for read, parent in artefact.manifest.parents.items()},
            code_version=artefact.manifest.code_version,
            num_bytes=sum(file.num_bytes for file in artefact.manifest.files),
        )
        for stage, artefact in artefacts.items()
    ]


def _stage(name: str, state: StageState) -> Stage:
    return Stage(
        name=name,
        state=state.status,
        fingerprint=state.fingerprint or "",
        seconds=state.seconds,
        retries=max(0, state.attempts - 1),
        summary=state.summary,
    )
