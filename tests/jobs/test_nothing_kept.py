"""jobs/nothing_kept: a curation that keeps nothing names its most frequent reason and a remedy for it."""

from pathlib import Path

import pytest

from jobs.nothing_kept import few_identities, nothing_kept, without_identities
from jobs.settings import RunSettings
from pipelines.settings import UserError
from pipelines.sources.settings import SOURCES


def settings(kind: str) -> RunSettings:
    return RunSettings(
        name="r", store=Path("/store"), runs=Path("/runs"), source=SOURCES.validate({"kind": kind, "path": "x"})
    )


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("no_identity", "put the images of each identity in a folder of its name, or set source.identity_pattern"),
        ("few_images", "set curate.min_images_per_identity=1, or give all images of a person the same identity"),
        ("truncated", "mend the images of the source"),
        ("unreadable", "mend the images of the source"),
        ("blurry", "widen the ranges under curate"),
        ("too_large", "widen the ranges under curate"),
        ("two_identities", "the report shows them with their reasons"),
    ],
)
def test_the_remedy_is_that_of_the_most_frequent_reason(reason: str, remedy: str) -> None:
    outcomes = [("rejected", "dark", 3), ("rejected", reason, 95), ("rejected", "leak", 2)]
    line = str(nothing_kept(outcomes, settings("folder")))
    assert line.startswith(f"not one of 100 images is kept (95 {reason}, 3 dark, 2 leak); {remedy}")


def test_the_remedy_for_missing_identities_is_that_of_the_kind_of_source() -> None:
    line = str(nothing_kept([("rejected", "no_identity", 5)], settings("parquet")))
    assert line.endswith("(5 no_identity); name the column that holds it by source.identity_column")


def test_want_of_identities_is_explained_where_most_images_have_none() -> None:
    error = UserError("2 identities are left after cleaning")
    assert few_identities(error, 5, 10, settings("tar")) is error
    line = str(few_identities(error, 6, 10, settings("tar")))
    assert line.startswith("2 identities are left after cleaning; 6 of 10 images have no identity: put the images of")


def test_most_images_without_identity_are_a_note_and_half_are_none() -> None:
    assert without_identities(5, 10, settings("tar")) == []
    (note,) = without_identities(6, 10, settings("recordio"))
    assert note.startswith("6 of 10 images have no identity: pack the records with their labels")
