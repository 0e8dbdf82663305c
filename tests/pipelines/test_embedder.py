import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from pipelines.embedder import CARD_NAME, exported, read_embedder, show, unit
from pipelines.settings import EmbedSettings, ShowSettings, UserError

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, write_onnx: Make) -> Make:
    def write(weights: np.ndarray, shape: tuple[Any, ...] = ("N", 3, 4, 4), dtype: int = TensorProto.FLOAT) -> Path:
        return write_onnx(tmp_path / "linear.onnx", weights, shape, dtype)

    return write


@pytest.fixture
def weights() -> np.ndarray:
    return _weights(48)


def _weights(num_values: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_values, 5)).astype(np.float32)


@pytest.fixture
def pictures() -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("mirror", [True, False])
def test_pictures_become_what_the_formula_says(
    make: Make, weights: np.ndarray, pictures: list[np.ndarray], channels: Any, mirror: bool
) -> None:
    settings = EmbedSettings(model=make(weights), channels=channels, mirror=mirror, mean=100, scale=50, batch_size=4)
    found = read_embedder(settings).embed(pictures)
    for vector, picture in zip(found, pictures, strict=True):
        shown = (picture.astype(float) - 100) / 50
        shown = shown if channels == "rgb" else shown[:, :, [2, 1, 0]]
        views = [shown, shown[:, ::-1]] if mirror else [shown]
        features = sum(np.moveaxis(view, 2, 0).reshape(-1) @ weights for view in views)
        np.testing.assert_allclose(vector, features / np.linalg.norm(features), atol=1e-5)


@pytest.mark.parametrize("batch_size", [2, 5, 32])
def test_a_vector_does_not_depend_on_its_batch(
    make: Make, weights: np.ndarray, pictures: list[np.ndarray], batch_size: int
) -> None:
    embedder = read_embedder(EmbedSettings(model=make(weights), batch_size=batch_size))
    together = embedder.embed(pictures)
    alone = np.concatenate([embedder.embed([picture]) for picture in reversed(pictures)])[::-1]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (ShowSettings(), (slice(0, 6), slice(3, 9))),
        (ShowSettings(crop=0.5), (slice(1, 4), slice(4, 7))),
        (ShowSettings(fit="stretch"), (slice(0, 6), slice(0, 12))),
        (ShowSettings(fit="stretch", crop=0.5), (slice(1, 4), slice(3, 9))),
    ],
)
def test_the_middle_of_a_picture_is_shown(settings: ShowSettings, wanted: tuple[slice, slice]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (6, 12, 3), dtype=np.uint8)
    part = rgb[wanted]
    found = show(rgb, settings, 3)
    method = cv2.INTER_AREA if min(part.shape[:2]) > 3 else cv2.INTER_LINEAR
    np.testing.assert_array_equal(found, cv2.resize(part, (3, 3), interpolation=method))


def test_a_row_without_direction_becomes_zeros() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, np.inf]])
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0], [0, 0]], atol=1e-7)


def test_a_model_for_one_picture_at_a_time_gets_one(
    make: Make, weights: np.ndarray, pictures: list[np.ndarray]
) -> None:
    wanted = read_embedder(EmbedSettings(model=make(weights))).embed(pictures)
    embedder = read_embedder(EmbedSettings(model=make(weights, (1, 3, 4, 4))))
    np.testing.assert_allclose(embedder.embed(pictures), wanted, atol=1e-6)


def test_a_model_of_any_size_needs_to_be_told_one(make: Make) -> None:
    path = make(_weights(192), ("N", 3, "H", "W"))
    assert read_embedder(EmbedSettings(model=path, size_px=8)).size_px == 8
    with pytest.raises(UserError, match=r"set embed\.size_px"):
        read_embedder(EmbedSettings(model=path))


@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [
        (("N", 1, 4, 4), TensorProto.FLOAT, "a model of colour pictures"),
        (("N", 48), TensorProto.FLOAT, "a model of colour pictures"),
        (("N", 3, 4, 4), TensorProto.DOUBLE, "a model of colour pictures"),
        (("N", 3, 4, 8), TensorProto.FLOAT, "square pictures"),
    ],
)
def test_a_model_that_takes_no_pictures_is_told_in_one_line(make: Make, shape: Any, dtype: int, told: str) -> None:
    fitting = _weights(math.prod(shape[1:])).astype(np.float64 if dtype == TensorProto.DOUBLE else np.float32)
    with pytest.raises(UserError, match=told) as raised:
        read_embedder(EmbedSettings(model=make(fitting, shape, dtype)))
    assert "\n" not in str(raised.value)
    assert "embed.model=" in str(raised.value)


def test_a_size_that_is_not_the_models_is_refused(make: Make, weights: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"embed\.size_px=112"):
        read_embedder(EmbedSettings(model=make(weights), size_px=112))


def test_a_model_that_fails_on_a_batch_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="does not run on a batch"):
        read_embedder(EmbedSettings(model=make(_weights(48), ("N", 3, "H", "W")), size_px=8))


def test_what_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cat.onnx"
    with pytest.raises(UserError, match=r"cat\.onnx cannot be read \(No such file"):
        read_embedder(EmbedSettings(model=path))
    path.write_bytes(b"\x89PNG no model\n")
    with pytest.raises(UserError, match=r"cat\.onnx is no ONNX model"):
        read_embedder(EmbedSettings(model=path))
    with pytest.raises(UserError, match=r"embed\.model is not given"):
        read_embedder(EmbedSettings())


def test_the_card_beside_an_exported_model_says_how_to_show_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="export the model again"):
        exported(tmp_path, batch_size=8)
    card = ShowSettings(size_px=48, crop=0.9, fit="stretch", channels="bgr", mirror=False)
    (tmp_path / CARD_NAME).write_text(card.model_dump_json())
    settings = exported(tmp_path, batch_size=8)
    assert (settings.model, settings.batch_size) == (tmp_path / "model.onnx", 8)
    assert ShowSettings(**{name: getattr(settings, name) for name in ShowSettings.model_fields}) == card
