"""The most prominent pairs of identities, with the pictures that the planted scores say fit best."""

from jobs.report.artefact import open_artefact
from jobs.report.sections.merges import NUM_PAIRS, PER_IDENTITY, closest_merges, merged_identities


def closest(built, scores):
    return closest_merges(
        *(open_artefact(built.artefacts[kind]) for kind in ("records", "decisions")), open_artefact(scores)
    )


def ids_of(built, identity):
    return [row["image_id"] for row in built.rows if row["identity"] == identity and row["decode"] == "ok"]


def test_the_most_prominent_pairs_come_first_and_all_are_counted(built, score):
    pairs = [(f"a{number:02}", f"b{number:02}", 0.5 + number / 100) for number in range(20)]
    found = closest(built, score(pairs, []))
    assert found.num_pairs == 20
    assert [one.left for one in found.closest] == [f"a{number:02}" for number in range(19, 19 - NUM_PAIRS, -1)]


def test_each_identity_shows_the_pictures_that_fit_it_best(built, score):
    ann, copy = sorted(set(ids_of(built, "ann"))), sorted(set(ids_of(built, "copy")))
    fits = [(image_id, "ann", number / 100) for number, image_id in enumerate(ann)]
    fits += [(image_id, "copy", None) for image_id in copy]
    (pair,) = closest(built, score([("ann", "copy", 0.9)], fits)).closest
    shown = [(tile.decision.identity, tile.decision.image_id) for tile in pair.tiles]
    best = [("ann", image_id) for image_id in ann[: -PER_IDENTITY - 1 : -1]]
    assert shown == [*best, *(("copy", image_id) for image_id in copy[:PER_IDENTITY])]
    assert all(tile.uri.startswith("data:image/jpeg") for tile in pair.tiles)


def test_a_merge_is_a_proposal_until_the_decisions_apply_it(built, rebuild, score):
    scores = score([("ann", "copy", 0.9)], [])
    assert not closest(built, scores).closest[0].is_applied
    for row in built.rows:
        row["merged_into"] = "ann" if row["identity"] in ("ann", "copy") else None
    assert closest(rebuild("applied", built.rows), scores).closest[0].is_applied


def test_scores_without_a_merge_give_none(built, score):
    assert closest(built, score([], [])).closest == []


def test_an_identity_that_others_were_merged_into_is_not_merged_itself(built, rebuild):
    for row in built.rows:
        row["merged_into"] = "ann" if row["identity"] in ("ann", "bob") else None
    decisions = open_artefact(rebuild("merged", built.rows).artefacts["decisions"])
    assert merged_identities(decisions) == {"bob": "ann"}
