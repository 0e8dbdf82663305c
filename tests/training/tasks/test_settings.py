"""Sets by name, each with the settings of its task and of no other."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from training.tasks.settings import EvaluateSettings, ListedPairs, PackedPairs, ValPairs


def _sets(values: dict[str, Any]) -> dict[str, Any]:
    return dict(EvaluateSettings.model_validate(values).sets)


def test_without_a_set_pairs_are_drawn_from_the_val_split() -> None:
    assert EvaluateSettings().sets == _sets({"sets": {}}) == {"val": ValPairs()}


def test_a_set_that_is_named_stands_alone() -> None:
    sets = _sets(
        {"sets": {"lfw": {"pairs": "pairs_txt", "path": "/lfw"}, "agedb_30": {"pairs": "bin", "path": "a.bin"}}}
    )
    assert sets == {"lfw": ListedPairs(path=Path("/lfw")), "agedb_30": PackedPairs(path=Path("a.bin"))}


def test_the_common_crop_is_that_of_the_sets_that_give_none() -> None:
    assert _sets({"crop": 0.5, "fit": "stretch"}) == {"val": ValPairs(crop=0.5, fit="stretch")}
    sets = _sets({"crop": 0.5, "sets": {"one": {}, "two": {"crop": 1.0}}})
    assert (sets["one"].crop, sets["two"].crop) == (0.5, 1.0)


def test_null_takes_a_set_away() -> None:
    assert set(_sets({"sets": {"val": {}, "lfw": None}})) == {"val"}
    assert set(_sets({"sets": {"lfw": None}})) == {"val"}


def test_frozen_settings_are_complete_and_load_to_the_same() -> None:
    settings = EvaluateSettings.model_validate({"crop": 0.5, "sets": {"a": {"pairs": "bin", "path": "x", "folds": 3}}})
    content = settings.model_dump(mode="json")
    assert content["sets"]["a"]["folds"] == 3
    assert content["sets"]["a"]["crop"] == 0.5
    assert EvaluateSettings.model_validate(content) == settings


def test_a_forecast_counts_two_pictures_for_a_drawn_pair() -> None:
    assert (ValPairs(num_pairs=70).num_images, PackedPairs(path=Path("x")).num_images) == (140, None)


def test_files_name_the_source_as_which_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "lfw.tar").touch()
    assert (ValPairs().files, ValPairs().source_kind) == (None, None)
    assert PackedPairs(path=tmp_path / "x.bin").source_kind == "pack"
    assert ListedPairs(path=tmp_path).source_kind == "folder"
    assert ListedPairs(path=tmp_path / "lfw.tar").source_kind == "tar"


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        ({"sets": {"a": {"pairs": "bin"}}}, ("sets", "a", "path"), "Field required"),
        ({"sets": {"a": {"path": "x"}}}, ("sets", "a", "path"), "belongs to pairs_txt or bin, and pairs is val"),
        (
            {"sets": {"a": {"pairs": "pairs_txt", "path": "x", "folds": 5}}},
            ("sets", "a", "folds"),
            "belongs to val or bin",
        ),
        ({"sets": {"a": {"flods": 5}}}, ("sets", "a", "flods"), "Extra inputs"),
        ({"sets": {"a": {"folds": 1}}}, ("sets", "a", "folds"), "greater than or equal to 2"),
        ({"sets": {"a": {"fars": [0.0]}}}, ("sets", "a", "fars", 0), "greater than 0"),
        ({"sets": {"a": {"pairs": "csv"}}}, ("sets", "a", "pairs"), "'val', 'pairs_txt' or 'bin'"),
        ({"sets": {"a": {"task": "guess"}}}, ("sets", "a", "task"), "'verification'"),
        ({"sets": {"a-b": {}}}, (), "sets.a-b: name a set by small letters, digits and _"),
        ({"sets": {"a\n": {}}}, (), "name a set by small letters"),
        ({"sets": {"a": 3}}, ("sets", "a"), "must be a group of settings"),
        ({"crop": 2}, ("crop",), "less than or equal to 1"),
        ({"path": "x"}, ("path",), "Extra inputs"),
    ],
)
def test_a_setting_that_does_not_belong_is_named(values: dict[str, Any], place: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as raised:
        EvaluateSettings.model_validate(values)
    assert raised.value.errors()[0]["loc"] == place


def test_reading_the_settings_imports_nothing_heavy() -> None:
    code = "import sys, training.tasks.settings; print({'torch', 'numpy', 'pyarrow', 'cv2'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
