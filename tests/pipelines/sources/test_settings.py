"""pipelines/sources/settings: what cannot be meant is refused in one line."""

import pytest
from pydantic import ValidationError

from pipelines.sources.settings import SOURCES, IngestSettings


def said(**values: object) -> str:
    with pytest.raises(ValidationError) as caught:
        SOURCES.validate({"kind": "folder", "path": "x", **values})
    (error,) = caught.value.errors()
    return str(error["msg"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"identity_pattern": "("}, "is no regular expression (missing ), unterminated subpattern at position 0)"),
        ({"identity_pattern": "^ann"}, "has no group; put what names the identity in brackets"),
        ({"identity_pattern": "(?:ann)"}, "has no group"),
        (
            {"kind": "recordio", "identity_pattern": "(.)"},
            "belongs to folder, list, tar or webdataset, and kind is recordio; set it to null",
        ),
        (
            {"kind": "parquet", "identity_list": "who.csv"},
            "belongs to folder, list, tar or webdataset, and kind is parquet",
        ),
        ({"identity_column": "who"}, "belongs to list, webdataset or parquet, and kind is folder"),
        ({"kind": "tar", "identity_column": "who"}, "kind is tar"),
        ({"kind": "recordio", "identity_column": "who"}, "kind is recordio"),
        ({"kind": "zip"}, "choose 'folder', 'list', 'tar', 'webdataset', 'recordio', 'parquet' or 'pack'"),
        ({"path": ""}, "at least 1 character"),
        ({"chunk_images": 0}, "greater than or equal to 1"),
        ({"chunk_bytes": 1000}, "greater than or equal to 1048576"),
        ({"nonsense": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(values: dict[str, object], words: str) -> None:
    assert words in said(**values)


@pytest.mark.parametrize("kind", ["list", "webdataset", "parquet"])
def test_kinds_that_have_columns_take_one(kind: str) -> None:
    settings = SOURCES.validate({"kind": kind, "path": "x", "identity_column": "who"})
    assert settings.identity_column == "who"


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_a_fraction_is_between_nothing_and_all(fraction: float) -> None:
    with pytest.raises(ValidationError):
        IngestSettings(max_broken_fraction=fraction)
