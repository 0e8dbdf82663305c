"""The planted fates are the truth; each way of losing a picture is caused and must be told."""

from dataclasses import replace

import pytest

from jobs.report.artefact import open_artefact
from jobs.report.sections.funnel import measure_funnel


def _funnel(built, kinds=("records", "decisions", "dataset")):
    opened = [
        open_artefact(built.artefacts[kind]) if kind in kinds else None for kind in ("records", "decisions", "dataset")
    ]
    return measure_funnel(*opened)


def test_the_funnel_of_the_planted_run_adds_up(built):
    funnel = _funnel(built)
    assert (funnel.raw, funnel.decoded, funnel.decided, funnel.kept) == (22, 20, 22, 12)
    assert [funnel.lost(kind) for kind in ("rejected", "duplicates", "conflicts")] == [5, 3, 2]
    assert funnel.by_split == funnel.in_dataset == {"train": 8, "val": 2, "test": 2}
    assert funnel.problems() == []


def test_reasons_come_in_the_order_of_the_pipeline_and_most_first(built):
    assert [(loss.kind, loss.reason, loss.rows) for loss in _funnel(built).losses] == [
        ("rejected", "too_blurred", 3),
        ("rejected", "unreadable_not_an_image", 1),
        ("rejected", "unreadable_truncated", 1),
        ("duplicates", "near_duplicate", 3),
        ("conflicts", "two_identities", 2),
    ]


def test_a_run_that_has_only_records_has_nothing_to_add_up(built):
    funnel = _funnel(built, kinds=("records",))
    assert (funnel.raw, funnel.decided, funnel.in_dataset, funnel.problems()) == (22, None, None, [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[14].update(status="lost"), ["22 pictures came in, 21 are", "1 decisions have a status"]),
        (lambda rows: rows[0].update(split=None), ["12 pictures are kept, 11 lie in a split"]),
    ],
)
def test_a_picture_without_a_fate_is_told(built, rebuild, change, told):
    change(built.rows)
    problems = _funnel(rebuild("changed", built.rows)).problems()
    assert len(problems) == len(told)
    assert all(problem.startswith(start) for problem, start in zip(problems, told, strict=True))


def test_a_row_without_a_decision_is_told(built, rebuild):
    built.artefacts["decisions"] = rebuild("shorter", built.rows[:-1]).artefacts["decisions"]
    assert _funnel(built).problems() == ["22 pictures came in, 21 are kept, rejected, duplicates or conflicts"]


def test_a_dataset_that_lacks_a_row_is_told(built, rebuild):
    built.artefacts["dataset"] = rebuild("shorter", built.rows[1:]).artefacts["dataset"]
    assert _funnel(built).problems() == ["8 pictures were put into train, 7 were written"]


def test_a_dataset_that_has_a_row_too_many_is_told(built, rebuild):
    shorter = rebuild("shorter", built.rows[1:])
    shorter.artefacts["dataset"] = built.artefacts["dataset"]
    shorter.artefacts["records"] = rebuild("records", built.rows[1:]).artefacts["records"]
    assert _funnel(shorter).problems() == ["7 pictures were put into train, 8 were written"]


def test_a_decision_without_a_record_is_told(built, rebuild):
    built.artefacts["records"] = rebuild("shorter", built.rows[:-1]).artefacts["records"]
    assert _funnel(built).problems() == ["21 pictures came in, 22 are kept, rejected, duplicates or conflicts"]


def test_a_split_with_more_than_is_kept_is_told(built):
    funnel = _funnel(built)
    fuller = replace(funnel, by_split={**funnel.by_split, "train": 9}, in_dataset=None)
    assert fuller.problems() == ["12 pictures are kept, 13 lie in a split"]
