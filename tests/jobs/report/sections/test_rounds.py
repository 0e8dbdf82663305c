"""Two planted runs that differ in known rows stand for two rounds."""

from jobs.report.contents import Made, read_contents
from jobs.report.sections.rounds import compare_rounds


def test_a_round_tells_what_left_it_since_the_one_before(built, rebuild, evaluate):
    second = [dict(row) for row in built.rows]
    for row in [row for row in second if row["status"] == "kept"][:3]:
        row |= {"status": "rejected", "reason": "outlier", "split": None, "label": None}
    for row in [row for row in second if row.get("reason") == "too_blurred"][:1]:
        row |= {"status": "kept", "reason": None}
    for row in second[:2]:
        row["merged_into"] = "bob"
    made = [
        Made("curate", built.artefacts["decisions"]),
        Made("evaluate", evaluate("first", 0.8)),
        Made("curate-2", rebuild("second", second).artefacts["decisions"], round=2),
        Made("evaluate-2", evaluate("again", 0.9), round=2),
    ]
    rounds = compare_rounds(read_contents(built.folder, made).outputs)
    assert [one.number for one in rounds] == [1, 2]
    assert [one.kept for one in rounds] == [12, 10]
    assert rounds[0].changes == []
    assert rounds[1].changes == [("outlier", 3), ("too_blurred", -1)]
    assert [one.results["evaluate"].value("accuracy") for one in rounds[:1]] == [0.8]
    assert rounds[1].results["evaluate-2"].value("accuracy") == 0.9
    assert [one.num_merged for one in rounds] == [0, 1]


def test_a_round_without_an_evaluation_has_no_result(built):
    outputs = read_contents(built.folder, [Made("curate", built.artefacts["decisions"])]).outputs
    assert compare_rounds(outputs)[0].results == {}
