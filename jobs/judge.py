"""The command `ringmill evaluate`: a finished model judged on any set, in one process and without a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.table import Table

from jobs.settings import RunSettings, check, load
from jobs.stages import river
from jobs.wording import wrong_settings
from pipelines.durable import write_atomically
from pipelines.run_folder import RunFolder
from pipelines.settings import UserError
from pipelines.store import Store
from training.build import device_of
from training.comm.local import LocalComm
from training.feed.location import Location, dataset_location
from training.model_file import read_model
from training.tasks.result import Result
from training.tasks.settings import TASKS, EvaluateSettings, SetSettings
from training.tasks.task import TaskContext, build_task

_DATASET, _BATCH_SIZE = "dataset", "batch_size"  # keys that are no settings of the set


@dataclass(frozen=True)
class Question:
    """One model and the set to judge it on."""

    model: Path  # folder of model.json and model.safetensors
    settings: SetSettings
    dataset: Location | None  # for sets that are part of a dataset
    batch_size: int  # pictures per forward pass


def question_of(model: Path, assignments: Sequence[str]) -> Question:
    """A model and the set of the command line: `pairs=bin path=lfw.bin crop=0.5`, `dataset=FOLDER` for a val split.

    Raises:
        UserError: a setting is unknown, missing or wrong.
    """
    return _question(model, _values(assignments), None, EvaluateSettings().batch_size)


def question_of_run(
    run_folder: Path, set_name: str | None, assignments: Sequence[str] = (), *, model: Path | None = None
) -> Question:
    """The model of a run and a set of its settings, changed by the command line.

    Args:
        set_name: None = the only one that there is.
        model: to be judged instead of the run's own.

    Raises:
        UserError: there is no such run or set, no trained model, or a setting is wrong.
    """
    settings = load(RunFolder(run_folder).settings)
    sets = settings.evaluate.sets
    if set_name is None and len(sets) == 1:
        (set_name,) = sets
    if set_name not in sets:
        raise UserError(f"--set={set_name or ''}: the run {settings.name} has the sets {', '.join(sets)}; name one")
    values = {**sets[set_name].model_dump(mode="json"), **_values(assignments)}
    dataset = dataset_location(settings.feed, _newest(settings, "dataset"))
    return _question(model or _newest(settings, "model"), values, dataset, settings.evaluate.batch_size)


def judge(question: Question) -> Result:
    """The result of the task.

    Raises:
        UserError: the folder holds no model, or as `Task.run`.
    """
    backbone, card = read_model(question.model)
    comm = LocalComm()
    context = TaskContext(size_px=card.model.input_size_px, batch_size=question.batch_size, dataset=question.dataset)
    return build_task(question.settings, context).run(backbone.to(device_of(comm)), comm)


def write_result(path: Path, result: Result) -> None:
    """Write a result as JSON.

    Raises:
        UserError: there is no such folder, or it cannot be written to.
    """
    try:
        write_atomically(path, result.encoded())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name a file in a folder that exists") from None


def figure_table(result: Result) -> Table:
    """The figures, one in a row."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for figure in result.figures.values():
        table.add_row(figure.label, figure.text, figure.note)
    return table


def _question(model: Path, values: dict[str, Any], dataset: Location | None, batch_size: int) -> Question:
    own = {key: value for key, value in values.items() if key not in (_DATASET, _BATCH_SIZE)}
    if _DATASET in values:
        dataset = Location(values[_DATASET])
    common = check(EvaluateSettings, {_BATCH_SIZE: values.get(_BATCH_SIZE, batch_size)})
    try:
        return Question(model, TASKS.validate(own), dataset, common.batch_size)
    except ValidationError as error:
        raise wrong_settings(error, TASKS, prefix="") from None


def _values(assignments: Sequence[str]) -> dict[str, Any]:
    """Values as text, which the settings models convert; lists are read as YAML."""
    values: dict[str, Any] = {}
    for one in assignments:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise UserError(f"{one!r} is no setting; write key=value, such as pairs=bin path=lfw.bin")
        try:
            values[key] = yaml.safe_load(value) if value.startswith("[") else value
        except yaml.YAMLError:
            raise UserError(f"{key}={value} is no list; write such as {key}='[0.1, 0.01]'") from None
    return values


def _newest(settings: RunSettings, kind: str) -> Path:
    stages = [stage for stage in river(settings) if stage.makes == kind and stage.name in settings.fingerprints]
    if not stages:
        raise UserError(f"the run {settings.name} has no {kind} yet; run it first")
    return Store(settings.store).folder(kind, settings.fingerprints[stages[-1].name])
