"""pipelines/onnx_file: weights outside of a model are found wherever it can have a tensor; onnx writes the models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, TensorProto, external_data_helper, helper, numpy_helper, save_model

from pipelines.embedder import read_embedder
from pipelines.faces import FaceDetector
from pipelines.onnx_file import external_tensors
from pipelines.settings import EmbedSettings, FaceSettings, UserError

WEIGHTS = np.random.default_rng(0).normal(size=(3 * 8 * 8, 4)).astype(np.float32)


def tensor(*, is_external: bool, location: str = "w.bin") -> TensorProto:
    made = numpy_helper.from_array(np.arange(4, dtype=np.float32), "far")
    if is_external:
        external_data_helper.set_external_data(made, location)
        made.ClearField("raw_data")
    return made


def graph(**parts: Any) -> GraphProto:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, (4,))
    return helper.make_graph(parts.pop("nodes", []), "g", [], [value], **parts)


def constant(value: TensorProto) -> Any:
    return helper.make_node("Constant", [], ["y"], value=value)


def as_initializer(one: TensorProto) -> ModelProto:
    return helper.make_model(graph(initializer=[one]))


def as_attribute(one: TensorProto) -> ModelProto:
    return helper.make_model(graph(nodes=[constant(one)]))


def as_one_of_several(one: TensorProto) -> ModelProto:
    return helper.make_model(graph(nodes=[helper.make_node("X", [], ["y"], values=[tensor(is_external=False), one])]))


def in_a_branch(one: TensorProto) -> ModelProto:
    branch = graph(nodes=[constant(one)])
    return helper.make_model(
        graph(nodes=[helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)])
    )


def as_sparse_values(one: TensorProto) -> ModelProto:
    sparse = helper.make_sparse_tensor(one, numpy_helper.from_array(np.arange(4)), [9])
    return helper.make_model(graph(sparse_initializer=[sparse]))


def in_a_function(one: TensorProto) -> ModelProto:
    made = helper.make_function("d", "f", [], ["y"], [constant(one)], [helper.make_opsetid("", 17)])
    return helper.make_model(graph(), functions=[made])


PLACES = [as_initializer, as_attribute, as_one_of_several, in_a_branch, as_sparse_values, in_a_function]


@pytest.mark.parametrize("place", PLACES)
def test_values_in_another_file_are_found(place: Callable[[TensorProto], ModelProto]) -> None:
    assert set(external_tensors(place(tensor(is_external=True)).SerializeToString())) == {"far"}
    assert external_tensors(place(tensor(is_external=False)).SerializeToString()) == []


def test_what_is_no_model_has_none() -> None:
    whole = as_initializer(tensor(is_external=True)).SerializeToString()
    for content in (b"", b"\xff" * 100, b"no model", *(whole[:size] for size in range(len(whole)))):
        assert external_tensors(content) in ([], [""], ["far"])


@pytest.fixture
def scattered(write_onnx: Callable[..., Path], tmp_path: Path) -> Path:
    """A model of faces whose weights are in a file beside it."""
    import onnx

    whole = onnx.load(str(write_onnx(tmp_path / "whole.onnx", WEIGHTS, ("N", 3, 8, 8))))
    path = tmp_path / "scattered.onnx"
    save_model(whole, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_a_model_whose_weights_are_elsewhere_is_refused_even_where_they_are_found(
    scattered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"scattered.onnx has the values of 'w' in another file.*; save it as one file"):
        read_embedder(EmbedSettings(model=scattered))
    with pytest.raises(UserError, match=r"^faces.model=.*scattered.onnx has the values of 'w' in another file"):
        FaceDetector(FaceSettings(detector="yunet", model=scattered)).load()
    read_embedder(EmbedSettings(model=tmp_path / "whole.onnx"))
