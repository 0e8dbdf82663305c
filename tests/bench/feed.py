"""How near the feed comes to bare decoding: images per second of both, with the same decoder and threads.

    python tests/bench/feed.py --images 20000 --threads 1 2 --rounds 5

The last line is one JSON object; `feed_ratio` is feed / bare, by number of threads. The goal is 0.9.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from pictures import SIDE_PX, drawn_jpegs

from pipelines import manifest, records
from training.feed import Batch, Feed, FeedSettings

GROUP_ROWS = 512
SHARD_ROWS = 8 * GROUP_ROWS
BATCH_SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    images = list(drawn_jpegs(options.images))
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), images)
        result = measure(Path(folder), images, options.threads, options.rounds)
    print(json.dumps(result | {"images": len(images), "bytes_per_image": round(statistics.mean(map(len, images)))}))


def measure(dataset: Path, images: list[bytes], threads: list[int], rounds: int) -> dict[str, dict[str, float]]:
    """Medians by number of threads over interleaved rounds."""
    result: dict[str, dict[str, float]] = {}
    for count in threads:
        runs = interleaved(dataset, images, count, rounds)
        for name in runs[0]:
            result.setdefault(name, {})[str(count)] = round(statistics.median(run[name][0] for run in runs))
        for name in ("feed", "sweep"):
            # Of CPU seconds as well: on a shared machine these say more than the clock.
            for kind, measured in enumerate(("ratio", "cpu_ratio")):
                ratio = statistics.median(run[name][kind] / run["bare"][kind] for run in runs)
                result.setdefault(f"{name}_{measured}", {})[str(count)] = round(ratio, 3)
    return result


def interleaved(dataset: Path, images: list[bytes], threads: int, rounds: int) -> list[dict[str, tuple[float, float]]]:
    """Rates of each round; one more round before them fills the page cache."""
    feed = Feed(dataset, "train", FeedSettings(threads=threads), seed=0, global_batch_size=BATCH_SIZE, rank=0, size=1)
    runs = []
    for number in range(rounds + 1):
        run = {
            "bare": rates(partial(bare, images, threads)),
            "feed": rates(partial(consume, feed.epoch(number))),
            "sweep": rates(partial(consume, feed.sweep())),
        }
        print(f"threads {threads} round {number}:", {name: round(wall) for name, (wall, _) in run.items()}, flush=True)
        runs.append(run)
    return runs[1:]


def consume(batches: Iterator[Batch]) -> int:
    return sum(len(batch.labels) for batch in batches)


def rates(work: Callable[[], int]) -> tuple[float, float]:
    """Images per second of the clock, and per second of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done / (time.perf_counter() - wall), done / (time.process_time() - cpu)


def bare(images: list[bytes], threads: int) -> int:
    """Decode all images, bytes already in memory, into one block per thread and nothing else."""

    def decode(part: list[bytes]) -> None:
        block = np.empty((BATCH_SIZE, SIDE_PX, SIDE_PX, 3), np.uint8)
        for number, data in enumerate(part):
            simplejpeg.decode_jpeg(data, buffer=block[number % BATCH_SIZE])

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(decode, [images[start::threads] for start in range(threads)]))
    return len(images)


def write_dataset(folder: Path, images: list[bytes]) -> None:
    files = []
    (folder / "train").mkdir()
    for number, start in enumerate(range(0, len(images), SHARD_ROWS)):
        part = images[start : start + SHARD_ROWS]
        table = pa.table(
            [
                [hashlib.sha256(data).hexdigest() for data in part],
                [start % 1000] * len(part),
                part,
                [zlib.crc32(data) for data in part],
            ],
            schema=records.DATASET,
        )
        path = folder / "train" / f"{number:05d}.parquet"
        pq.write_table(table, path, row_group_size=GROUP_ROWS, compression="none", use_dictionary=False)
        sizes = [len(part[at : at + GROUP_ROWS]) for at in range(0, len(part), GROUP_ROWS)]
        groups = tuple(manifest.RowGroup(rows=rows, num_bytes=0) for rows in sizes)
        files.append(manifest.describe(folder, path, rows=len(part), row_groups=groups))
    found = manifest.Manifest(
        kind="dataset", fingerprint="0" * 16, parents={}, settings={}, code_version="", counts={}, files=tuple(files)
    )
    manifest.write(folder, found)


if __name__ == "__main__":
    main()
