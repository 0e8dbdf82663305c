"""The error of a curation that keeps no image, with the remedy for the most frequent reason."""

from collections.abc import Sequence

from jobs.settings import RunSettings
from pipelines.clean import RULES
from pipelines.decode_faults import FAULTS
from pipelines.settings import UserError
from pipelines.sources.entry import UNREADABLE

NO_IDENTITY = "no_identity"
_MOST_NAMED = 4

Outcome = tuple[str, str | None, int]  # status, reason, number of images


def nothing_kept(outcomes: Sequence[Outcome], settings: RunSettings) -> UserError:
    """The error, for images of which every one has a reason not to be kept."""
    frequent = sorted(outcomes, key=lambda outcome: -outcome[2])
    reasons = ", ".join(f"{count:,} {reason}" for _, reason, count in frequent[:_MOST_NAMED])
    num_images = sum(count for *_, count in outcomes)
    return UserError(f"not one of {num_images:,} images is kept ({reasons}); {_remedy(frequent[0][1], settings)}")


def few_identities(error: UserError, num_without: int, num_images: int, settings: RunSettings) -> UserError:
    """An error for want of identities, with the reason where most images have none."""
    reasons = without_identities(num_without, num_images, settings)
    return UserError("; ".join([str(error), *reasons])) if reasons else error


def without_identities(num_without: int, num_images: int, settings: RunSettings) -> list[str]:
    """A note where most images have no identity, with the remedy of the source's kind."""
    if num_without <= num_images / 2:
        return []
    return [f"{num_without:,} of {num_images:,} images have no identity: {settings.source.identity_remedy}"]


def _remedy(reason: str | None, settings: RunSettings) -> str:
    if reason == NO_IDENTITY:
        return settings.source.identity_remedy
    if reason == "few_images":
        return "set curate.min_images_per_identity=1, or give all images of a person the same identity"
    if reason in FAULTS or reason == UNREADABLE:
        return "mend the images of the source"
    if reason in {name for rule in RULES for name in (rule.below, rule.above)}:
        return "widen the ranges under curate"
    return "the report shows them with their reasons"
