"""Near-duplicates among 256-bit hashes: how many are found, how long it takes, and how long faiss would take.

    python tests/bench/dedup.py --count 1e6 --rounds 2 [--growth 10] [--peers PYTHON]

The hashes are random, and in them are planted: pairs at every distance from 0 to 31, half of them by the mirror image;
a hundredth with one equal hash; a hundredth within some bits of one another; a hundredth that agree in 160 bits and are
far apart otherwise, with planted pairs among them. A planted pair is found when the pairs written join its ends.

- ours: `near_pairs` and the writing of its pairs on two cores, JVM start excluded
- oracle: some of the random pictures compared with all others
- faiss (--peers): all pairs of the random and planted part alone, plain and flipped hashes against plain ones, on two
  threads: the fastest of several indices that find 0.99 of the planted pairs at distance 31, building included. It
  searches for a part of the pictures, and its time is multiplied: every query is searched by itself.

The last line is one JSON object. Goals: recall 0.99 at every distance and 0.999 up to 16, faiss_of_ours above 1, and
with --growth 10 a growth_exponent below 1.3 within 20 GiB.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sessions import session

from pipelines.dedup.near import near_pairs
from pipelines.dedup.settings import DedupSettings
from pipelines.parquet import in_files, write_files
from pipelines.records import PAIRS

CORES = 2
OPTIONS = {
    "spark.sql.shuffle.partitions": str(4 * CORES),
    "spark.sql.execution.arrow.maxRecordsPerBatch": "8192",
}
DISTANCES = 32
PAIRS_PER_DISTANCE = 1000
HOT_SHARE = 100
ORACLE_PICTURES = 50
FAISS_SHARE = 40
FAISS_RECALL = 0.99
_ODD = 0x9E3779B97F4A7C15  # makes names that are spread evenly, and back again

# Ways to build the index of all plain hashes, and to ask it for a part of all.
_FAISS = """
import json, sys, time
import faiss, numpy as np
folder, share, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
faiss.omp_set_num_threads(2)
plain, flipped, planted = (np.load(f"{folder}/{name}.npy") for name in ("plain", "flipped", "planted"))
queries = np.concatenate([plain[::share], flipped[::share]])

def built(kind, numbers):
    if kind == "multihash":
        index = faiss.IndexBinaryMultiHash(256, *numbers[:2])
        index.nflip = numbers[2]
    elif kind == "hash":
        index = faiss.IndexBinaryHash(256, numbers[0])
        index.nflip = numbers[1]
    elif kind == "ivf":
        quantizer = faiss.IndexBinaryFlat(256)
        index = faiss.IndexBinaryIVF(quantizer, 256, numbers[0])
        index.nprobe, index.kept = numbers[1], quantizer
        index.train(plain[:20000])
    else:
        index = faiss.IndexBinaryFlat(256)
    index.add(plain)
    return index

def recall(index):
    hits = []
    for is_mirrored, hashes in enumerate((plain, flipped)):
        left, right = planted[planted[:, 2] == is_mirrored][:200, :2].T
        limits, _, found = index.range_search(hashes[right], 32)
        hits += [one in found[start:stop] for one, start, stop in zip(left, limits[:-1], limits[1:])]
    return float(np.mean(hits))

for name in names:
    kind, *numbers = name.split("-")
    start = time.perf_counter()
    index = built(kind, [int(number) for number in numbers])
    middle = time.perf_counter()
    index.range_search(queries, 32)
    seconds = middle - start + (time.perf_counter() - middle) * 2 * len(plain) / len(queries)
    print(json.dumps([name, seconds, recall(index)]), flush=True)
"""
_INDICES = [
    *("multihash-16-16-1", "multihash-14-18-1", "multihash-13-19-1", "multihash-12-21-1", "multihash-12-21-2"),
    *("multihash-11-23-2", "multihash-10-25-2", "hash-16-3", "ivf-256-64", "flat"),
]


@dataclass(frozen=True)
class Drawn:
    """Hashes, and which of them are near-duplicates."""

    plain: NDArray[np.uint64]  # (N, 4)
    flipped: NDArray[np.uint64]
    planted: NDArray[np.int64]  # (P, 4): left, right, distance, whether right's mirror image resembles left
    hot: NDArray[np.int64]  # the same, within the hashes that agree in 160 bits
    num_random: int  # so many of the first belong to no hot bucket


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=float, default=1e6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--growth", type=int, default=0, help="also measure so many times as many hashes")
    parser.add_argument("--peers", type=Path, help="a Python with faiss-cpu and numpy")
    parser.add_argument("--index", nargs="*", default=_INDICES, help="which of faiss's indices to choose from")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(Path(scratch), options)))


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, Any]:
    drawn = draw(int(options.count), scratch / "hashes")
    spark = session(scratch, OPTIONS, cores=CORES)
    draw(20_000, scratch / "few")
    search(spark, scratch / "few", scratch)  # starts the JVM and its workers, which all the runs share
    result: dict[str, Any] = {"hashes": len(drawn.plain), "cores": CORES}
    peers = choose_index(options, drawn, scratch) if options.peers else None
    ours, theirs = [], []
    for number in range(options.rounds):
        seconds, pairs, facts = search(spark, scratch / "hashes", scratch)
        ours.append(seconds)
        if peers is not None:
            theirs.append(faiss(options.peers, scratch, [peers[0]])[0][1])
        print(f"round {number}: ours {seconds:.1f} s, {peers and peers[0]} {theirs[-1:]}", flush=True)
    result |= {"seconds": round(statistics.median(ours), 1), **judge(drawn, pairs), **facts}
    if peers is not None:
        result |= {"faiss": peers[0], "faiss_recall_31": peers[2], "faiss_seconds": round(statistics.median(theirs), 1)}
        paired = zip(theirs, ours, strict=True)
        result["faiss_of_ours"] = round(statistics.median(one / other for one, other in paired), 2)
    if options.growth:
        large = draw(len(drawn.plain) * options.growth, scratch / "large")
        with Memory() as memory:
            seconds, pairs, _ = search(spark, scratch / "large", scratch)
        result |= {"growth_seconds": round(seconds, 1), "growth_peak_gib": round(memory.peak_gib, 2)}
        result |= {f"growth_{name}": value for name, value in judge(large, pairs).items()}
        exponent = np.log(seconds / statistics.median(ours)) / np.log(options.growth)
        result["growth_exponent"] = round(float(exponent), 3)
    spark.stop()
    return result


def draw(count: int, folder: Path) -> Drawn:
    """Draw hashes, plant what is to be found, and write them as the images that `near_pairs` takes."""
    rng = np.random.default_rng(0)
    plain, flipped = (rng.integers(0, 2**64, (count, 4), dtype=np.uint64) for _ in range(2))
    share = count // HOT_SHARE
    equal, near, hot = (slice(start, start + share) for start in range(count - 3 * share, count, share))
    plain[equal] = plain[equal.start]
    plain[near] = plain[near.start] ^ sparse_bits(rng, share, 8)
    plain[hot] = plain[hot] & np.uint64(2**24 - 1) | plain[hot.start] & ~np.uint64(2**24 - 1)
    per_distance = min(PAIRS_PER_DISTANCE, count // (4 * DISTANCES))
    planted = plant(rng, plain, flipped, rng.permutation(count - 3 * share), per_distance)
    hot_planted = plant(rng, plain, flipped, hot.start + rng.permutation(share), min(100, share // 100))
    folder.mkdir()
    write_images(folder, plain, flipped)
    return Drawn(plain, flipped, planted, hot_planted, count - 3 * share)


def plant(
    rng: np.random.Generator,
    plain: NDArray[np.uint64],
    flipped: NDArray[np.uint64],
    rows: NDArray[np.int64],
    per_distance: int,
) -> NDArray[np.int64]:
    """Let pairs of rows resemble each other; returns left, right, distance and whether it is a mirror image."""
    ends = rows[: 2 * DISTANCES * per_distance].reshape(-1, 2)
    far = np.repeat(np.arange(DISTANCES), per_distance)
    is_mirrored = np.arange(len(ends)) % 2
    for (left, right), distance, mirrored in zip(ends, far, is_mirrored, strict=True):
        bits = np.zeros(256, dtype=np.uint8)
        bits[rng.choice(256, distance, replace=False)] = 1
        (flipped if mirrored else plain)[right] = plain[left] ^ np.packbits(bits).view(np.uint64)
    return np.column_stack([ends, far, is_mirrored])


def sparse_bits(rng: np.random.Generator, count: int, most: int) -> NDArray[np.uint64]:
    """(count, 4) words with up to so many bits set."""
    bits = np.zeros((count, 256), dtype=np.uint8)
    bits[np.arange(count)[:, None], rng.integers(0, 256, (count, most))] = 1
    return np.packbits(bits, axis=1).view(np.uint64)


def write_images(folder: Path, plain: NDArray[np.uint64], flipped: NDArray[np.uint64], step: int = 250_000) -> None:
    for start in range(0, len(plain), step):
        rows = slice(start, min(start + step, len(plain)))
        names = [f"{number * _ODD % 2**64:016x}" + "0" * 48 for number in range(rows.start, rows.stop)]
        digests = [number.to_bytes(16, "little") for number in range(rows.start, rows.stop)]
        columns = {
            "image_id": names,
            "pixel_digest": pa.array(digests, pa.binary()),
            "hash": as_binary(plain[rows]),
            "hash_flipped": as_binary(flipped[rows]),
            "is_old": np.zeros(len(names), dtype=bool),
        }
        pq.write_table(pa.table(columns), folder / f"{start:09d}.parquet")


def as_binary(words: NDArray[np.uint64]) -> pa.Array:
    offsets = pa.py_buffer(np.arange(0, 32 * len(words) + 1, 32, dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), len(words), [None, offsets, pa.py_buffer(np.ascontiguousarray(words))])


def search(spark: SparkSession, folder: Path, scratch: Path) -> tuple[float, NDArray[np.int64], dict[str, float]]:
    """Seconds, pairs of numbers of pictures, and what the manifest would say."""
    start = time.perf_counter()
    found = near_pairs(spark.read.parquet(str(folder)), DedupSettings(), scratch / "search")
    rows = in_files(found.rows, num_rows=found.num_images, key=("left", "right"))
    files = write_files(rows, scratch / "pairs", schema=PAIRS, rows_per_group=65_536)
    seconds = time.perf_counter() - start
    tables = pa.concat_tables(pq.read_table(scratch / "pairs" / file.path) for file in files)
    shutil.rmtree(scratch / "pairs")
    shutil.rmtree(scratch / "search")
    back = pow(_ODD, -1, 2**64)
    ends = [[int(name[:16], 16) * back % 2**64 for name in tables[side].to_pylist()] for side in ("left", "right")]
    return seconds, np.array(ends, dtype=np.int64).T, found.facts()


def judge(drawn: Drawn, pairs: NDArray[np.int64]) -> dict[str, float]:
    """Shares of the planted pairs and of the oracle's whose ends are joined; a pair too far apart is an error."""
    assert (nearest(drawn, pairs[:, 0], pairs[:, 1]) < DISTANCES).all()
    graph = coo_matrix((np.ones(len(pairs), dtype=np.int8), pairs.T), shape=(len(drawn.plain),) * 2)
    _, labels = connected_components(graph, directed=False)

    def joined(ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        return labels[ends[:, 0]] == labels[ends[:, 1]]

    shares = [joined(drawn.planted[drawn.planted[:, 2] == distance]).mean() for distance in range(DISTANCES)]
    close = oracle(drawn)
    return {
        "recall_to_16": round(float(min(shares[:17])), 4),
        "recall_at_least": round(float(min(shares)), 4),
        "recall_31": round(float(shares[-1]), 4),
        "recall_hot": round(float(joined(drawn.hot).mean()), 4),
        "oracle_pairs": len(close),
        "recall_oracle": round(float(joined(close).mean()), 4),
        "pairs": len(pairs),
    }


def oracle(drawn: Drawn) -> NDArray[np.int64]:
    """All near-duplicates of some pictures, planted or hot ones, by comparing each with all others."""
    rng = np.random.default_rng(1)
    asked = [*rng.choice(drawn.planted[:, 1], ORACLE_PICTURES), *rng.choice(drawn.hot[:, 1], ORACLE_PICTURES)]
    everything = np.arange(len(drawn.plain))
    found = []
    for picture in asked:
        close = everything[nearest(drawn, np.array([picture]), everything) < DISTANCES]
        found += [(picture, other) for other in close if other != picture]
    return np.array(found)


def nearest(drawn: Drawn, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    def differing(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = _POPCOUNT[(one ^ other).view(np.uint16)].sum(axis=1, dtype=np.int64)
        return counts

    plain, flipped = drawn.plain, drawn.flipped
    across = np.minimum(differing(plain[left], flipped[right]), differing(flipped[left], plain[right]))
    return np.minimum(differing(plain[left], plain[right]), across)


_POPCOUNT = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)


def choose_index(options: argparse.Namespace, drawn: Drawn, scratch: Path) -> list[Any]:
    """The fastest of faiss's indices that finds enough, as [name, seconds, recall at distance 31]."""
    # Without the hot buckets, whose pairs it would write out one by one.
    np.save(scratch / "plain.npy", drawn.plain[: drawn.num_random].view(np.uint8))
    np.save(scratch / "flipped.npy", drawn.flipped[: drawn.num_random].view(np.uint8))
    np.save(scratch / "planted.npy", drawn.planted[drawn.planted[:, 2] == DISTANCES - 1][:, [0, 1, 3]])
    tried = [faiss(options.peers, scratch, [name], share=50 * FAISS_SHARE)[0] for name in options.index]
    for name, seconds, recall in tried:
        print(f"{name}: {seconds:.0f} s, {recall:.3f} found at distance 31", flush=True)
    return min((one for one in tried if one[2] >= FAISS_RECALL), key=lambda one: one[1])


def faiss(python: Path, scratch: Path, names: list[str], *, share: int = FAISS_SHARE) -> list[list[Any]]:
    """[name, seconds for all, recall at distance 31] of each index, from one in `share` of the queries."""
    command = [python, "-c", _FAISS, scratch, str(share), *names]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


class Memory:
    """The most memory that this process and all that it started held at once, looked at twice a second."""

    peak_gib = 0.0

    def __enter__(self) -> "Memory":
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.peak_gib = max(self.peak_gib, sum(map(resident_gib, descendants(os.getpid()))))


def descendants(process: int) -> list[int]:
    told = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in map(str.split, told.splitlines())}
    found = [process]
    for parent in found:
        found += [pid for pid, its in parents.items() if its == parent]
    return found


def resident_gib(process: int) -> float:
    """Proportional set size: what is shared between forked workers counts once."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / (1 << 20)


if __name__ == "__main__":
    main()
