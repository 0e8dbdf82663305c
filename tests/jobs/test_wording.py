"""Unknown keys find their neighbours; the rest of the wording is tested through compose."""

import pytest
from pydantic import Field, ValidationError

from jobs.wording import known_keys, unknown_key, wrong_settings
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
