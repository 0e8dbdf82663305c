import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from training.export import INPUT_NAME, export_onnx
from training.models.backbones import BACKBONES, build_backbone
from training.models.settings import ModelSettings


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_says_the_same_as_onnx(name: str) -> None:
    torch.manual_seed(0)
    settings = ModelSettings(name=name, width=0.125, input_size_px=32, embedding_dim=16, dropout=0.5)
    backbone = build_backbone(settings).eval()
    exported = export_onnx(backbone, size_px=32)
    images = torch.randn(7, 3, 32, 32)
    session = onnxruntime.InferenceSession(exported.onnx, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT_NAME: images.numpy()})
    with torch.no_grad():
        wanted = backbone(images).numpy()
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert exported.max_difference <= 1e-4 * exported.max_feature


def test_the_same_model_gives_the_same_bytes() -> None:
    backbone = build_backbone(ModelSettings(name="mobilefacenet", width=0.25, input_size_px=32)).eval()
    assert export_onnx(backbone, size_px=32).onnx == export_onnx(backbone, size_px=32).onnx


def test_a_model_that_onnx_computes_differently_does_not_leave() -> None:
    class Counting(nn.Module):
        """Tracing keeps what the first call computed; later ones compute something else."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * 16 * 16, 4)
            self.calls = 0

        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.linear(images_BCHW.flatten(1)) * self.calls

    with pytest.raises(RuntimeError, match="differs from torch by"):
        export_onnx(Counting().eval(), size_px=16)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(AssertionError, match="eval"):
        export_onnx(nn.Flatten(), size_px=16)
