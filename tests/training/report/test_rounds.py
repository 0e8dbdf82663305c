"""Two planted runs that differ in known rows stand for two rounds."""

from training.report.artefact import open_artefact
from training.report.rounds import compare_rounds, merged_identities


def test_a_round_tells_what_left_it_since_the_one_before(built, rebuild, evaluate):
    second = [dict(row) for row in built.rows]
    for row in [row for row in second if row["status"] == "kept"][:3]:
        row |= {"status": "rejected", "reason": "outlier", "split": None, "label": None}
    for row in [row for row in second if row.get("reason") == "too_blurred"][:1]:
        row |= {"status": "kept", "reason": None}
    for row in second[:2]:
        row["merged_into"] = "bob"
    rounds = compare_rounds(
        [
            {"decisions": built.artefacts["decisions"], "evaluation": evaluate("first", 0.8)},
            {"decisions": rebuild("second", second).artefacts["decisions"], "evaluation": evaluate("again", 0.9)},
        ]
    )
    assert [one.number for one in rounds] == [1, 2]
    assert [one.kept for one in rounds] == [12, 10]
    assert rounds[0].changes == []
    assert rounds[1].changes == [("outlier", 3), ("too_blurred", -1)]
    assert [one.result.value("accuracy") for one in rounds] == [0.8, 0.9]
    assert [one.num_merged for one in rounds] == [0, 1]


def test_a_round_without_an_evaluation_has_no_result(built):
    assert compare_rounds([{"decisions": built.artefacts["decisions"]}])[0].result is None


def test_an_identity_that_others_were_merged_into_is_not_merged_itself(built, rebuild):
    for row in built.rows:
        row["merged_into"] = "ann" if row["identity"] in ("ann", "bob") else None
    decisions = open_artefact(rebuild("merged", built.rows).artefacts["decisions"])
    assert merged_identities(decisions) == {"bob": "ann"}
