"""Unknown keys find their neighbours; the rest of the wording is tested through compose."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from jobs.wording import known_keys, unknown_key, wrong_settings
from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings


class Inner(Settings):
    width: float = Field(default=1.0, gt=0)


class Outer(Settings):
    inner: Inner = Inner()
    depth: int = Field(default=1, ge=1)


def test_known_keys_reach_into_nested_models() -> None:
    assert list(known_keys(Outer)) == ["inner", "inner.width", "depth"]


def test_a_key_in_the_wrong_group_is_found_by_its_last_word() -> None:
    assert str(unknown_key("width", known_keys(Outer))) == "there is no setting width; did you mean inner.width?"


def test_a_key_like_no_other_lists_its_neighbours() -> None:
    assert str(unknown_key("inner.xyz", known_keys(Outer))) == "there is no setting inner.xyz; known here: inner.width"


def test_further_mistakes_are_counted() -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"inner": {"width": 0}, "depth": 0})
    told = str(wrong_settings(raised.value, Outer, prefix="model."))
    assert told == "model.inner.width=0: must be above 0.0 (and 1 more)"


class Small(Settings):
    size: Literal["small"] = "small"
    grams: int = 1


class Large(Settings):
    size: Literal["large"] = "large"
    litres: int = 1


class Named(Settings):
    boxes: dict[str, Annotated[Settings, Kinds("size", {"small": Kind(Small, ""), "large": Kind(Large, "")})]]
    groups: dict[str, "Named"] = Field(default={})


def test_known_keys_name_what_lies_below_a_name_of_the_user_and_end_where_a_model_holds_itself() -> None:
    below = ["boxes.*.size", "boxes.*.grams", "boxes.*.size", "boxes.*.litres"]
    assert list(known_keys(Named)) == ["boxes", *below, "groups"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"boxes": {"a": {"size": "large", "liters": 2}}},
            "there is no setting x.boxes.a.liters; did you mean x.boxes.a.litres?",
        ),
        ({"boxes": {}, "grams": 2}, "there is no setting x.grams; did you mean x.boxes.NAME.grams?"),
    ],
)
def test_a_key_below_a_name_of_the_user_finds_its_neighbours(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Named.model_validate(values)
    assert str(wrong_settings(raised.value, Named, prefix="x.")) == line
