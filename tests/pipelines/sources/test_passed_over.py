"""pipelines/sources/passed_over: every file is counted by its reason, and only a few are held by name."""

from pipelines.sources import passed_over
from pipelines.sources.entry import PassedOver
from pipelines.sources.passed_over import PassedOverTally, merged


def tally(*parts: tuple[str, str]) -> PassedOverTally:
    made = PassedOverTally()
    for name, reason in parts:
        made.add(PassedOver("/faces", name, reason))
    return made


def test_nothing_passed_over_is_no_note() -> None:
    assert tally().note() == ""
    assert tally().total == 0


def test_the_note_has_the_most_frequent_reason_first_with_its_first_file_and_remedy(monkeypatch) -> None:
    monkeypatch.setitem(passed_over.REMEDIES, "pipes", "remove them")
    made = tally(("a", "dead_links"), ("b", "pipes"), ("c", "pipes"), ("", "old_files"))
    assert made.note() == (
        "4 files passed over: 2 pipes (the first /faces!/b; remove them), 1 dead links (the first /faces!/a), "
        "1 old files (the first /faces)"
    )
    assert tally(("x", "pipes")).note() == "1 file passed over: 1 pipes (the first /faces!/x; remove them)"


def test_millions_are_counted_and_five_are_named() -> None:
    made = tally(*((str(number), "pipes") for number in range(10_000)))
    assert made.total == 10_000
    assert made.named == {"pipes": [f"/faces!/{number}" for number in range(5)]}


def test_merged_accounts_are_that_of_the_whole_in_order() -> None:
    parts = [(str(number), ("pipes", "sockets")[number % 3 == 0]) for number in range(20)]
    pieces = [tally(*parts[start : start + 3]) for start in range(0, 20, 3)]
    assert merged(pieces) == tally(*parts)
    assert merged([]) == PassedOverTally()
    assert pieces[0] == tally(*parts[:3]), "merging changes no account"
