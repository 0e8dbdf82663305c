"""What of a recipe contradicts itself."""

import pytest
from pydantic import ValidationError

from jobs.settings import compose
from pipelines.settings import UserError
from training.settings import RecipeSettings


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_warm_up_as_long_as_the_training_is_refused(epochs: int) -> None:
    with pytest.raises(ValidationError, match=rf"warmup_epochs=2 is not below epochs={epochs}; shorten it"):
        RecipeSettings.model_validate({"epochs": epochs, "schedule": {"warmup_epochs": 2}})


def test_it_is_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match=r"schedule\.warmup_epochs=2 is not below epochs=1; shorten it"):
        compose(["source.path=x", "recipe.epochs=1", "recipe.schedule.warmup_epochs=2"])
