"""A task of another kind needs its own file and one line of the table."""

import sys
from types import ModuleType
from typing import Literal

import pytest
from torch import nn

from pipelines.kinds import Kind
from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.tasks.result import Figure, Result
from training.tasks.settings import TASKS, EvaluateSettings, SetSettings
from training.tasks.task import TaskContext, build_task


class WeightSettings(SetSettings):
    """Of the toy task."""

    task: Literal["weight"] = "weight"
    most: int


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
