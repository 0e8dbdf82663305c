"""The content of a report: the record of the run, the log of its training, and the artefacts that its stages made."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.report.artefact import Artefact, open_artefact
from jobs.secret_values import without_secrets
from pipelines.run_folder import RunFolder, StageState

Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """The artefact of one stage."""

    stage: str  # its name in the run, which distinguishes two artefacts of one kind
    folder: Path
    round: int = 1
    instance: str = ""  # such as the name of the evaluation set
    earlier: tuple[Path, ...] = ()  # artefacts of earlier deliveries, whose rows count as its own


@dataclass(frozen=True)
class Output:
    """The same, opened."""

    stage: str
    round: int
    instance: str
    artefact: Artefact

    @property
    def kind(self) -> str:
        return self.artefact.manifest.kind


@dataclass(frozen=True)
class Run:
    """A run folder."""

    name: str
    settings: str  # the text of run.yaml, without secrets
    stages: dict[str, StageState]  # by name, in the order of the run

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages.values())


@dataclass(frozen=True)
class Contents:
    """All that the sections read."""

    run: Run
    metrics: list[Row]
    outputs: tuple[Output, ...]  # in the order of the run

    def of_kind(self, kind: str) -> list[Output]:
        """Every artefact of a kind, in the order of the run."""
        return [output for output in self.outputs if output.kind == kind]

    def newest(self, kind: str) -> Artefact | None:
        """The last artefact of a kind; None where there is none yet."""
        outputs = self.of_kind(kind)
        return outputs[-1].artefact if outputs else None

    @property
    def num_rounds(self) -> int:
        return max((output.round for output in self.outputs), default=0)


def read_contents(run_folder: Path, made: Sequence[Made]) -> Contents:
    """Open all that belongs to a run, as far as the run has come.

    Raises:
        UserError: a folder holds no finished artefact.
    """
    outputs = tuple(Output(one.stage, one.round, one.instance, open_artefact(one.folder, one.earlier)) for one in made)
    folder = RunFolder(run_folder)
    return Contents(read_run(folder), read_metrics(folder.metrics), outputs)


def read_run(folder: RunFolder) -> Run:
    """The driver's record and the settings in a run folder; empty where they are not written yet.

    Raises:
        UserError: the record is damaged.
    """
    state = folder.read_state()
    return Run(
        name=state.name if state else folder.path.name,
        settings=_without_secrets(folder.settings.read_text()) if folder.settings.exists() else "",
        stages=state.stages if state else {},
    )


def _without_secrets(text: str) -> str:
    """The text of run.yaml, with its secrets hidden where it has any."""
    values = yaml.safe_load(text)
    shown = without_secrets(values)
    return text if shown == values else yaml.safe_dump(shown, sort_keys=False)


def read_metrics(path: Path) -> list[Row]:
    """The rows of `metrics.jsonl`; none before the training has begun, and no line that is still being written."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
