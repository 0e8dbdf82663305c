"""Every kind of source gives one value the same identity, as far as its format can hold the value."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources.settings import SOURCES

IMAGE = b"picture"
WORDS = [
    "ann",
    " ann ",
    "Jos\u00e9",
    "Jose\u0301",
    "1",
    "1.0",
    "007",
    "-1",
    "-1.0",
    "nan",
    "None",
    " ",
    "",
    "Smith, Ann",
]
NUMBERS = [1, 1.0, 0, -1, -1.0, -7, float("nan"), float("inf"), 2.5]
OTHERS = [None, True, [1], [], [1, 2], ["ann"], {"name": "ann"}]

# The table: a value as `repr` shows it -> its identity. Those that are not here have none.
IDENTITIES = {
    repr(value): identity
    for value, identity in [
        *((word, word) for word in ("ann", "José", "1", "007", "nan", "None", "Smith, Ann")),
        *((" ann ", "ann"), ("Jose\u0301", "José"), ("1.0", "1")),
        *((1, "1"), (1.0, "1"), (0, "0"), (2.5, "2.5"), ([1], "1"), (["ann"], "ann")),
    ]
}


class CannotHoldError(Exception):
    """The format has no form for the value."""


def of_words(value: object) -> str:
    if not isinstance(value, str):
        raise CannotHoldError
    return value


def folder_name(value: object) -> str:
    name = of_words(value)
    if not name:
        raise CannotHoldError
    return name


def folder(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    path: Path = write["images"](home / "faces", {f"{folder_name(value)}/1.jpg": IMAGE})
    return path


def tar(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    path: Path = write["tar"](home / "faces.tar", {f"{folder_name(value)}/1.jpg": IMAGE})
    return path


def csv_list(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    write["images"](home, {"1.jpg": IMAGE})
    with (home / "l.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "identity"), ("1.jpg", of_words(value))])
    return home / "l.csv"


def json_list(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    write["images"](home, {"1.jpg": IMAGE})
    (home / "l.jsonl").write_text(json.dumps({"path": "1.jpg", "identity": value}))
    return home / "l.jsonl"


def cls_member(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    path: Path = write["tar"](home / "s.tar", {"1.jpg": IMAGE, "1.cls": of_words(value).encode()})
    return path


def json_member(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    path: Path = write["tar"](home / "s.tar", {"1.jpg": IMAGE, "1.json": json.dumps({"cls": value}).encode()})
    return path


def record(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CannotHoldError
    write["rec"](home / "a.rec", [write["record"](value, IMAGE)])
    return home / "a.rec"


def parquet(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    pq.write_table(pa.table({"image": [IMAGE], "identity": [value]}), home / "a.parquet")
    return home / "a.parquet"


def partition(home: Path, value: Any, write: dict[str, Callable[..., Any]]) -> Path:
    below = home / f"identity={folder_name(value)}"
    below.mkdir()
    pq.write_table(pa.table({"image": [IMAGE]}), below / "a.parquet")
    return home


FORMS = {
    "folder": [folder],
    "tar": [tar],
    "list": [csv_list, json_list],
    "webdataset": [cls_member, json_member],
    "recordio": [record],
    "parquet": [parquet, partition],
    "pack": [],  # has no identities
}


def test_every_kind_of_source_is_in_the_table() -> None:
    assert FORMS.keys() == SOURCES.keys()


@pytest.mark.parametrize(
    ("kind", "form"),
    [pytest.param(kind, form, id=f"{kind} {form.__name__}") for kind, forms in FORMS.items() for form in forms],
)
def test_a_value_is_one_identity_in_any_source(
    tmp_path: Path,
    kind: str,
    form: Callable[[Path, Any, dict[str, Callable[..., Any]]], Path],
    read_rows,
    write_images,
    write_tar,
    write_rec,
    to_record,
) -> None:
    write = {"images": write_images, "tar": write_tar, "rec": write_rec, "record": to_record}
    found = {}
    for number, value in enumerate([*WORDS, *NUMBERS, *OTHERS]):
        home = tmp_path / str(number)
        home.mkdir()
        try:
            path = form(home, value, write)
        except CannotHoldError:
            continue
        (row,) = read_rows(SOURCES.validate({"kind": kind, "path": str(path)}))
        assert row.data == IMAGE
        found[repr(value)] = row.identity
    assert len(found) >= 9
    assert found == {value: IDENTITIES.get(value) for value in found}
