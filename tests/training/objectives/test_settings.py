"""Which settings of the objectives go together; what does not is told in one line."""

import math

import pytest
from pydantic import ValidationError

from training.objectives.settings import ObjectiveSettings

SHARP = {"margin": 0.4, "scale": 64.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "softmax"},
        {"name": "softmax", "sharded": True, "sample_rate": 0.1, "bank": "host"},
        {"name": "arcface", **SHARP, "filter_threshold": 0.4},
        {"name": "cosface", **SHARP, "sharded": True},
        {"name": "combined", "margins": [1.0, 0.3, 0.2], "scale": 64.0},
        {"name": "adaface", **SHARP, "adaface": {"spread": 0.5}, "sharded": True, "sample_rate": 0.3},
        {"name": "class_pool", **SHARP, "pool": {"slots": 100, "margin": "arcface"}},
    ],
)
def test_what_goes_together_is_taken(settings):
    assert ObjectiveSettings.model_validate(settings).name == settings["name"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "softmax", "margin": 0.2}, "has no margin: leave it null, or choose arcface"),
        ({"name": "softmax", "filter_threshold": 0.4}, "filters no classes"),
        ({"name": "arcface", "margin": 0.2}, "needs a margin and a scale"),
        ({"name": "arcface", **SHARP, "margins": [1, 0.3, 0]}, "has no margins: leave it null, or choose combined"),
        ({"name": "combined", **SHARP}, "combined objective has no margin"),
        ({"name": "combined", "scale": 64.0}, r"needs margins and a scale, such as \[1, 0.3, 0.2\] and 64"),
        ({"name": "combined", "scale": 64.0, "margins": [1, math.pi, 0]}, "less than"),
        ({"name": "cosface", **SHARP, "sample_rate": 0.1}, "sample_rate=0.1 .* set sharded to true"),
        ({"name": "cosface", **SHARP, "bank": "host"}, "bank=host .* set sharded to true"),
        ({"name": "class_pool", **SHARP, "sharded": True}, "no centres to share out"),
        ({"name": "class_pool", **SHARP, "filter_threshold": 0.4}, "filters no classes"),
        ({"name": "cosface", **SHARP, "pool": {"slots": 50}}, "has no pool"),
        ({"name": "cosface", **SHARP, "adaface": {"spread": 0.5}}, "reads no norms"),
    ],
)
def test_what_does_not_is_refused_with_the_remedy(settings, message):
    with pytest.raises(ValidationError, match=message) as caught:
        ObjectiveSettings.model_validate(settings)
    assert "\n" not in caught.value.errors()[0]["msg"]
