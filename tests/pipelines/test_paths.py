"""Relative paths in settings are made absolute, wherever they stand, and nothing else is touched."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from pipelines.paths import with_absolute_paths
from pipelines.settings import IsPath, Settings

BASE = Path("/home/here")


class Inner(Settings):
    model: Path | None = None
    path: Annotated[str | None, IsPath()] = None


class Outer(Settings):
    name: str = "faces/of/somebody"
    store: Path = Path("store")
    starts: Annotated[tuple[str, ...], IsPath()] = ()
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default={})
    words: dict[str, str] = Field(default={})


def absolute(**values: object) -> Outer:
    return with_absolute_paths(Outer.model_validate(values), BASE)


def test_paths_at_any_depth_are_below_the_folder() -> None:
    one = {"model": "face.onnx", "path": "faces/*.tar"}
    found = absolute(store="a/store", inner=one, several=[one, one], named={"lfw": one})
    inner = Inner(model=Path("/home/here/face.onnx"), path="/home/here/faces/*.tar")
    assert found == Outer(store=Path("/home/here/a/store"), inner=inner, several=(inner, inner), named={"lfw": inner})


def test_every_text_of_a_marked_field_is_a_path_and_no_other_text_is() -> None:
    found = absolute(starts=["faces/checked/", "/all"], words={"key": "a/b"})
    assert found.starts == ("/home/here/faces/checked/", "/all")
    assert (found.name, found.words) == ("faces/of/somebody", {"key": "a/b"})


@pytest.mark.parametrize(
    "path",
    ["/faces", "/faces/{000..123}.tar", "{/a,/b}/*.tar", "s3://bucket/faces", "hf://datasets/x", "zip::s3://b/a.zip"],
)
def test_what_is_absolute_or_an_address_stays(path: str) -> None:
    assert absolute(inner={"path": path}).inner.path == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("faces", "/home/here/faces"),
        ("./faces", "/home/here/faces"),
        ("../faces", "/home/here/../faces"),
        ("faces/", "/home/here/faces/"),
        ("{000..123}.tar", "/home/here/{000..123}.tar"),
        ("a:b/faces", "/home/here/a:b/faces"),
    ],
)
def test_what_is_relative_is_put_below_the_folder_as_it_is_written(path: str, expected: str) -> None:
    assert absolute(inner={"path": path}).inner.path == expected


def test_settings_without_a_relative_path_are_the_same() -> None:
    settings = Outer(store=Path("/store"))
    assert with_absolute_paths(settings, BASE) is settings
