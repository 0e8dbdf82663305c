"""What each further round of curation took away or joined, and what that did to the accuracy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from pipelines.records import IDENTITY, KEPT, MERGED_INTO, REASON, STATUS
from pipelines.run_folder import RESULT_NAME
from training.report.artefact import Artefact, open_artefact
from training.tasks.result import Result


@dataclass(frozen=True)
class Round:
    """One round: what was kept, what left it since the round before, and how well its model did."""

    number: int
    kept: int
    changes: list[tuple[str, int]]  # reason -> rows more (or fewer) than in the round before; most first
    num_merged: int  # identities that are taken for another one
    result: Result | None  # None where it has not been evaluated yet


def compare_rounds(folders: Sequence[dict[str, Path]]) -> list[Round]:
    """The rounds of a run, each given by its artefacts: `decisions`, and `evaluation` where there is one.

    Raises:
        UserError: a folder holds no finished artefact.
    """
    rounds: list[Round] = []
    before: Counter[str] = Counter()
    for number, artefacts in enumerate(folders, start=1):
        decisions = open_artefact(artefacts["decisions"])
        counts = decisions.count_by([STATUS, REASON])
        reasons = Counter({reason: rows for (status, reason), rows in counts.items() if status != KEPT and reason})
        changes = {reason: reasons[reason] - before[reason] for reason in reasons | before} if rounds else {}
        rounds.append(
            Round(
                number=number,
                kept=sum(rows for (status, _), rows in counts.items() if status == KEPT),
                changes=sorted(
                    ((reason, rows) for reason, rows in changes.items() if rows), key=lambda one: (-abs(one[1]), one[0])
                ),
                num_merged=len(merged_identities(decisions)),
                result=read_result(open_artefact(artefacts["evaluation"])) if "evaluation" in artefacts else None,
            )
        )
        before = reasons
    return rounds


def merged_identities(decisions: Artefact) -> dict[str, str]:
    """Identity -> the one that it is taken for, of those that were merged into another."""
    merged: dict[str, str] = {}
    for piece in decisions.scan([IDENTITY, MERGED_INTO], where=ds.field(MERGED_INTO).is_valid()):
        for row in piece.group_by([IDENTITY, MERGED_INTO]).aggregate([]).to_pylist():
            if row[IDENTITY] != row[MERGED_INTO]:
                merged[row[IDENTITY]] = row[MERGED_INTO]
    return merged


def read_result(evaluation: Artefact) -> Result:
    """The figures of an evaluation."""
    return Result.model_validate_json((evaluation.folder / RESULT_NAME).read_bytes())
