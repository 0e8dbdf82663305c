"""What was made of what, by which settings, in which time."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.report.artefact import Artefact

RUN_NAME = "run.json"
SETTINGS_NAME = "run.yaml"


@dataclass(frozen=True)
class Stage:
    """One stage of a run, as the driver wrote it down."""

    name: str
    state: str  # waiting, running, done, cached, failed or stopped
    fingerprint: str
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

    kind: str
    fingerprint: str
    parents: dict[str, str]  # kind -> fingerprint
    code_version: str
    num_bytes: int


def read_run(folder: Path) -> Run:
    """What the driver wrote into a run folder so far."""
    run = folder / RUN_NAME
    content: dict[str, Any] = json.loads(run.read_text()) if run.exists() else {}
    settings = folder / SETTINGS_NAME
    return Run(
        name=content.get("name", folder.name),
        settings=settings.read_text() if settings.exists() else "",
        stages=[_stage(name, values) for name, values in content.get("stages", {}).items()],
    )


def origins(artefacts: dict[str, Artefact]) -> list[Origin]:
    """One line per artefact, in the order given."""
    return [
        Origin(
            kind=kind,
            fingerprint=artefact.manifest.fingerprint,
            parents=artefact.manifest.parents,
            code_version=artefact.manifest.code_version,
            num_bytes=sum(file.num_bytes for file in artefact.manifest.files),
        )
        for kind, artefact in artefacts.items()
    ]


def _stage(name: str, values: dict[str, Any]) -> Stage:
    return Stage(
        name=name,
        state=values["status"],
        fingerprint=values["fingerprint"],
        seconds=values.get("seconds", 0.0),
        retries=max(0, values.get("attempts", 0) - 1),
        summary=values.get("summary", ""),
    )
