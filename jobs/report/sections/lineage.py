"""The stages of the run, and what was made of what, by which code and settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.report.contents import Contents, Output
from jobs.report.formats import duration
from jobs.report.section import Body, Figure


@dataclass(frozen=True)
class Origin:
    """An artefact and what it was made of."""

    stage: str
    kind: str
    fingerprint: str
    parents: dict[str, str]  # what the stage read -> fingerprint
    code_version: str
    num_bytes: int


def build(contents: Contents) -> Body:
    """The section, and at the head of the page the time of all stages."""
    run = contents.run
    figures = (Figure("in all", duration(run.seconds), f"{len(run.stages)} stages"),) if run.stages else ()
    return Body({"run": run, "origins": origins(contents.outputs)}, figures)


def origins(outputs: Sequence[Output]) -> list[Origin]:
    """One line per artefact, in the order given."""
    return [
        Origin(
            stage=output.stage,
            kind=output.kind,
            fingerprint=output.artefact.manifest.fingerprint,
            parents={read: parent.fingerprint for read, parent in output.artefact.manifest.parents.items()},
            code_version=output.artefact.manifest.code_version,
            num_bytes=sum(file.num_bytes for file in output.artefact.manifest.files),
        )
        for output in outputs
    ]
