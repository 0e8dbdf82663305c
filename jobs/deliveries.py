"""What a run adds to: the raw images that earlier runs took in, found by the name of the run that it extends."""

from jobs.settings import RUN_YAML, Delivery, RunSettings, load
from jobs.stages import STAGES, artefact_folder
from pipelines.manifest import is_done
from pipelines.settings import UserError

# Records and pairs of several deliveries are only put together where these agree.
_SHARED = ("pixels", "faces", "dedup")
# What is taken over of a delivery.
_ROLES = ("ingest", "pairs")


def with_deliveries(settings: RunSettings) -> RunSettings:
    """The settings with `earlier` filled in: every delivery of the run that `extends` names, and of what that extends.

    Raises:
        UserError: that run does not exist, is not finished, or measured and compared its pictures otherwise.
    """
    if settings.extends is None:
        return settings
    if settings.extends == settings.name:
        raise UserError(f"extends={settings.extends} is this run itself; give this one another name, as in name=more")
    path = settings.runs / settings.extends / RUN_YAML
    if not path.is_file():
        raise UserError(f"extends={settings.extends}: {path} does not exist; name a run that was made here")
    before = load(path)
    _check_agreement(settings, before)
    _check_finished(settings, before)
    newest = Delivery(run=before.name, fingerprints={role: before.fingerprints[role] for role in _ROLES})
    return settings.model_copy(update={"earlier": (*before.earlier, newest)})


def _check_agreement(settings: RunSettings, before: RunSettings) -> None:
    for name in _SHARED:
        ours, theirs = settings.section(name), before.section(name)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise UserError(
                    f"{name}.{key}={ours.get(key)} here and {theirs.get(key)} in the run {before.name} that this one "
                    f"extends; set {name}.{key}={theirs.get(key)}"
                )


def _check_finished(settings: RunSettings, before: RunSettings) -> None:
    for stage in STAGES:
        if stage.name not in _ROLES:
            continue
        mark = before.fingerprints.get(stage.name)
        if mark is None or not is_done(artefact_folder(settings, stage, mark)):
            raise UserError(
                f"extends={before.name}: its stage {stage.name} has no finished artefact in store={settings.store}; "
                "finish that run first, or name its store"
            )
