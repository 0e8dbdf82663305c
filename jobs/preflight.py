"""Looks at the settings and the place before the long work: what cannot work is said in a second, not after an hour."""

from collections.abc import Mapping, Sequence

from jobs.places.checks import check_writable
from jobs.places.environment import note_overridden
from jobs.places.place import Place
from jobs.planning import PlannedStage
from jobs.settings import RunSettings
from pipelines.settings import UserError
from training.feed.plans.table import check_plan


def check_run(settings: RunSettings, due: Sequence[PlannedStage], place: Place, *, env: Mapping[str, str]) -> list[str]:
    """Refuse what cannot work, and return what is only unwise, a line each.

    Args:
        due: the stages that will run; nothing is asked for that none of them needs.
        env: the environment of the driver, from which those of the stages are made.

    Raises:
        UserError: Java, Horovod, an archive of Spark's or a writable store is missing, or settings of several stages do
            not go together.
    """
    folders = {"store": settings.store, "runs": settings.folder}
    for setting, folder in folders.items():
        check_writable(folder, setting=setting)
    if "curate" in {planned.stage.verb for planned in due}:
        check_faces(settings)
    environments = {launcher: place.environment(launcher, env) for launcher in {one.stage.launcher for one in due}}
    notes = note_overridden(environments)
    if "spark" in environments:
        notes += place.check_spark(environments["spark"].values, folders)
    if "ranks" in environments:
        check_batch(settings)
        check_objective(settings)
        notes += place.check_ring(environments["ranks"].values, folders)
    return notes


def check_faces(settings: RunSettings) -> None:
    """Refuse a rule on faces that nobody looked for: it would reject every picture.

    Raises:
        UserError: curate.num_faces has a limit and faces.detector is none.
    """
    limits = settings.curate.num_faces
    if settings.faces.detector == "none" and (limits.min is not None or limits.max is not None):
        raise UserError("curate.num_faces has a limit and faces.detector=none counts no faces; set faces.detector=haar")


def check_batch(settings: RunSettings) -> None:
    """Hold the global batch against the number of ranks.

    Raises:
        UserError: it does not split evenly.
    """
    batch_size, ranks = settings.recipe.batch_size, settings.place.num_ranks
    if batch_size % ranks:
        nearest = max(1, round(batch_size / ranks)) * ranks
        raise UserError(f"recipe.batch_size={batch_size} does not split over {ranks} ranks; {nearest} would")


def check_objective(settings: RunSettings) -> None:
    """Hold what the objective needs against how the dataset is laid out, fed and learnt from.

    Raises:
        UserError: the settings of the objective do not go together with others.
    """
    check_plan(settings.objective.needs, settings.feed, settings.shard)
    settings.objective.check(settings, ranks=settings.place.num_ranks)
