"""Earlier deliveries: the raw images of the runs that a run extends, found by the name of the newest of them."""

from jobs.settings import Delivery, RunSettings, load
from jobs.stages import STAGES
from pipelines.run_folder import named_folder
from pipelines.settings import UserError
from pipelines.store import Store

# Records and pairs of several deliveries are only put together where these agree.
_SHARED = ("pixels", "faces", "dedup")
_MAKERS = [stage for stage in STAGES if stage.makes in ("records", "pairs")]
# What is taken over of a delivery: verb of the stage -> kind of its artefact.
_TAKEN_OVER = {stage.verb: kind for stage in _MAKERS if (kind := stage.makes)}
_MAY_DIFFER = {name for stage in _MAKERS for name in stage.not_in_fingerprint}


def with_deliveries(settings: RunSettings) -> RunSettings:
    """The settings with `earlier` filled in: every delivery of the run that `extends` names, and of what that extends.

    Raises:
        UserError: that run does not exist, is not finished, or measured and compared its pictures otherwise.
    """
    if settings.extends is None:
        return settings
    if settings.extends == settings.name:
        raise UserError(f"extends={settings.extends} is this run itself; give this one another name, as in name=more")
    path = named_folder(settings.runs, settings.extends).settings
    if not path.is_file():
        raise UserError(f"extends={settings.extends}: {path} does not exist; name a run that was made here")
    before = load(path)
    _check_agreement(settings, before)
    _check_finished(settings, before)
    prints = {kind: before.fingerprints[verb] for verb, kind in _TAKEN_OVER.items()}
    return settings.model_copy(update={"earlier": (*before.earlier, Delivery(run=before.name, fingerprints=prints))})


def _check_agreement(settings: RunSettings, before: RunSettings) -> None:
    for name in _SHARED:
        ours, theirs = settings.section(name), before.section(name)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key) and f"{name}.{key}" not in _MAY_DIFFER:
                raise UserError(
                    f"{name}.{key}={ours.get(key)} here and {theirs.get(key)} in the run {before.name} that this one "
                    f"extends; set {name}.{key}={theirs.get(key)}"
                )


def _check_finished(settings: RunSettings, before: RunSettings) -> None:
    store = Store(settings.store)
    for verb, kind in _TAKEN_OVER.items():
        mark = before.fingerprints.get(verb)
        if mark is None or not store.is_done(kind, mark):
            raise UserError(
                f"extends={before.name}: its stage {verb} has no finished artefact in store={settings.store}; "
                "finish that run first, or name its store"
            )
