"""The speed of ingestion beside its own pure function and beside the usual ways.

    python tests/bench/ingest.py --images 20000 --rounds 3 [--peers PYTHON]

All on the same generated 112x112 JPEGs and two cores, rounds interleaved, JVM start excluded:
- pool: `records_of` (read, digest, decode, measure, hash) in a plain pool of two processes; nothing is written
- tar, folder: the whole Spark pass, survey to written records
- naive: Spark's binaryFile and a pandas_udf that returns pixels as lists, on a quarter of the files
- cleanvision + imagededup: quality checks and perceptual hashes of the same files, on a quarter of them, run by a
  Python that has both (--peers); both tools use two processes as they do by default

The last line is one JSON object. Goals: tar_of_pool 0.75, folder_of_pool 0.5, tar_of_naive 5, tar_of_peers 2, and
with --growth 10: growth of the time per picture from N to 10 N pictures below 1.10.
"""

import argparse
import io
import json
import multiprocessing
import resource
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from pictures import drawn_jpegs
from pyspark.sql import SparkSession
from sessions import session

from pipelines.ingest import ingest, records_of, survey
from pipelines.settings import PixelSettings
from pipelines.sources import reading
from pipelines.sources.chunks import Chunk, plan_chunks
from pipelines.sources.entry import Portion
from pipelines.sources.settings import SOURCES, SourceSettings

CORES = 2
PER_FOLDER = 100
PEER_SHARE = 4

_PEERS = """
import sys, time, logging
from unittest.mock import MagicMock
logging.disable(logging.CRITICAL)
# Its neural methods, which are not measured, want a torchvision that fits torch to the letter.
sys.modules |= {f"imagededup.{name}": MagicMock() for name in ("methods.cnn", "utils.models")}
from cleanvision import Imagelab
from imagededup.methods import PHash
start = time.perf_counter()
if __name__ == "__main__":
    Imagelab(data_path=sys.argv[1], verbose=False).find_issues(verbose=False)
    middle = time.perf_counter()
    PHash(verbose=False).encode_images(image_dir=sys.argv[1], recursive=True)
    print("SECONDS", middle - start, time.perf_counter() - middle)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="a Python with cleanvision and imagededup")
    parser.add_argument("--growth", type=int, default=0, help="also measure so many times as many pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(Path(scratch), options)))


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    archive, folder = draw(scratch / "all", options.images)
    _, few = draw(scratch / "few", options.images // PEER_SHARE)
    spark = session(scratch, {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}, cores=CORES)
    runs: dict[str, Callable[[], float]] = {
        "pool": partial(pool, settings("tar", archive)),
        "tar": partial(spark_pass, spark, settings("tar", archive), scratch),
        "folder": partial(spark_pass, spark, settings("folder", folder), scratch),
        "naive": partial(naive, spark, few, scratch),
    }
    if options.peers:
        runs["peers"] = partial(peers, options.peers, few)
    warm_up(spark, settings("folder", few), scratch)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name, run in runs.items():
            rates[name].append(run())
        print(f"round {number}:", {name: round(measured[-1]) for name, measured in rates.items()}, flush=True)
    result: dict[str, Any] = {"images": options.images, "cores": CORES}
    result |= {f"{name}_per_second": round(statistics.median(measured)) for name, measured in rates.items()}
    for name, base in (("tar", "pool"), ("folder", "pool"), ("tar", "naive"), ("tar", "peers")):
        if base in rates:
            paired = zip(rates[name], rates[base], strict=True)
            result[f"{name}_of_{base}"] = round(statistics.median(ours / theirs for ours, theirs in paired), 3)
    if options.growth:
        result |= growth(spark, scratch, archive, options)
    spark.stop()
    return result


def growth(spark: SparkSession, scratch: Path, archive: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time per picture and peak memory of a worker, for N pictures and for many times as many."""
    large, _ = draw(scratch / "large", options.images * options.growth, loose=False)
    small_rates, large_rates = [], []
    for _ in range(max(1, options.rounds - 1)):
        small_rates.append(spark_pass(spark, settings("tar", archive), scratch))
        small_memory = worker_memory(spark)
        large_rates.append(spark_pass(spark, settings("tar", large), scratch))
    return {
        "growth": round(statistics.median(small_rates) / statistics.median(large_rates), 3),
        "growth_images": options.images * options.growth,
        "worker_mib": round(small_memory),
        "worker_mib_large": round(worker_memory(spark)),
    }


def draw(root: Path, count: int, *, loose: bool = True) -> tuple[Path, Path]:
    """The same pictures as one tar and as small files, a hundred to a folder."""
    folder, archive = root / "images", root / "images.tar"
    root.mkdir()
    with multiprocessing.get_context("spawn").Pool(CORES) as processes, tarfile.open(archive, "w") as tar:
        pieces = [(start, min(PER_FOLDER, count - start)) for start in range(0, count, PER_FOLDER)]
        for (start, _), jpegs in zip(pieces, processes.imap(draw_piece, pieces), strict=True):
            home = Path(f"{start // PER_FOLDER:05d}")
            if loose:
                (folder / home).mkdir(parents=True)
            for number, data in enumerate(jpegs, start):
                member = tarfile.TarInfo(str(home / f"{number:07d}.jpg"))
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
                if loose:
                    (folder / member.name).write_bytes(data)
    return archive, folder


def draw_piece(piece: tuple[int, int]) -> list[bytes]:
    start, count = piece
    return list(drawn_jpegs(count, first=start))


def settings(kind: str, path: Path) -> SourceSettings:
    return SOURCES.validate({"kind": kind, "path": str(path)})


def warm_up(spark: SparkSession, source: SourceSettings, scratch: Path) -> None:
    """Start the JVM and its Python workers, which all the runs share."""
    spark_pass(spark, source, scratch)


def spark_pass(spark: SparkSession, source: SourceSettings, scratch: Path) -> float:
    """Images per second of survey, read, digest, decode, measure, hash and write."""
    out = scratch / "records"
    start = time.perf_counter()
    chunks = survey(spark, source).chunks
    files = ingest(spark, chunks, out, source=source, pixels=PixelSettings())
    rate = sum(file.rows for file in files) / (time.perf_counter() - start)
    shutil.rmtree(out)
    return rate


def pool(source: SourceSettings) -> float:
    """Images per second of the pure function alone, in processes that are started and warm already."""
    portions = [part for one in reading.containers(source) for part in reading.scan(one, source)]
    chunks = list(plan_chunks([part for part in portions if isinstance(part, Portion)], source))
    with multiprocessing.get_context("spawn").Pool(CORES, cv2.setNumThreads, (1,)) as processes:
        processes.map(partial(examine_chunk, source=source), chunks[:CORES], chunksize=1)
        start = time.perf_counter()
        images = sum(processes.imap_unordered(partial(examine_chunk, source=source), chunks))
        return images / (time.perf_counter() - start)


def examine_chunk(chunk: Chunk, source: SourceSettings) -> int:
    return sum(batch.num_rows for batch in records_of(chunk, source, PixelSettings()))


def naive(spark: SparkSession, folder: Path, scratch: Path) -> float:
    """The naive job: binaryFile, and a pandas_udf that hands the pixels on as lists."""
    import numpy as np
    import pandas as pd
    from PIL import Image
    from pyspark.sql import functions as F

    @F.pandas_udf("array<int>")  # type: ignore[call-overload, untyped-decorator]
    def pixels(content: pd.Series) -> pd.Series:
        def one(data: bytes) -> list[int]:
            return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).ravel().tolist()

        return content.map(one)

    start = time.perf_counter()
    out = str(scratch / "naive")
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(str(folder))
    files.select("path", "content", pixels("content").alias("pixels")).write.mode("overwrite").parquet(out)
    count = spark.read.parquet(out).count()
    rate = count / (time.perf_counter() - start)
    shutil.rmtree(out)
    return rate


def peers(python: Path, folder: Path) -> float:
    """Images per second of cleanvision's checks and imagededup's hashes, one after the other."""
    script = folder.parent / "peers.py"
    script.write_text(_PEERS)
    told = subprocess.run([python, script, folder], capture_output=True, text=True, check=True).stdout
    line = next(line for line in told.splitlines() if line.startswith("SECONDS"))
    seconds = sum(map(float, line.split()[1:]))
    return sum(1 for path in folder.rglob("*.jpg")) / seconds


def worker_memory(spark: SparkSession) -> float:
    """Peak resident MiB of the Python workers, as they know it themselves."""

    def peak(_: int) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    return max(spark.sparkContext.parallelize(range(4 * CORES), 4 * CORES).map(peak).collect())


if __name__ == "__main__":
    main()
