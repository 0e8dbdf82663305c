"""The share of copies that are found, and of different pictures that are taken for one.

    python tests/bench/copies.py --data /data [--photos 200] [--peers PYTHON]

- drawn: photos of `pipelines.sample`, each with planted copies: re-encoded, resized, brightened or darkened, mirrored
- ukbench: imagededup.tar, whose file names say which files show one picture; what was turned is told apart, since no
  such hash is made for it
- orl: orl.tar, 40 people with 10 different photos each, some nearly the same: none should be merged

Ours by the stored hashes, as the stage of decisions compares them, at the default distance and the strict one. Beside
it 64-bit pHashes within 10 bits (imagededup's default) and equal ones (what cleanvision does), both with the hashes of
imagededup, run by a Python that has it (--peers). All pairs are compared, so the search by bands has no part in this.

The last line is one JSON object. Goals at the default: recall 0.99 of the drawn copies and of those of ukbench; at most
0.005 of the pairs of one person merged and none of two; the strict distance merges none of either.
"""

import argparse
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.keepers import Signatures
from pipelines.dedup.settings import DedupSettings
from pipelines.measure import examine
from pipelines.records import DECODE_OK
from pipelines.sample.album import draw_album
from pipelines.sample.planted_faults import encode_jpeg
from pipelines.settings import PixelSettings

STRICT = 16
PEER_DISTANCE = 10
SIZE_PX = (112, 250)
PHOTOS_PER_PERSON = 10
BATCH = 64

Pairs = dict[str, NDArray[np.int64]]  # kind -> (K, 2) numbers of files
Alike = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
Picture = NDArray[np.uint8]

_PEERS = """
import json, logging, sys
from pathlib import Path
from unittest.mock import MagicMock
logging.disable(logging.CRITICAL)
# Its neural methods, which are not measured, want a torchvision that fits torch to the letter.
sys.modules |= {f"imagededup.{name}": MagicMock() for name in ("methods.cnn", "utils.models")}
from imagededup.methods import PHash
hasher = PHash(verbose=False)
names = json.loads(Path(sys.argv[1]).read_text())
print("HASHES", json.dumps([hasher.encode_image(image_file=name) for name in names]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with imagededup.tar and orl.tar")
    parser.add_argument("--photos", type=int, default=200, help="that are drawn, each with 13 copies")
    parser.add_argument("--peers", type=Path, help="a Python with imagededup")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), options)
    for kind in sorted({kind for shares in found.values() for kind in shares}):
        print(f"{kind:28}", *(f"{way} {shares[kind]:9.5f}  " for way, shares in found.items()))
    print(json.dumps(found))


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Way of comparing -> kind of pair -> share of the pairs that it takes for one picture."""
    sets = [drawn(scratch, options.photos)]
    if options.data:
        sets += [ukbench(scratch, options.data), orl(scratch, options.data)]
    found: dict[str, dict[str, float]] = {}
    for paths, pairs in sets:
        ways = ours(paths) | (peers(options.peers, scratch, paths) if options.peers else {})
        for kind, numbers in pairs.items():
            print(f"{kind}: {len(numbers)} pairs", flush=True)
            for way, alike in ways.items():
                found.setdefault(way, {})[kind] = round(float(alike(numbers[:, 0], numbers[:, 1]).mean()), 5)
    return found


def drawn(scratch: Path, count: int) -> tuple[list[Path], Pairs]:
    paths, of = [], []
    for number, (picture, quality) in enumerate(photos(count)):
        original = encode_jpeg(picture, quality)
        for kind, data in [("original", original), *copies(original)]:
            paths.append(scratch / f"{number:05d}-{kind}.jpg")
            paths[-1].write_bytes(data)
            of.append((number, kind))
    place = {told: index for index, told in enumerate(of)}
    pairs: dict[str, list[tuple[int, int]]] = {}
    for (number, kind), index in place.items():
        if kind != "original":
            for name in (f"drawn {kind}", "drawn, all copies"):
                pairs.setdefault(name, []).append((place[number, "original"], index))
    originals = np.array([index for (_, kind), index in place.items() if kind == "original"])
    left, right = np.triu_indices(len(originals), 1)
    different = np.stack([originals[left], originals[right]], axis=1)
    return paths, {name: np.array(listed) for name, listed in pairs.items()} | {"drawn, different photos": different}


def photos(count: int) -> Iterator[tuple[Picture, int]]:
    for identity in range(-(-count // PHOTOS_PER_PERSON)):
        wanted = min(PHOTOS_PER_PERSON, count - identity * PHOTOS_PER_PERSON)
        yield from draw_album(0, identity, wanted, size_px=SIZE_PX)


def copies(original: bytes) -> Iterator[tuple[str, bytes]]:
    """The copies of a file, each with its name."""
    stored: Picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    for quality in (30, 50, 75, 95):
        yield f"quality {quality}", encode_jpeg(stored, quality)
    for factor in (0.5, 0.75, 1.5, 2.0):
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        yield f"resized {factor:g}", encode_jpeg(cv2.resize(stored, None, fx=factor, fy=factor, interpolation=way), 90)
    for factor in (0.6, 0.8, 1.2, 1.35):
        yield f"brightness {factor:g}", encode_jpeg(np.clip(stored * factor, 0, 255).astype(np.uint8), 90)
    yield "mirrored", encode_jpeg(np.ascontiguousarray(stored[:, ::-1]), 90)


def ukbench(scratch: Path, data: Path) -> tuple[list[Path], Pairs]:
    """Whatever bears the number of a UKBench picture and can be decoded."""
    paths = [path for path in unpack(data / "imagededup.tar", scratch) if "ukbench" in path.name]
    decoded = [row["decode"] == DECODE_OK for row in facts(paths)]
    paths = [path for path, is_ok in zip(paths, decoded, strict=True) if is_ok]
    number = np.array([path.name.rpartition("ukbench")[2][:5] for path in paths])
    turned = np.array(["rotation" in path.name for path in paths])
    left, right = np.triu_indices(len(paths), 1)
    same = number[left] == number[right]
    either = turned[left] | turned[right]
    kinds = {"copies": same & ~either, "turned": same & (turned[left] != turned[right]), "different": ~same}
    return paths, {f"ukbench {kind}": np.stack([left[of], right[of]], axis=1) for kind, of in kinds.items()}


def orl(scratch: Path, data: Path) -> tuple[list[Path], Pairs]:
    paths = unpack(data / "orl.tar", scratch)
    person = np.array([path.name.split(",")[1] for path in paths])
    left, right = np.triu_indices(len(paths), 1)
    same = person[left] == person[right]
    kinds = {"one person, different photos": same, "two people": ~same}
    return paths, {f"orl {kind}": np.stack([left[of], right[of]], axis=1) for kind, of in kinds.items()}


def unpack(archive: Path, scratch: Path) -> list[Path]:
    """The pictures of an archive, in one folder: a member a/b.jpg becomes a,b.jpg."""
    paths = []
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content and not member.name.endswith((".pkl", ".svg")):
                paths.append(scratch / member.name.replace("/", ","))
                paths[-1].write_bytes(content.read())
    return sorted(paths)


def facts(paths: list[Path]) -> list[dict[str, object]]:
    rows = []
    for start in range(0, len(paths), BATCH):
        images = [path.read_bytes() for path in paths[start : start + BATCH]]
        rows += examine(images, PixelSettings()).to_pylist()
    return rows


def ours(paths: list[Path]) -> dict[str, Alike]:
    rows = facts(paths)
    settings = DedupSettings()
    digests = {row["pixel_digest"]: number for number, row in enumerate(rows)}
    signatures = Signatures(
        component=np.zeros(len(rows), dtype=np.int64),
        hash=np.array([list(row["hash"]) for row in rows], dtype=np.uint8),
        flipped=np.array([list(row["hash_flipped"]) for row in rows], dtype=np.uint8),
        hash_is_reliable=np.array([row["hash_quality"] >= settings.min_hash_quality for row in rows]),
        pixels=np.array([digests[row["pixel_digest"]] for row in rows]),
    )

    def within(distance: int) -> Alike:
        return lambda left, right: signatures.are_alike(left, signatures, right, distance)

    return {"default": within(settings.max_distance), "strict": within(STRICT)}


def peers(python: Path, scratch: Path, paths: list[Path]) -> dict[str, Alike]:
    script, listing = scratch / "peers.py", scratch / "names.json"
    script.write_text(_PEERS)
    listing.write_text(json.dumps([str(path) for path in paths]))
    told = subprocess.run([python, script, listing], capture_output=True, text=True, check=True).stdout
    line = next(line for line in told.splitlines() if line.startswith("HASHES "))
    hashes = np.array([list(bytes.fromhex(one)) for one in json.loads(line.removeprefix("HASHES "))], dtype=np.uint8)

    def distance(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.unpackbits(hashes[left] ^ hashes[right], axis=1).sum(axis=1)

    return {
        "imagededup": lambda left, right: distance(left, right) <= PEER_DISTANCE,
        "equal_phash": lambda left, right: distance(left, right) == 0,
    }


if __name__ == "__main__":
    main()
