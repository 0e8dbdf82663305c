"""A finished model as ONNX, which runs without this project, and the proof that it still says the same."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from torch import nn

# The oldest that has every operator of our backbones as one node, so that the most programs read it.
OPSET = 17
INPUT_NAME, OUTPUT_NAME = "pictures", "features"

_TRACED, _TRIED = 2, 5  # pictures at once; another number shows that the batch is open
_TOLERANCE = 1e-4  # of the largest feature


@dataclass(frozen=True)
class Exported:
    """A model that was tried."""

    onnx: bytes
    max_difference: float  # between the features of onnxruntime and of torch, absolute
    max_feature: float  # the largest feature that was compared, absolute


def export_onnx(backbone: nn.Module, *, size_px: int) -> Exported:
    """The ONNX of a backbone on the CPU in evaluation mode: normalised float32 images (N, 3, S, S) to features (N, D).

    Raises:
        RuntimeError: onnxruntime computes something else than torch, by more than 1e-4 of the largest feature.
    """
    assert not backbone.training, "what is exported are the statistics of training, so call eval() first"
    images_BCHW = torch.rand(_TRIED, 3, size_px, size_px, generator=torch.Generator().manual_seed(0)) * 2 - 1
    onnx = _trace(backbone, images_BCHW[:_TRACED])
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    found = session.run([OUTPUT_NAME], {INPUT_NAME: images_BCHW.numpy()})[0]
    with torch.inference_mode():
        expected = backbone(images_BCHW).numpy()
    exported = Exported(onnx, float(np.abs(found - expected).max()), float(np.abs(expected).max()))
    if not exported.max_difference <= _TOLERANCE * exported.max_feature:
        raise RuntimeError(
            f"the ONNX model differs from torch by {exported.max_difference:g} where features reach "
            f"{exported.max_feature:g}; onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
        )
    return exported


def _trace(backbone: nn.Module, images_BCHW: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    open_batch = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}}
    with warnings.catch_warnings():
        # The exporter that torch prefers needs three more packages, and gives these backbones the same graph.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            backbone,
            (images_BCHW,),
            stream,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes=open_batch,
        )
    return stream.getvalue()
