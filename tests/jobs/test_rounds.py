"""jobs/rounds: what a round has of stages, and what of the settings counts before there is a model to ask."""

import pytest

from jobs.rounds import without_embeddings
from jobs.settings import RunSettings
from pipelines.settings import CurateSettings

ASKING = {
    "rounds": 2,
    "min_images_per_identity": 3,
    "leak": {"min_cosine": 0.8},
    "semantic": {"min_cosine": 0.9},
    "identities": {"min_margin": 0.1, "merge": "apply"},
}


def asking(settings: RunSettings, **changes: object) -> RunSettings:
    return settings.model_copy(update={"curate": CurateSettings.model_validate({**ASKING, **changes})})


def test_before_the_first_model_nothing_is_asked_of_one_and_the_rest_counts(real_settings: RunSettings) -> None:
    found = without_embeddings(asking(real_settings), ("records", "pairs")).curate
    assert found == CurateSettings(rounds=2, min_images_per_identity=3)


@pytest.mark.parametrize(("rounds", "kinds"), [(2, ("records", "scores")), (1, ("records",))])
def test_with_embeddings_or_in_the_only_round_everything_counts(
    real_settings: RunSettings, rounds: int, kinds: tuple[str, ...]
) -> None:
    settings = asking(real_settings, rounds=rounds)
    assert without_embeddings(settings, kinds) == settings
