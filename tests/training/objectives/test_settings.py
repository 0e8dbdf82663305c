"""Which settings of the objectives go together; what does not is refused in one line."""

import math

import pytest
from pydantic import ValidationError

from pipelines.settings import UserError
from training.objectives.distances import DISTANCES
from training.objectives.head_settings import CosFaceSettings
from training.objectives.miners import PAIR_MINERS, TRIPLET_MINERS
from training.objectives.reducers import REDUCERS
from training.objectives.settings import (
    OBJECTIVES,
    ClassPoolSettings,
    ContrastiveSettings,
    SumSettings,
    TripletSettings,
)
from training.settings import TrainingSettings

SHARDED = {"kind": "sharded", "sample_rate": 0.3}


def in_a_sum(*objectives):
    terms = {f"term{number}": {"objective": one} for number, one in enumerate(objectives)}
    return SumSettings.model_validate({"terms": terms})


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "softmax"},
        {"name": "softmax", "centres": {"kind": "sharded", "sample_rate": 0.1, "bank": "host"}},
        {"name": "arcface", "filter_threshold": 0.4},
        {"name": "combined", "margins": [1.0, 0.3, 0.2], "scale": 32.0},
        {"name": "adaface", "spread": 0.5, "centres": SHARDED},
        {"name": "class_pool", "pool": {"slots": 100, "margin": "arcface"}},
        {"name": "triplet", "miner": "hardest", "reducer": "mean_nonzero"},
    ],
)
def test_what_goes_together_is_taken(settings):
    assert OBJECTIVES.validate(settings).name == settings["name"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "softmax", "margin": 0.2}, "belongs to arcface, cosface, adaface, class_pool, contrastive or trip"),
        ({"name": "class_pool", "filter_threshold": 0.4}, "belongs to arcface, cosface, combined or adaface"),
        ({"name": "arcface", "margins": [1, 0.3, 0]}, "belongs to combined, and name is arcface"),
        ({"name": "combined", "margins": [1, math.pi, 0]}, "less than"),
        ({"name": "cosface", "centres": {"kind": "replicated", "sample_rate": 0.1}}, "belongs to sharded"),
        ({"name": "class_pool", "centres": SHARDED}, "belongs to softmax, arcface"),
        ({"name": "cosface", "pool": {"slots": 50}}, "belongs to class_pool"),
        ({"name": "cosface", "spread": 0.5}, "belongs to adaface"),
        ({"name": "triplet", "miner": "easiest"}, "'all', 'semi_hard' or 'hardest'"),
        ({"name": "sum", "terms": {}}, "at least 1"),
        (
            {"name": "sum", "terms": {"pool": {"objective": {"name": "class_pool"}}}},
            "terms.pool is class_pool, which takes batches of its own",
        ),
    ],
)
def test_what_does_not_is_refused_with_the_remedy(settings, message):
    with pytest.raises(ValidationError, match=message) as caught:
        OBJECTIVES.validate(settings)
    assert "\n" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("objective", "more", "message"),
    [
        (
            ClassPoolSettings.model_validate({"pool": {"slots": 23}}),
            {"ranks": 2},
            r"^objective\.pool\.slots=23 cannot hold the 24 pictures of a half-step of all ranks; .* at least 24",
        ),
        (
            CosFaceSettings.model_validate({"centres": SHARDED}),
            {"optimiser": {"name": "adamw"}},
            r"^objective\.centres\.kind=sharded and recipe\.optimiser\.name=adamw: .* set objective\.centres\.kind=rep",
        ),
        (
            CosFaceSettings.model_validate({"centres": SHARDED}),
            {"ranks": 3, "num_classes": 2},
            r"^objective\.centres\.kind=sharded and 2 identities for 3 ranks; ",
        ),
        (
            in_a_sum({"name": "triplet"}, {"name": "cosface", "centres": SHARDED}),
            {"ranks": 3, "num_classes": 2},
            r"^objective\.terms\.term1\.objective\.centres\.kind=sharded and 2 identities",
        ),
        (TripletSettings(), {"photos": 1}, r"^objective\.name=triplet .* feed\.photos_per_identity=1; set it to 2"),
    ],
)
def test_a_rule_over_several_settings_is_told_in_one_line(objective, more, message):
    def check(ranks=1, num_classes=3, optimiser=None, photos=2):
        recipe = {"batch_size": 16, "optimiser": optimiser or {"name": "sgd"}}
        run = TrainingSettings.model_validate({"recipe": recipe, "feed": {"photos_per_identity": photos}})
        objective.check(run, ranks=ranks, num_classes=num_classes)

    with pytest.raises(UserError, match=message) as caught:
        check(**more)
    assert "\n" not in str(caught.value)
    if not isinstance(objective, ClassPoolSettings):
        check(ranks=3, num_classes=3)


def test_a_pool_that_just_holds_a_half_step_is_taken():
    run = TrainingSettings.model_validate({"recipe": {"batch_size": 15}})
    ClassPoolSettings.model_validate({"pool": {"slots": 23}}).check(run, ranks=1)


def test_a_sum_asks_for_what_serves_all_its_terms():
    assert in_a_sum({"name": "softmax"}).needs.plan == "rows"
    needs = in_a_sum({"name": "softmax"}, {"name": "contrastive"}).needs
    assert (needs.plan, needs.layout) == ("identities", "identity")
    assert in_a_sum({"name": "softmax"}, {"name": "cosface", "centres": SHARDED}).sample_rate == 0.3


def test_every_name_in_the_settings_is_one_of_the_tables():
    def names(model, field):
        return set(model.model_fields[field].annotation.__args__)

    assert names(TripletSettings, "distance") == set(DISTANCES)
    assert names(TripletSettings, "reducer") == set(REDUCERS)
    assert names(TripletSettings, "miner") == set(TRIPLET_MINERS)
    assert names(ContrastiveSettings, "miner") == set(PAIR_MINERS)
