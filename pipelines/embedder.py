"""Embeddings of pictures by any ONNX model (pure, no Spark).

An embedding does not depend on the pictures embedded before it or with it, to the bit: the model runs on one thread
and always on batches of one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.arrays import Picture, Vectors
from pipelines.onnx_file import require_whole
from pipelines.settings import EmbedSettings, ShowSettings, UserError

MODEL_NAME = "model.onnx"
CARD_NAME = "embedder.json"

_CHANNELS = 3


@dataclass(frozen=True)
class Embedder:
    """An ONNX model and its preprocessing. It can be sent to other processes; each builds its session once."""

    onnx: bytes = field(repr=False)
    settings: EmbedSettings
    size_px: int
    batch_size: int  # of the settings, unless the model has a fixed one

    def show(self, rgb: Picture) -> Picture:
        """Crop and resize an upright picture (H, W, 3) to the input of the model, (S, S, 3)."""
        return show(rgb, self.settings, self.size_px)

    def embed(self, shown: Sequence[Picture]) -> Vectors:
        """Unit vectors (N, D) of pictures (S, S, 3); zeros where the model gives zeros or NaN."""
        size = self.batch_size
        parts = [self._embed_batch(np.stack(shown[start : start + size])) for start in range(0, len(shown), size)]
        return np.concatenate(parts)

    def _embed_batch(self, pictures: Picture) -> Vectors:
        settings, count = self.settings, len(pictures)
        ordered = pictures if settings.channels == "rgb" else pictures[..., ::-1]
        batch = np.zeros((self.batch_size, _CHANNELS, self.size_px, self.size_px), np.float32)
        batch[:count] = (ordered.transpose(0, 3, 1, 2).astype(np.float32) - settings.mean) / settings.scale
        session = _session(self.onnx)
        vectors = _features(session, batch)
        if settings.mirror:
            vectors = vectors + _features(session, np.ascontiguousarray(batch[..., ::-1]))
        return unit(vectors[:count])


def read_embedder(settings: EmbedSettings) -> Embedder:
    """Read a model and try it, so that a wrong one is reported before the long work.

    Raises:
        UserError: there is no such file, it is not a model of pictures, or has its weights elsewhere.
    """
    if settings.model is None:
        raise UserError("embed.model is not given; name an ONNX model of faces, or export one that was trained here")
    try:
        onnx = settings.model.read_bytes()
    except OSError as error:
        raise UserError(f"embed.model={settings.model} cannot be read ({error.strerror}); name an ONNX file") from None
    require_whole(onnx, setting=f"embed.model={settings.model}")
    try:
        session = _session(onnx)
    except Exception as error:  # the errors of onnxruntime have no common base class
        raise UserError(f"embed.model={settings.model} is no ONNX model ({_line(error)}); name another") from None
    size_px = _size_px(session, settings)
    fixed = session.get_inputs()[0].shape[0]
    embedder = Embedder(onnx, settings, size_px, fixed if isinstance(fixed, int) else settings.batch_size)
    _try(embedder)
    return embedder


def exported(folder: Path, *, batch_size: int) -> EmbedSettings:
    """The settings for a model that `jobs.export` wrote, with the preprocessing from its card.

    Raises:
        UserError: the card is missing or not one of ours.
    """
    path = folder / CARD_NAME
    try:
        card = ShowSettings.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is not a card of an exported model ({_line(error)}); export the model again") from None
    return EmbedSettings(**card.model_dump(), model=folder / MODEL_NAME, batch_size=batch_size)


def show(rgb: Picture, settings: ShowSettings, size_px: int) -> Picture:
    """Crop the middle of an upright picture (H, W, 3) and resize it to a square of `size_px`."""
    height, width = rgb.shape[:2]
    if settings.fit == "crop":
        rgb = _middle(rgb, min(height, width), min(height, width))
        height = width = len(rgb)
    rgb = _middle(rgb, max(1, round(height * settings.crop)), max(1, round(width * settings.crop)))
    if rgb.shape[:2] == (size_px, size_px):
        return rgb
    method = cv2.INTER_AREA if min(rgb.shape[:2]) > size_px else cv2.INTER_LINEAR
    return cv2.resize(rgb, (size_px, size_px), interpolation=method)  # type: ignore[return-value]


def unit(vectors: NDArray[Any]) -> Vectors:
    """Scale rows (N, D) to unit length, as float32; rows of zeros or NaN become zeros."""
    wide = np.nan_to_num(vectors.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    scaled: Vectors = (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return scaled


def _middle(rgb: Picture, height: int, width: int) -> Picture:
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    return rgb[top : top + height, left : left + width]


@lru_cache(maxsize=2)
def _session(onnx: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Spark runs one worker per core.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised anyway
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _features(session: onnxruntime.InferenceSession, batch: Vectors) -> Vectors:
    name = session.get_inputs()[0].name
    features: Vectors = session.run([session.get_outputs()[0].name], {name: batch})[0]
    return features


def _size_px(session: onnxruntime.InferenceSession, settings: EmbedSettings) -> int:
    """The input side of the model, or that of the settings where the model leaves it open."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    is_image = len(inputs) == 1 and len(shape) == 4 and inputs[0].type == "tensor(float)"
    takes = [f"{one.name} {one.type} {one.shape}" for one in inputs]
    # The shape of an open side is a name or None.
    if not is_image or (isinstance(shape[1], int) and shape[1] != _CHANNELS):
        raise UserError(
            f"embed.model={settings.model} takes {'; '.join(takes)}; one input of floats N x 3 x S x S is needed: "
            "name a model of colour pictures"
        )
    sides = {side for side in (*shape[2:], settings.size_px) if isinstance(side, int)}
    if len(sides) != 1:
        remedy = "set embed.size_px" if not sides else "let embed.size_px be null, or name a model of square pictures"
        raise UserError(
            f"embed.model={settings.model} takes {'; '.join(takes)} and embed.size_px={settings.size_px}; {remedy}"
        )
    return sides.pop()


def _try(embedder: Embedder) -> None:
    model = embedder.settings.model
    grey = np.full((embedder.size_px, embedder.size_px, _CHANNELS), 128, np.uint8)
    try:
        vectors = embedder.embed([grey])
    except Exception as error:
        raise UserError(f"embed.model={model} does not run on a batch ({_line(error)}); name another") from None
    if vectors.ndim != 2 or vectors.shape[1] < 2:
        raise UserError(f"embed.model={model} returns {vectors.shape} and not N x D; name a model that returns vectors")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
