"""The stages of each round, and the settings that count there: a round trains a model that the next one asks."""

from collections.abc import Callable, Collection, Sequence

from jobs.listing import reference_sources
from jobs.settings import RunSettings

# Whether a stage is part of a round, which are counted from 1.
Applies = Callable[[RunSettings, int], bool]
# The names of what a stage is done for, one after the other; none has a name where it is done once.
Instances = Callable[[RunSettings], Sequence[str]]
# The settings as far as they count for a stage that reads these kinds.
RelevantSettings = Callable[[RunSettings, Collection[str]], RunSettings]


def one_unnamed(settings: RunSettings) -> Sequence[str]:
    """Once."""
    return ("",)


def evaluation_sets(settings: RunSettings) -> Sequence[str]:
    """For each set that the model is judged on."""
    return tuple(settings.evaluate.sets)


def in_first_round(settings: RunSettings, round_number: int) -> bool:
    """Once, whatever follows."""
    return round_number == 1


def in_every_round(settings: RunSettings, round_number: int) -> bool:
    """Again after every model."""
    return True


def in_later_rounds(settings: RunSettings, round_number: int) -> bool:
    """In every round that follows a trained model."""
    return round_number > 1


def with_references(settings: RunSettings, round_number: int) -> bool:
    """Once, if there are pictures that must not be trained on."""
    return round_number == 1 and bool(reference_sources(settings))


def with_embeddings(settings: RunSettings, round_number: int) -> bool:
    """If there is a model to embed the pictures: the one that the settings name, then that of the last round."""
    return round_number > 1 or settings.embed.model is not None


# For messages: the runs that have a stage which not all runs have.
APPLIES_TO: dict[Applies, str] = {
    in_later_rounds: "those with curate.rounds above 1",
    with_references: "those with reference.sources, or an evaluation set of their own",
    with_embeddings: "those with embed.model, or curate.rounds above 1",
}


def without_embeddings(settings: RunSettings, kinds: Collection[str]) -> RunSettings:
    """The settings that count before the first of several rounds has trained a model, of which nothing can be asked.

    So another threshold of the second round redoes nothing of the first, nor does asking for a second round at all.
    """
    if "scores" in kinds or settings.curate.rounds == 1:
        return settings
    return settings.model_copy(update={"curate": settings.curate.without_embeddings()})
