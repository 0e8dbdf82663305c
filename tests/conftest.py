"""What many tests share: one Spark session for all, and the folder of real images where there is one."""

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# One thread for torch, as each rank has: the tests share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("RINGMILL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set RINGMILL_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def write_onnx() -> Callable[..., Path]:
    """Write an ONNX model: flatten the picture, and multiply it by `weights` (3 S S, D)."""
    from onnx import TensorProto, helper, numpy_helper

    def write(path: Path, weights: np.ndarray, shape: tuple[Any, ...], dtype: int = TensorProto.FLOAT) -> Path:
        graph = helper.make_graph(
            [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
            "linear",
            [helper.make_tensor_value_info("x", dtype, shape)],
            [helper.make_tensor_value_info("y", dtype, ("N", weights.shape[1]))],
            [numpy_helper.from_array(weights, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    """A dataset of nothing but a val split: 12 people, each 5 pictures of noise around a colour of its own."""
    import cv2
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipelines import manifest
    from pipelines.columns import DATASET

    rng = np.random.default_rng(0)
    colours = rng.integers(60, 196, (12, 3))
    labels = [person for person in range(12) for _ in range(5)]
    pixels = [(colours[label] + rng.integers(-60, 60, (24, 24, 3))).astype(np.uint8) for label in labels]
    images = [cv2.imencode(".png", one)[1].tobytes() for one in pixels]
    columns = [[f"{row:04d}" for row in range(60)], labels, images, [zlib.crc32(image) for image in images]]
    folder = tmp_path / "held_out"
    (folder / "val").mkdir(parents=True)
    pq.write_table(pa.table(columns, schema=DATASET), folder / "val" / "00000.parquet", row_group_size=20)
    groups = tuple(manifest.RowGroup(rows=20, num_bytes=100) for _ in range(3))
    file = manifest.describe(folder, folder / "val" / "00000.parquet", rows=60, row_groups=groups)
    facts = {"splits": {"val": {"classes": 12, "rows": 60}}}
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}, "facts": facts}
    manifest.write(folder, manifest.Manifest(kind="dataset", fingerprint="held_out", files=(file,), **content))
    return folder


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """One small local session for the whole run: starting a JVM costs more than most tests."""
    # Imported here, since the tests of a host of ranks (tests/gpu) run where Spark is not installed.
    from pyspark.sql import SparkSession

    scratch = tmp_path_factory.mktemp("spark")
    # Else Spark's workers take whatever python3 comes first on the PATH.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .appName("tests")
        .config("spark.ui.enabled", "false")
        .config("spark.python.daemon.module", "pipelines.spark_daemon")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .config("spark.local.dir", str(scratch / "local"))
        .config("spark.sql.session.timeZone", "UTC")
        # Tiny tables: compiling each query for speed takes longer than running it.
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    yield session
    session.stop()
