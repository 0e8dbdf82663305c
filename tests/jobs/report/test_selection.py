"""Slow selections in plain Python are the oracle."""

import random

import pytest

from jobs.report.artefact import open_artefact
from jobs.report.selection import Decision, conflicts, duplicate_groups, rejected


def _decisions(built):
    return open_artefact(built.artefacts["decisions"])


def _many(num_groups=30):
    rng = random.Random(0)
    rows = []
    for group in range(num_groups):
        name = f"{rng.randrange(16**8):08x}"
        rows.append({"image_id": name, "source": "k", "status": "kept", "split": "train", "group_id": name})
        for member in range(rng.randint(1, 5)):
            distance = rng.choice([None, 0, 3, 7, 12, 20])
            row = {"image_id": f"{group}-{member}", "source": "d", "status": "duplicate", "group_id": name}
            rows.append({**row, "distance": distance})
    for number in range(60):
        reason = rng.choice(["dark", "small", None])
        rows.append(
            {"image_id": f"{rng.randrange(16**8):08x}", "source": str(number), "status": "rejected", "reason": reason}
        )
    return rows


def test_each_reason_shows_its_rows_of_smallest_id(rebuild):
    rows = _many()
    for shelf in rejected(_decisions(rebuild("many", rows)), per_reason=4):
        reason = None if shelf.name == "no reason given" else shelf.name
        ids = sorted(row["image_id"] for row in rows if row["status"] == "rejected" and row["reason"] == reason)
        assert shelf.num_rows == len(ids)
        assert [row.image_id for row in shelf.shown] == ids[:4]


def test_a_rejected_row_tells_by_what(built):
    found = {row["source"]: row for row in built.rows if row["status"] == "rejected"}
    for shelf in rejected(_decisions(built), per_reason=9):
        for row in shelf.shown:
            expected = tuple(found[row.source].get(name) for name in ("measurement", "value", "limit"))
            assert (row.measurement, row.value, row.limit) == expected


@pytest.mark.parametrize(
    ("measurement", "value", "limit", "told"),
    [
        ("side_px", 31.0, 32.0, "side px 31 < 32"),
        ("dominance", 0.81234567, 0.75, "dominance 0.8123 > 0.75"),
        ("blur", None, 30.0, "blur unknown"),
        (None, None, None, ""),
    ],
)
def test_a_finding_is_read_as_a_comparison(measurement, value, limit, told):
    row = Decision("i", "s", None, "rejected", "r", measurement=measurement, value=value, limit=limit)
    assert row.finding == told


def test_the_groups_of_greatest_distance_are_shown(rebuild):
    rows = _many()
    widths = {}
    for row in rows:
        if row["status"] == "duplicate":
            widths[row["group_id"]] = max(widths.get(row["group_id"], 0), row["distance"] or 0)
    expected = sorted(widths, key=lambda name: (-widths[name], name))[:7]
    groups = duplicate_groups(_decisions(rebuild("many", rows)), num_groups=7, per_group=99)
    assert [group.name for group in groups] == expected
    for group in groups:
        assert {row.image_id for row in group.shown} == {r["image_id"] for r in rows if r.get("group_id") == group.name}


def test_the_keeper_stands_first_and_the_others_by_distance(built):
    (group,) = duplicate_groups(_decisions(built), num_groups=5, per_group=3)
    assert [(row.is_keeper, row.distance) for row in group.shown] == [(True, 0), (False, 0), (False, 5)]
    assert group.num_rows == 4


def test_a_conflict_shows_all_its_names(built):
    (group,) = conflicts(_decisions(built), num_groups=5, per_group=5)
    assert {row.identity[:3] for row in group.shown} == {"bob", "cid"}


def test_conflicts_without_a_group_meet_by_their_bytes(built, rebuild):
    for row in built.rows:
        if row["status"] == "conflict":
            row["group_id"] = None
    (group,) = conflicts(_decisions(rebuild("groupless", built.rows)), num_groups=5, per_group=5)
    assert len(group.shown) == 2


def test_the_choice_does_not_depend_on_the_order_of_the_rows(rebuild):
    rows = _many()
    shuffled = random.Random(1).sample(rows, len(rows))
    one, two = (_decisions(rebuild(name, given)) for name, given in (("one", rows), ("two", shuffled)))
    assert rejected(one, per_reason=4) == rejected(two, per_reason=4)
    how = {"num_groups": 7, "per_group": 3}
    assert duplicate_groups(one, **how) == duplicate_groups(two, **how)


def test_where_nothing_was_left_out_nothing_is_chosen(built, rebuild):
    kept = _decisions(rebuild("kept", [row for row in built.rows if row["status"] == "kept"]))
    assert rejected(kept, per_reason=3) == []
    assert duplicate_groups(kept, num_groups=3, per_group=3) == []
    assert conflicts(kept, num_groups=3, per_group=3) == []
