"""The rounds of curation: what each one removed or merged, and the accuracy after it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.report.contents import Contents, Output
from jobs.report.section import Body
from jobs.report.sections.evaluation import read_results
from jobs.report.sections.merges import merged_identities
from pipelines.records import KEPT, REASON, STATUS
from training.tasks.result import Result


@dataclass(frozen=True)
class Round:
    """One round: what was kept, what left it since the round before, and how well its model did."""

    number: int
    kept: int
    changes: list[tuple[str, int]]  # reason -> rows more (or fewer) than in the round before; most first
    num_merged: int  # identities that are taken for another one
    results: dict[str, Result]  # by the name of the evaluation set; empty where it has not been evaluated yet


def build(contents: Contents) -> Body | None:
    """The section; None where there is a single round."""
    return Body({"rounds": compare_rounds(contents.outputs)}) if contents.num_rounds > 1 else None


def compare_rounds(outputs: Sequence[Output]) -> list[Round]:
    """Every round that has decisions, in order."""
    rounds: list[Round] = []
    before: Counter[str] = Counter()
    for output in sorted((one for one in outputs if one.kind == "decisions"), key=lambda one: one.round):
        number, decisions = output.round, output.artefact
        evaluations = [one for one in outputs if (one.kind, one.round) == ("evaluation", number)]
        counts = decisions.count_by([STATUS, REASON])
        reasons = Counter({reason: rows for (status, reason), rows in counts.items() if status != KEPT and reason})
        rounds.append(
            Round(
                number=number,
                kept=sum(rows for (status, _), rows in counts.items() if status == KEPT),
                changes=_changes(reasons, before) if rounds else [],
                num_merged=len(merged_identities(decisions)),
                results=read_results(evaluations),
            )
        )
        before = reasons
    return rounds


def _changes(reasons: Counter[str], before: Counter[str]) -> list[tuple[str, int]]:
    changes = ((reason, reasons[reason] - before[reason]) for reason in reasons | before)
    return sorted(((reason, rows) for reason, rows in changes if rows), key=lambda change: (-abs(change[1]), change[0]))
