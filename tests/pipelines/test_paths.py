"""Relative paths in settings are made absolute, wherever they stand, and nothing else is touched."""

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from pipelines.paths import tidy, with_absolute_paths
from pipelines.settings import IsPath, Settings

BASE = Path("/home/here")


class Inner(Settings):
    model: Path | None = None
    path: Annotated[str | None, IsPath()] = None


class Outer(Settings):
    name: str = "faces/of/somebody"
    store: Path = Path("store")
    starts: Annotated[tuple[str, ...], IsPath(is_beginning=True)] = ()
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
        ("faces/", "/home/here/faces"),
        ("faces//checked", "/home/here/faces/checked"),
        ("./faces/./checked/.", "/home/here/faces/checked"),
        (" faces #1 ", "/home/here/ faces #1 "),
        ("{000..123}.tar", "/home/here/{000..123}.tar"),
        ("a:b/faces", "/home/here/a:b/faces"),
    ],
)
def test_what_is_relative_is_put_below_the_folder_as_it_is_written(path: str, expected: str) -> None:
    assert absolute(inner={"path": path}).inner.path == expected


SAME = ["{here}/faces", "{here}/faces/", "{here}//faces", "{here}/./faces", "{here}/faces/.", "{here}/other/../faces"]


@pytest.mark.parametrize("written", SAME)
def test_one_folder_has_one_path_however_it_is_written(tmp_path: Path, written: str) -> None:
    for name in ("faces", "other"):
        (tmp_path / name).mkdir()
    path = written.format(here=tmp_path)
    assert absolute(inner={"path": path, "model": path}).inner == Inner(
        path=f"{tmp_path}/faces", model=tmp_path / "faces"
    )
    assert absolute(starts=[path]).starts[0].rstrip("/") == f"{tmp_path}/faces"


def test_two_dots_behind_a_link_or_a_pattern_stay(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    for path in (f"{tmp_path}/link/../faces", f"{tmp_path}/*/../faces"):
        assert absolute(inner={"path": path}).inner.path == path


@given(st.text(st.sampled_from("ab./ #"), min_size=1, max_size=12))
def test_a_tidy_path_stays_as_it_is_and_leads_to_the_same_place(path: str) -> None:
    tidied = tidy(f"/{path}")
    assert tidy(tidied) == tidied
    # None of these folders exists, and so none of `..` may be left out.
    assert [part for part in tidied.split("/") if part] == [part for part in path.split("/") if part not in ("", ".")]


def test_settings_without_a_relative_path_are_the_same() -> None:
    settings = Outer(store=Path("/store"))
    assert with_absolute_paths(settings, BASE) is settings
