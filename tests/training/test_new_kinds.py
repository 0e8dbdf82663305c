"""A new objective and a new strategy: a file of their own (this one) and a line in a table, and they train."""

import json
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from pipelines.kinds import Kind
from pipelines.run_folder import METRICS_NAME
from training.build import Builder
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.loop import train
from training.needs import Needs
from training.objectives.base_settings import ObjectiveSettings
from training.objectives.objective import Objective
from training.objectives.settings import OBJECTIVES
from training.parts import Hooks
from training.settings import TrainingSettings
from training.strategies.settings import STRATEGIES, StrategySettings
from training.strategies.strategy import StepResult, Strategy
from training.testing.threads import run_threads

STEPS, BATCH, EPOCHS = 5, 8, 2


class CentreSettings(ObjectiveSettings):
    name: Literal["toy_centre"] = "toy_centre"
    pull: float = 1.0

    @property
    def needs(self) -> Needs:
        return Needs(plan="rows")


class CentreLoss(Objective):
    """The squared distance to the centre of the class."""

    def __init__(self, settings, context):
        super().__init__()
        self.centres = nn.Embedding(context.num_classes, context.embedding_dim)
        self._pull = settings.pull

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return self._pull * (features - self.centres(labels)).square().sum(dim=1).mean()


class AloneSettings(StrategySettings):
    name: Literal["toy_alone"] = "toy_alone"
    batches_per_step: int = 1


class Alone(Strategy):
    """Every rank updates its own weights, at its own pace, and averages them at the end of an epoch."""

    is_lock_step = False

    def __init__(self, settings, context):
        self._num_batches, self._optimiser, self._context = settings.batches_per_step, context.optimiser, context
        self._comm = context.topology.world

    def advance(self, next_batch, compute_loss, learning_rate):
        self._optimiser.zero_grad()
        losses = [compute_loss(next_batch()).total for _ in range(self._num_batches)]
        loss = torch.stack(losses).mean()
        loss.backward()
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._optimiser.step()
        return StepResult(loss=loss.item(), grad_norm=0.0, parts={"first": losses[0].item()})

    def finish_epoch(self):
        for number, parameter in enumerate(self._context.parameters()):
            parameter.data = self._comm.allreduce(parameter.data, op="mean", name=f"mean.{number}")
        return {"averaged": float(number + 1)}

    def state_dict(self):
        return {"optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state):
        self._optimiser.load_state_dict(state["optimiser"])


@pytest.fixture(autouse=True)
def table_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "toy_centre", Kind(CentreSettings, f"{__name__}:CentreLoss"))
    monkeypatch.setitem(STRATEGIES, "toy_alone", Kind(AloneSettings, f"{__name__}:Alone"))


class PatternFeed:
    """Pictures of three grey levels, one for each class."""

    steps_per_epoch = STEPS
    bad_rows = 0

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def epoch(self, epoch, *, start_step=0, has_next_epoch=False):
        for step in range(start_step, STEPS):
            drawn = torch.Generator().manual_seed(100 * epoch + 10 * step + self._rank)
            labels = torch.randint(0, 3, (BATCH,), generator=drawn)
            images = (100 * labels).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
            yield Batch(images, labels, [""] * BATCH)


def settings_of(**sections) -> TrainingSettings:
    recipe = {
        "epochs": EPOCHS, "batch_size": 2 * BATCH, "precision": "fp32", "log_every_steps": 1,
        "schedule": {"base_lr": 0.05, "reference_batch_size": 2 * BATCH, "warmup_epochs": 0.0},
    }  # fmt: skip
    return TrainingSettings.model_validate({"recipe": recipe, "model": {"embedding_dim": 4}, **sections})


def rows_of(folder, settings, **hooks):
    """Train on two ranks; the rows of the log, and whether the ranks end with the same weights."""

    def work(comm):
        builder = Builder(settings, Topology.of(comm), torch.device("cpu"), num_classes=3)
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4))
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
        objective = builder.build_objective(backbone)
        with torch.no_grad():
            objective.get_parameter("centres.weight").fill_(1.0)
        train(builder.assemble(backbone, objective, PatternFeed(comm.rank)), folder, hooks=Hooks(**hooks))
        return torch.cat([p.detach().flatten() for p in backbone.parameters()])

    first, second = run_threads(2, work)
    rows = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return rows, torch.equal(first, second)


def test_a_new_objective_trains_under_the_strategy_that_there_is(tmp_path):
    settings = settings_of(objective={"name": "toy_centre", "pull": 0.5})
    assert settings.objective.pull == 0.5
    rows, is_same = rows_of(tmp_path, settings)
    assert is_same
    assert len(rows) == STEPS * EPOCHS
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]


def test_a_new_strategy_that_is_not_lock_step_trains_without_the_loops_collectives(tmp_path):
    settings = settings_of(objective={"name": "toy_centre"}, strategy={"name": "toy_alone", "batches_per_step": 5})

    def validate():
        raise AssertionError("validation is a collective")

    rows, is_same = rows_of(tmp_path, settings, validate=validate)
    assert is_same
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2]  # an epoch is one step
    assert all("loss_first" in row for row in steps)
    assert [row for row in rows if "loss" not in row] == [{"step": step, "averaged": 5.0} for step in (1, 2)]
    assert steps[1]["loss"] < steps[0]["loss"]
