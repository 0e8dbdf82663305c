"""Every objective's steps on the device in float32 against the same steps on a CPU in float64.

The objectives are those of conf/objective/, each as it is and in every other way to hold centres that its settings
allow, so that a new one is covered by its file.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from training.build import Builder
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.feed.plans.dual import FIRST, IDENTITIES, SECOND
from training.loop import loss_function
from training.models.settings import ModelSettings
from training.objectives.base_settings import ObjectiveSettings
from training.objectives.settings import OBJECTIVES
from training.objectives.sharded_centres import ShardedCentres
from training.settings import RecipeSettings, SgdSettings, TrainingSettings
from training.strategies.strategy import StepResult

pytestmark = pytest.mark.usefixtures("without_tf32")

CONF = Path(__file__).parents[2] / "conf" / "objective"
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "filtered": {"filter_threshold": 0.15},
    "all shared out": {"centres": {"kind": "sharded", "sample_rate": 1.0}},
    "a third sampled": {"centres": {"kind": "sharded", "sample_rate": 0.3}},
    "a third sampled, filtered": {"centres": {"kind": "sharded", "sample_rate": 0.3}, "filter_threshold": 0.15},
    "in main memory": {"centres": {"kind": "sharded", "sample_rate": 0.3, "bank": "host"}},
}
SIDE_PX = 4
SGD = SgdSettings(momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=5.0)
LEARNING_RATE = 0.01
STEPS = 3
# Largest relative errors: of a loss, and of a norm, a gradient and what steps have changed. TF32 would make 1e-3 of it.
LOSS_ERROR, GRADIENT_ERROR = 1e-5, 1e-4


def cases() -> Iterator[Any]:
    """Each file with each way that it allows."""
    for path in sorted(CONF.glob("*.yaml")):
        told = yaml.safe_load(path.read_text())
        if told["name"] == "class_pool":
            told["pool"] = {"slots": 128}  # fewer than identities, so that some are forced out
        for way, changed in WAYS.items():
            try:
                settings = OBJECTIVES.validate(told | changed)
            except ValidationError:
                continue
            yield pytest.param(settings, id=f"{path.stem}, {way}")


class Tiny(nn.Module):
    """Pixels to features, in the precision of the weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * SIDE_PX**2, dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1).to(self.layer.weight.dtype))


class Model:
    """One rank's backbone and objective, and what its steps come to."""

    def __init__(self, settings: ObjectiveSettings, device: torch.device, dtype: torch.dtype) -> None:
        self._takes_two_views = settings.needs.views == 2
        self._identities, self._pictures, dim = (3000, 64, 512) if torch.cuda.is_available() else (200, 24, 16)
        torch.manual_seed(0)
        self.backbone = Tiny(dim).to(device, dtype)
        whole = TrainingSettings(
            objective=settings,
            model=ModelSettings(embedding_dim=dim),
            recipe=RecipeSettings(optimiser=SGD, precision="fp32", batch_size=self._pictures),
        )
        builder = Builder(whole, Topology.of(LocalComm()), device, self._identities)
        self.objective = builder.build_objective(self.backbone).to(dtype)
        if self.objective.local_rows is not None:
            _widen(self.objective.centres, dtype)
        self._parts = builder.assemble(self.backbone, self.objective, SimpleNamespace(steps_per_epoch=STEPS))
        self._compute_loss = loss_function(self._parts)

    def advance(self, step: int) -> StepResult:
        return self._parts.strategy.advance(lambda: self._batch(step), self._compute_loss, LEARNING_RATE)

    def gradients(self) -> dict[str, Tensor]:
        """Of the newest step, after clipping."""
        named = [*self.backbone.named_parameters(), *self.objective.named_parameters(prefix="objective")]
        return {name: p.grad.double().cpu() for name, p in named if p.grad is not None}

    def state(self) -> dict[str, Tensor]:
        """All that steps change, by name."""
        rows = self.objective.local_rows
        tables = {} if rows is None else rows.tables
        named = {**self.backbone.state_dict(), **self.objective.state_dict(prefix="objective."), **tables}
        return {name: tensor.detach().double().cpu().clone() for name, tensor in named.items()}

    def _batch(self, step: int) -> Batch:
        drawn = torch.Generator().manual_seed(step)
        count = self._pictures

        def pictures() -> Tensor:
            return torch.randint(0, 256, (count, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8, generator=drawn)

        def labels() -> Tensor:
            return torch.randint(0, self._identities, (count,), generator=drawn)

        if self._takes_two_views:
            views = {FIRST: pictures(), SECOND: pictures(), IDENTITIES: labels()}
            return Batch(pictures(), labels(), [""] * count, views)
        return Batch(pictures(), labels(), [""] * count)


def _widen(centres: ShardedCentres, dtype: torch.dtype) -> None:
    centres.weight_RD = centres.weight_RD.to(dtype)
    centres.velocity_RD = centres.velocity_RD.to(dtype)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Of the whole tensor; 0 where both are zero."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


@pytest.mark.parametrize("settings", list(cases()))
def test_steps_on_the_device_are_those_of_a_cpu(settings: ObjectiveSettings, device: torch.device) -> None:
    there = Model(settings, device, torch.float32)
    here = Model(settings, torch.device("cpu"), torch.float64)
    start = here.state()
    for step in range(STEPS):
        one, other = there.advance(step), here.advance(step)
        assert one.loss == pytest.approx(other.loss, rel=LOSS_ERROR)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=GRADIENT_ERROR)
        expected, found = here.gradients(), there.gradients()
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert relative_error(found[name], gradient) < GRADIENT_ERROR, name
        assert_same_change(there.state(), here.state(), start)


def assert_same_change(found: dict[str, Tensor], expected: dict[str, Tensor], start: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys() == start.keys()
    for name in expected:
        change = relative_error(found[name] - start[name], expected[name] - start[name])
        assert change < GRADIENT_ERROR, name


def test_every_file_of_objectives_and_every_way_is_checked() -> None:
    names, ways = zip(*(case.id.split(", ", maxsplit=1) for case in cases()), strict=True)
    assert set(names) == {path.stem for path in CONF.glob("*.yaml")}
    assert set(ways) == set(WAYS)
