"""The speed of the feed beside bare decoding and beside other loaders.

    python tests/bench/feed.py [--peers PYTHON] [--petastorm PYTHON] [--accelerator] [--ranks 2] [--memory]
        [--data FOLDER]

The same drawn faces of 112x112 and photos of 500x400 (fed at 224x224) are stored as a dataset of ours and in the format
that each peer recommends, and fed as shuffled batches of uint8 (B, 3, S, S) by one and by two threads or workers:

- bound: the decoder of the feed on bytes in memory, into memory that is there, by as many threads
- ours: `Feed`, with nothing random but the order
- with --petastorm, in a Python with torch, opencv, pyarrow 14 and numpy 1: the stock reader with its two loaders
- with --peers, in a Python that has them: Grain (threads, processes), SPDL (with its decoder, which needs FFmpeg's
  libraries on the machine, and without), torchdata, LitData, MosaicML Streaming, WebDataset, Hugging Face datasets
  (map-style, streamed); see feeds/peers.py

Every run is a process of its own. Each system runs once in a round, the order turns by one from round to round, and the
figures are medians. A run's clock starts when workers run and the first batches have been taken, and ends after
--seconds, or after twice as many where fewer pictures have come by then than the set has. What cannot run is named with
its reason and left out.

- --accelerator: an emulated accelerator with a fixed time per step, as MLPerf Storage has it: the most images/s at
  which it is busy 0.90 of the time, found by bisection, for ours and the two best peers
- --ranks N: ranks under horovodrun train a small network; the wait for the feed by the time of a step
- --memory: the resident set over 20 epochs of a set of 50,000 and of one of a tenth of it

ours_of_bound comes from turns of a second or so of both in one process. The last line is one JSON object. Goals:
ours_of_bound 0.9, ours_of_best_peer above 1, for both sets.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from feeds.data import FACES, PHOTOS, PictureSet, prepare, write_dataset

HERE = Path(__file__).parent
OUR_PATH = {"PYTHONPATH": str(HERE.parents[1])}
OURS = ["bound", "ours"]
STOCK = ["petastorm", "petastorm-batched"]
# Of those that read the same format the first writes it.
PEERS = [
    *("grain-threads", "grain-processes", "spdl", "spdl-threads", "torchdata", "litdata", "streaming", "webdataset"),
    *("huggingface", "huggingface-streamed"),
]
LONGEST_RUN_SECONDS = 600
WARM_EPOCHS = 4  # until the allocator has what it needs
STEPS = 40


@dataclass(frozen=True)
class Bench:
    """One set of pictures and how it is fed."""

    kind: PictureSet
    folder: Path
    images: int
    options: argparse.Namespace
    failed: dict[str, str] = field(default_factory=dict)  # system -> why it is left out

    def systems(self) -> list[str]:
        named = [*OURS, *(STOCK if self.options.petastorm else []), *(PEERS if self.options.peers else [])]
        only = self.options.only
        return [name for name in named if name not in self.failed and (not only or name in ("bound", "ours", *only))]

    def ask(self, verb: str, system: str, workers: int, *more: str) -> dict[str, Any]:
        """The answer of a run in a process of its own; empty where a peer failed, which is told and noted."""
        job = {
            "folder": str(self.folder),
            "side_px": self.kind.side_px,
            "workers": workers,
            "batch_size": self.options.batch_size,
            "images": self.images,
            "decoder": self.options.decoder,
        }
        script, python, variables = self._runner(system)
        command = [str(python), "-W", "ignore", str(HERE / "feeds" / script), verb, system, json.dumps(job), *more]
        try:
            return json.loads(last_line(command, variables))
        except RunError as error:
            if system in ("bound", "ours"):
                raise
            self.failed[system] = str(error)
            print(f"{self.kind.name}: {system} is left out: {error}", flush=True)
            return {}

    def _runner(self, system: str) -> tuple[str, Path | str, dict[str, str]]:
        """The script that knows the system, the Python for it, and what to add to the environment."""
        if system in OURS:
            return "ours.py", sys.executable, OUR_PATH
        return ("stock.py", self.options.petastorm, {}) if system in STOCK else ("peers.py", self.options.peers, {})


class RunError(Exception):
    """A run that ended without an answer."""


def last_line(command: list[str], variables: dict[str, str]) -> str:
    """The last line that a process printed."""
    environment = os.environ | variables
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        raise RunError(f"it gave nothing within {LONGEST_RUN_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(shorten(said[-1], 300, placeholder=" ..."))
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or Path(scratch)
        counts = {FACES: options.images, PHOTOS: options.photos}
        benches = [Bench(kind, data / kind.name, images, options) for kind, images in counts.items() if images]
        result: dict[str, Any] = {"decoder_of_peers": options.decoder}
        for bench in benches:
            prepare(bench.folder, bench.kind, bench.images)
            result[bench.kind.name] = compare(bench)
        if options.ranks:
            result["ranks"] = on_ranks(benches[0], options.ranks)
        if options.memory:
            result["memory"] = memory(benches[0], data, options.memory, options.epochs)
    print(json.dumps(result))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="faces")
    parser.add_argument("--photos", type=int, default=3_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a run, at least")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--peers", type=Path, help="a Python with torch, opencv and the peers")
    parser.add_argument("--petastorm", type=Path, help="a Python in which stock Petastorm runs")
    parser.add_argument("--decoder", choices=["pil", "cv2"], default="pil", help="of peers that have none of their own")
    parser.add_argument("--only", nargs="+", help="peers to compare with")
    parser.add_argument("--accelerator", action="store_true")
    parser.add_argument("--ranks", type=int, default=0)
    parser.add_argument("--memory", type=int, nargs="?", const=50_000, default=0, help="pictures in the larger set")
    parser.add_argument("--epochs", type=int, default=20, help="of --memory")
    parser.add_argument("--data", type=Path, help="where the pictures are kept for the next time")
    return parser.parse_args()


def compare(bench: Bench) -> dict[str, Any]:
    """Rates of all systems by number of workers, and what ours are of them."""
    for system in bench.systems():
        write(bench, system)
    result: dict[str, Any] = {}
    for workers in bench.options.threads:
        found = bench.ask("beside", "ours", workers, "--other", "bound", "--seconds", "1.6")
        runs = list(rounds(bench, workers))
        figures = summary(runs, [name for name in bench.systems() if name in runs[0]])
        result[str(workers)] = figures | {f"ours_of_bound_{by}": round(ratio, 3) for by, ratio in found.items()}
    if bench.options.accelerator:
        result["accelerator"] = accelerate(bench, result[str(max(bench.options.threads))]["images_per_second"])
    return result | {"left_out": bench.failed}


def write(bench: Bench, system: str) -> None:
    """Store the set in a system's format, unless an earlier run has done so."""
    mark = bench.folder / f"{system}.written"
    if system in PEERS and not mark.exists():
        bench.ask("write", system, 1)
        if system not in bench.failed:
            mark.touch()


def rounds(bench: Bench, workers: int) -> Iterator[dict[str, dict[str, float]]]:
    for number in range(bench.options.rounds):
        systems = bench.systems()
        turn = number % len(systems)
        run = {}
        for system in [*systems[turn:], *systems[:turn]]:
            answer = bench.ask("rate", system, workers, "--seconds", str(bench.options.seconds))
            if answer:
                run[system] = answer
        told = {name: round(answer["images_per_second"]) for name, answer in run.items()}
        print(f"{bench.kind.name}, {workers} workers, round {number}: {told}", flush=True)
        yield run


def summary(runs: Sequence[dict[str, dict[str, float]]], systems: list[str]) -> dict[str, Any]:
    """Medians over the rounds: of rates, and of the ratios within each round."""

    def median(name: str) -> float:
        return statistics.median(run[name]["images_per_second"] for run in runs)

    def ratio(name: str) -> float:
        return round(
            statistics.median(run["ours"]["images_per_second"] / run[name]["images_per_second"] for run in runs), 3
        )

    best = max((name for name in systems if name not in ("bound", "ours")), key=median, default=None)
    return {
        "images_per_second": {name: round(median(name)) for name in systems},
        "best_peer": best,
        "ours_of_best_peer": best and ratio(best),
    }


def accelerate(bench: Bench, rates: dict[str, float]) -> dict[str, float | None]:
    """The most images/s at which an emulated accelerator is kept busy."""
    peers = sorted((name for name in rates if name not in ("bound", "ours")), key=lambda name: -rates[name])
    workers = max(bench.options.threads)
    found = {}
    for system in ["ours", *peers[:2]]:
        more = ("--seconds", str(bench.options.seconds), "--most", str(1.5 * rates[system]))
        images_per_second = bench.ask("accelerate", system, workers, *more).get("images_per_second")
        found[system] = images_per_second and round(images_per_second)
    return found


def on_ranks(bench: Bench, ranks: int) -> dict[str, float]:
    launcher = [str(Path(sys.executable).parent / "horovodrun"), "-np", str(ranks), "--gloo"]
    script = [str(HERE / "feeds" / "ranks.py"), str(bench.folder / "ours"), str(STEPS)]
    told = last_line([*launcher, sys.executable, "-W", "ignore", *script], OUR_PATH)
    return {name: round(value, 4) for name, value in json.loads(told[told.index("{") :]).items()}


def memory(bench: Bench, data: Path, images: int, epochs: int) -> dict[str, float]:
    """Slope and height of the resident set for a set and for a tenth of it."""
    result = {}
    drawn = [path.read_bytes() for path in sorted((bench.folder / "jpegs").iterdir())]
    for name, count in (("whole", images), ("tenth", images // 10)):
        folder = data / f"memory-{count}"
        if not (folder / "manifest.json").exists():
            write_dataset(folder, islice(cycle(drawn), count), bench.kind.rows_per_group)
        script = [str(HERE / "feeds" / "memory.py"), str(folder), str(epochs)]
        resident_kib = np.array(json.loads(last_line([sys.executable, "-W", "ignore", *script], OUR_PATH)))
        print(f"resident set after each epoch of {count}: {resident_kib.tolist()} KiB", flush=True)
        slope, _ = np.polyfit(range(WARM_EPOCHS, epochs), resident_kib[WARM_EPOCHS:], 1)
        result |= {f"{name}_slope_kib_per_epoch": round(slope, 1), f"{name}_mib": round(resident_kib.max() / 1024)}
    return result


if __name__ == "__main__":
    main()
