"""A task of another kind needs its own file and one line of the table."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
from pydantic import ValidationError
from torch import nn

from pipelines.kinds import Kind
from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.tasks.result import Figure, Result
from training.tasks.settings import TASKS, EvaluateSettings, PackedPairs, SetSettings
from training.tasks.task import TaskContext, build_task


class WeightSettings(SetSettings):
    """Of the toy task."""

    task: Literal["weight"] = "weight"
    most: int
    path: Path | None = None


class Weight:
    """Judges a model by its number of parameters."""

    def __init__(self, settings: WeightSettings, context: TaskContext) -> None:
        self._most = settings.most

    def run(self, model: nn.Module, comm: Comm) -> Result:
        count = sum(one.numel() for one in model.parameters())
        share = Figure(label="share of the limit", value=count / self._most, format="share")
        return Result(kind="weight", about="parameters", figures={"share": share}, headline=("share",))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("toy_task")
    module.__dict__["Weight"] = Weight
    monkeypatch.setitem(sys.modules, "toy_task", module)
    monkeypatch.setitem(TASKS, "weight", Kind(WeightSettings, "toy_task:Weight"))


@pytest.mark.usefixtures("toy")
def test_a_task_that_is_registered_is_chosen_by_its_name() -> None:
    settings = EvaluateSettings.model_validate({"sets": {"light": {"task": "weight", "most": "40"}}, "crop": 0.5})
    assert settings.sets["light"] == WeightSettings(most=40, crop=0.5)
    assert EvaluateSettings.model_validate(settings.model_dump(mode="json")) == settings
    task = build_task(settings.sets["light"], TaskContext(size_px=8, batch_size=1, dataset=None))
    assert task.run(nn.Linear(4, 2), LocalComm()).summary() == "share of the limit 25.00 %"


@pytest.mark.usefixtures("toy")
def test_two_tasks_may_have_a_setting_of_the_same_name() -> None:
    settings = EvaluateSettings.model_validate({"sets": {"age": {"pairs": "bin", "path": "age.bin"}}})
    assert settings.sets["age"] == PackedPairs(path=Path("age.bin"))
    taken_back = {"pairs": "bin", "path": "age.bin", "most": None}
    assert EvaluateSettings.model_validate({"sets": {"age": taken_back}}) == settings
    with pytest.raises(ValidationError, match="belongs to weight, and task is verification"):
        EvaluateSettings.model_validate({"sets": {"age": {"pairs": "bin", "path": "age.bin", "most": 3}}})
