"""Open a dataset with every reader that is installed here, the way its own users would.

    python examples/read_dataset.py store/dataset/FINGERPRINT

Prints a JSON line for each: the rows of the split `train`, the sum of their labels, and size and mean of the first
picture (by image_id). Nothing of Ringmill is needed.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module

from PIL import Image, ImageStat


def pyarrow(folder: str) -> tuple[int, int, Image.Image]:
    import pyarrow.dataset as ds

    table = ds.dataset(f"{folder}/train").to_table().sort_by("image_id")
    return len(table), sum(table["label"].to_pylist()), decoded(table["image"][0].as_py())


def pandas(folder: str) -> tuple[int, int, Image.Image]:
    import pandas

    frame = pandas.read_parquet(f"{folder}/train").sort_values("image_id")
    return len(frame), int(frame.label.sum()), decoded(frame.image.iloc[0])


def polars(folder: str) -> tuple[int, int, Image.Image]:
    import polars

    frame = polars.read_parquet(f"{folder}/train/*.parquet").sort("image_id")
    return len(frame), frame["label"].sum(), decoded(frame["image"][0])


def duckdb(folder: str) -> tuple[int, int, Image.Image]:
    import duckdb

    rows = duckdb.sql(f"FROM '{folder}/train/*.parquet'")
    [(num_rows, labels)] = rows.aggregate("count(*), sum(label)::BIGINT").fetchall()
    [(first,)] = rows.order("image_id").limit(1).project("image").fetchall()
    return num_rows, labels, decoded(first)


def datasets(folder: str) -> tuple[int, int, Image.Image]:
    from datasets import load_dataset

    rows = load_dataset(folder)["train"].sort("image_id")
    return len(rows), sum(rows["label"]), rows[0]["image"]  # the dataset's card says that these are pictures


def pyspark(folder: str) -> tuple[int, int, Image.Image]:
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    rows = spark.read.parquet(f"{folder}/train")
    first = rows.orderBy("image_id").first()
    labels = rows.groupBy().sum("label").first()[0]
    return rows.count(), labels, decoded(bytes(first.image))


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


READERS: list[Callable[[str], tuple[int, int, Image.Image]]] = [pyarrow, pandas, polars, duckdb, datasets, pyspark]


def read_with_each(folder: str) -> Iterator[dict[str, object]]:
    for reader in READERS:
        try:
            version = import_module(reader.__name__).__version__
        except ModuleNotFoundError:
            continue
        num_rows, labels, picture = reader(folder)
        mean = [round(value, 3) for value in ImageStat.Stat(picture.convert("RGB")).mean]
        found = {"rows": num_rows, "labels": labels, "size": picture.size, "mean": mean}
        yield {"reader": reader.__name__, "version": version, **found}


if __name__ == "__main__":
    for line in read_with_each(sys.argv[1]):
        print(json.dumps(line), flush=True)
