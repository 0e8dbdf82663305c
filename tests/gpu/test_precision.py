"""Half precision and loss scaling: the numbers of float32 within its rounding, and no update where it overflows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from training import build
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.loop import loss_function
from training.models.backbones import build_backbone
from training.models.settings import ModelSettings
from training.objectives.head_settings import CosFaceSettings, ReplicatedSettings, ShardedSettings
from training.objectives.loss import Loss
from training.objectives.objective import Objective
from training.parts import Parts
from training.precision import autocast, needs_loss_scaling
from training.settings import Precision, RecipeSettings, SgdSettings, TrainingSettings
from training.strategies.strategy import StepResult

pytestmark = pytest.mark.usefixtures("without_tf32")

CLASSES, PICTURES, DIM, SIDE_PX = 10, 32, 24, 32
LEARNING_RATE = 0.1
# Largest relative error of a gradient: what eight and eleven bits of a number make of it in ten layers.
ROUNDING: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}


class Tiny(nn.Module):
    """A backbone without BatchNorm, whose gradient changes little when its numbers are rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(16 * 225, DIM))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@dataclass(frozen=True)
class Model:
    """A backbone and a head on a device, and the loss of a batch by them."""

    backbone: nn.Module
    objective: Objective
    compute_loss: Callable[[Batch], Loss]
    is_scaled: bool
    parts: Parts

    def advance(self, factor: float = 1.0) -> StepResult:
        return self.parts.strategy.advance(
            pictures, lambda batch: Loss(self.compute_loss(batch).total * factor), LEARNING_RATE
        )

    def weights(self) -> list[Tensor]:
        rows = self.objective.local_rows
        own = [] if rows is None else [rows.tables["weight"]]
        return _copied([*self.backbone.parameters(), *self.objective.parameters(), *own])

    def state(self) -> list[Tensor]:
        """All that an update may change."""
        rows = self.objective.local_rows
        optimiser = self.parts.strategy.state_dict()["optimiser"]["state"]
        momenta = [each["momentum_buffer"] for each in optimiser.values()]
        return self.weights() + _copied([*momenta, *([] if rows is None else [rows.tables["velocity"]])])

    def scale(self) -> float:
        return float(self.parts.strategy.state_dict()["scaler"]["scale"])


def _copied(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().cpu().clone() for tensor in tensors]


def model(
    device: torch.device, precision: Precision, *, sharded: bool = False, clip_norm: float | None = None
) -> Model:
    """The same weights on every device; the loss is scaled as on a GPU, on a CPU too."""
    torch.manual_seed(1)
    backbone = Tiny().to(device)
    # A small scale: with a large one the gradients alone would pass the largest float16 at the first loss scale.
    settings = TrainingSettings(
        objective=CosFaceSettings(
            margin=0.2, scale=1.0, centres=ShardedSettings() if sharded else ReplicatedSettings()
        ),
        model=ModelSettings(embedding_dim=DIM),
        recipe=RecipeSettings(
            optimiser=SgdSettings(momentum=0.9, weight_decay=0.01, clip_norm=clip_norm), precision=precision
        ),
    )
    builder = build.Builder(settings, Topology.of(LocalComm()), device, CLASSES)
    objective = builder.build_objective(backbone)
    is_scaled = needs_loss_scaling(precision, torch.device("cuda"))
    with mock.patch.object(build, "needs_loss_scaling", return_value=is_scaled):
        parts = builder.assemble(backbone, objective, SimpleNamespace(steps_per_epoch=1))
    return Model(backbone, objective, loss_function(parts), is_scaled, parts)


def pictures() -> Batch:
    drawn = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (PICTURES, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8, generator=drawn)
    return Batch(images, torch.randint(0, CLASSES, (PICTURES,), generator=drawn), [""] * PICTURES)


def gradient(model: Model) -> Tensor:
    model.compute_loss(pictures()).total.backward()
    modules = nn.ModuleList([model.backbone, model.objective])
    return torch.cat([p.grad.flatten().double().cpu() for p in modules.parameters() if p.grad is not None])


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gradients_are_those_of_float32_up_to_rounding(precision: Precision, device: torch.device) -> None:
    error = relative_error(gradient(model(device, precision)), gradient(model(torch.device("cpu"), "fp32")))
    assert error < ROUNDING[precision]
    # Nothing is rounded on a CPU, nor where nothing is asked for; a GPU that rounds nothing is not asked right.
    assert (error > 1e-4) == (device.type == "cuda" and precision != "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_backbone_runs_in_the_precision_asked_for_and_the_weights_stay_in_float32(
    precision: Precision, device: torch.device
) -> None:
    expected = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    made = model(device, precision)
    seen: list[torch.dtype] = []
    made.backbone.layers[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    loss = made.compute_loss(pictures()).total
    assert seen == [expected if device.type == "cuda" else torch.float32]
    assert loss.dtype == torch.float32
    assert {p.dtype for p in made.backbone.parameters()} == {torch.float32}
    assert needs_loss_scaling(precision, device) == (device.type == "cuda" and precision == "fp16")


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_scaled_step_in_half_precision_is_the_step_of_float32(
    clip_norm: float | None, sharded: bool, device: torch.device
) -> None:
    scaled = model(device, "fp16", sharded=sharded, clip_norm=clip_norm)
    plain = model(torch.device("cpu"), "fp32", sharded=sharded, clip_norm=clip_norm)
    assert scaled.is_scaled
    assert not plain.is_scaled
    before = plain.weights()
    for _ in range(2):
        one, other = scaled.advance(), plain.advance()
        assert one.loss == pytest.approx(other.loss, rel=0.01)
        # Of the gradient before it is clipped, and with the scale taken out.
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=0.02)
        assert other.grad_norm > 0.1
    tolerance = ROUNDING["fp16"] if device.type == "cuda" else 1e-3
    for found, expected, start in zip(scaled.weights(), plain.weights(), before, strict=True):
        assert relative_error(found - start, expected - start) < tolerance


@pytest.mark.parametrize("sharded", [False, True])
def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(sharded: bool, device: torch.device) -> None:
    # Times the scale of 65,536 past the largest number: that of float16 on a GPU, that of float32 elsewhere.
    factor = 1e4 if device.type == "cuda" else 1e35
    made = model(device, "fp16", sharded=sharded, clip_norm=1.0)
    made.advance()
    before, scale = made.state(), made.scale()
    result = made.advance(factor)
    assert math.isfinite(result.loss)
    assert not math.isfinite(result.grad_norm)
    assert made.scale() == scale / 2
    assert all(torch.equal(found, expected) for found, expected in zip(made.state(), before, strict=True))
    assert math.isfinite(made.advance().grad_norm)
    changed = [not torch.equal(found, expected) for found, expected in zip(made.state(), before, strict=True)]
    assert all(changed)


@pytest.mark.parametrize("name", ["iresnet18", "mobilefacenet", "resnet18"])
def test_features_of_a_real_backbone_keep_their_direction_in_half_precision(name: str, device: torch.device) -> None:
    size_px, width = (112, 1.0) if device.type == "cuda" else (32, 0.25)
    torch.manual_seed(0)
    net = build_backbone(ModelSettings(name=name, input_size_px=size_px, width=width, embedding_dim=64)).to(device)
    images = torch.rand(32, 3, size_px, size_px, device=device).contiguous(memory_format=torch.channels_last) * 2 - 1
    with torch.no_grad():
        expected = net(images)
        for precision in ("bf16", "fp16"):
            with autocast(precision, device):
                found = net(images)
            assert float(torch.cosine_similarity(found.float(), expected).min()) > 0.98
