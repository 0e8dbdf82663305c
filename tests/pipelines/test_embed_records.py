"""The Arrow pass against the same work done one picture at a time, by a linear model."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.align import Aligner
from pipelines.embed_records import count_pictures, embed_records
from pipelines.embedder import Embedder, read_embedder
from pipelines.records import EMBEDDINGS, RECORDS
from pipelines.settings import EmbedSettings, PixelSettings

pytestmark = pytest.mark.spark

SIDE = 8
LIMITS = PixelSettings()


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory, write_onnx: Callable[..., Path]) -> Embedder:
    weights = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, 6)).astype(np.float32)
    path = write_onnx(tmp_path_factory.mktemp("model") / "linear.onnx", weights, ("N", 3, SIDE, SIDE))
    return read_embedder(EmbedSettings(model=path, batch_size=4))


@pytest.fixture(scope="module")
def images(draw: Callable[[int], Any]) -> list[bytes]:
    """Lossless, so that what they show is what was drawn."""
    return [cv2.imencode(".png", draw(seed)[:, :, ::-1])[1].tobytes() for seed in range(11)]


Build = Callable[..., DataFrame]


@pytest.fixture(scope="module")
def records(spark: SparkSession) -> Build:
    def build(rows: list[tuple[bytes, str, str]], box: list[float] | None = None) -> DataFrame:
        """Of bytes, source and what decoding is said to have come to."""
        table = [
            {
                "image_id": hashlib.sha256(data).hexdigest(),
                "source": source,
                "decode": decode,
                "image": data,
                "face_box": box,
            }
            for data, source, decode in rows
        ]
        return spark.createDataFrame(pa.Table.from_pylist(table, schema=RECORDS))

    return build


def _rows(frame: DataFrame) -> dict[str, list[float]]:
    rows = frame.select(*EMBEDDINGS.names).collect()
    found = {row["image_id"]: list(row["embedding"]) for row in rows}
    assert len(found) == len(rows)
    return found


def _id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_picture_gets_the_vector_of_its_middle(
    records: Build, embedder: Embedder, images: list[bytes], draw: Callable[[int], Any]
) -> None:
    found = _rows(embed_records(records([(data, f"{n}.png", "ok") for n, data in enumerate(images)]), embedder, LIMITS))
    assert found.keys() == {_id(data) for data in images}
    for seed, data in enumerate(images):
        middle = cv2.resize(draw(seed)[8:88], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(found[_id(data)], embedder.embed([middle])[0], atol=1e-6)


def test_partitions_and_batches_change_nothing(
    records: Build, embedder: Embedder, images: list[bytes], spark: SparkSession
) -> None:
    rows = records([(data, f"{n}.png", "ok") for n, data in enumerate(images)])
    once = _rows(embed_records(rows.repartition(1), embedder, LIMITS))
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(key)
    spark.conf.set(key, "3")
    again = _rows(embed_records(rows.repartition(3), embedder, LIMITS))
    spark.conf.set(key, before)
    assert again == once


def test_equal_bytes_are_one_picture_wherever_they_lie(records: Build, embedder: Embedder, images: list[bytes]) -> None:
    # In two places, and in one place twice, as a tar may hold a member.
    rows = [
        (images[0], "a.png", "ok"),
        (images[0], "b.png", "ok"),
        (images[1], "c.png", "ok"),
        (images[1], "c.png", "ok"),
    ]
    frame = records(rows)
    assert _rows(embed_records(frame, embedder, LIMITS)).keys() == {_id(data) for data in images[:2]}
    assert count_pictures(frame) == 2


def test_what_cannot_be_decoded_is_left_out(records: Build, embedder: Embedder, images: list[bytes]) -> None:
    # The second is said to be sound and is not: a limit may have been lowered since.
    rows = [(images[0], "a.png", "ok"), (images[1][:60], "b.png", "ok"), (b"", "c.png", "empty")]
    frame = records(rows)
    assert _rows(embed_records(frame, embedder, LIMITS)).keys() == {_id(images[0])}
    assert count_pictures(frame) == 3


def test_a_picture_is_shown_as_a_dataset_would_hold_it(records: Build, embedder: Embedder, images: list[bytes]) -> None:
    align = Aligner(16, margin=0.2, encoding="png", limits=LIMITS)
    box = [10.0, 20.0, 40.0, 40.0]
    found = _rows(embed_records(records([(images[0], "a.png", "ok")], box), embedder, LIMITS, align))
    stored = cv2.imdecode(np.frombuffer(align(images[0], box, None), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    wanted = embedder.embed([cv2.resize(stored, (SIDE, SIDE), interpolation=cv2.INTER_AREA)])[0]
    np.testing.assert_allclose(found[_id(images[0])], wanted, atol=1e-6)


def test_a_picture_that_is_not_the_one_taken_in_is_not_embedded(
    records: Build, embedder: Embedder, images: list[bytes]
) -> None:
    frame = records([(data, f"{n}.png", "ok") for n, data in enumerate(images)])
    altered = frame.withColumn("image", F.when(F.col("source") == "3.png", F.lit(images[0])).otherwise(F.col("image")))
    with pytest.raises(PythonException, match=rf"UserError: the picture with image_id {_id(images[3])} was altered"):
        embed_records(altered, embedder, LIMITS, name="store/records/r").collect()
