"""pipelines/sources/headings: a column is found in any case, and the exact one before all others."""

import pytest

from pipelines.sources.headings import IDENTITY_COLUMNS, find_column


@pytest.mark.parametrize(
    ("columns", "wanted", "found"),
    [
        (["image", "identity"], IDENTITY_COLUMNS, "identity"),
        (["Image", "Identity"], IDENTITY_COLUMNS, "Identity"),
        ([" LABEL "], IDENTITY_COLUMNS, " LABEL "),
        (["label", "identity"], IDENTITY_COLUMNS, "identity"),
        (["Who", "who"], ["who"], "who"),
        (["WHO", "Who"], ["who"], "WHO"),
        (["Straße"], ["STRASSE"], "Straße"),
        (["identities"], IDENTITY_COLUMNS, None),
        ([], IDENTITY_COLUMNS, None),
    ],
)
def test_the_first_wanted_name_that_is_a_column_is_found(columns: list[str], wanted: list[str], found: str) -> None:
    assert find_column(columns, wanted) == found
