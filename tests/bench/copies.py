"""The share of copies that are found, and of different pictures that are taken for one.

    python tests/bench/copies.py --data /data [--photos 200] [--peers PYTHON]

- drawn: photos of `pipelines.sample`, each with planted copies: re-encoded, resized, brightened or darkened, mirrored,
  grey; and with other photos of the same person in the same pose before the same background: another expression,
  another light
- ukbench: imagededup.tar, whose file names say which files show one picture; what was turned is listed apart, since no
  such hash is made for it
- orl: orl.tar, 40 people with 10 different photos each, some nearly the same: none should be merged; and the copies of
  one photo of each

Ours as the stage of decisions compares stored hashes and thumbnails: at the defaults, at the strict distance, and by
the hashes alone. Beside it, run by a Python that has them (--peers): imagededup's 64-bit pHash within 10 bits (its
default) and equal ones (what cleanvision compares), PDQ within 31 bits at a quality of 50 (its own limits), plain and
mirrored, and the cosine of fastdup's features from 0.96 on (the default of its components). All pairs are compared, so
neither a search nor a chain of pairs has a part in this.

The last line is one JSON object. Goals at the defaults: recall 0.99 of the copies of each set; of the pairs of one
person, drawn or ORL, a fifth at most of what the hashes alone merge, and none of two people.
"""

import argparse
import dataclasses
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.dedup.settings import DedupSettings
from pipelines.dedup.signatures import CopyRule, Signatures
from pipelines.measure import examine
from pipelines.records import DECODE_OK
from pipelines.sample.album import draw_album
from pipelines.sample.drawing import draw_photo
from pipelines.sample.person import Person, draw_person
from pipelines.sample.planted_faults import encode_jpeg
from pipelines.sample.shot import Shot, take_shot
from pipelines.settings import PixelSettings

STRICT = 16
PEER_DISTANCE = 10
PDQ_DISTANCE, PDQ_QUALITY = 31, 50
FASTDUP_COSINE = 0.96
SIZE_PX = (112, 250)
PHOTOS_PER_PERSON = 10
BATCH = 64

Pairs = dict[str, NDArray[np.int64]]  # kind -> (K, 2) numbers of files
Alike = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
Picture = NDArray[np.uint8]

# Each of the tools that this Python has writes a file of its own.
_PEERS = """
import json, logging, os, sys
from pathlib import Path
from unittest.mock import MagicMock
import numpy as np
logging.disable(logging.CRITICAL)
os.environ["SENTRY_OPT_OUT"] = "1"
# Neural methods of imagededup, which are not measured, want a torchvision that fits torch to the letter.
sys.modules |= {f"imagededup.{name}": MagicMock() for name in ("methods.cnn", "utils.models")}
scratch = Path(sys.argv[1])
names = json.loads((scratch / "names.json").read_text())
try:
    from imagededup.methods import PHash
    hasher = PHash(verbose=False)
    hashes = [list(bytes.fromhex(hasher.encode_image(image_file=name))) for name in names]
    np.save(scratch / "imagededup.npy", np.array(hashes, dtype=np.uint8))
except ImportError as error:
    print(error)
try:
    import pdqhash
    from PIL import Image
    pictures = [np.array(Image.open(name).convert("RGB")) for name in names]
    found = [(*pdqhash.compute(one), pdqhash.compute(np.ascontiguousarray(one[:, ::-1]))[0]) for one in pictures]
    np.savez(scratch / "pdq.npz", plain=np.packbits([one[0] for one in found], axis=1),
             flipped=np.packbits([one[2] for one in found], axis=1), quality=[one[1] for one in found])
except ImportError as error:
    print(error)
try:
    import fastdup
    work = fastdup.create(work_dir=str(scratch / "fastdup"))
    work.run(annotations=None, input_dir=names, overwrite=True, print_summary=False)
    rows, features = work.embeddings()
    place = {Path(row).name: number for number, row in enumerate(rows)}
    np.save(scratch / "fastdup.npy", np.array([features[place[Path(name).name]] for name in names], dtype=np.float32))
except ImportError as error:
    print(error)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with imagededup.tar and orl.tar")
    parser.add_argument("--photos", type=int, default=200, help="that are drawn, each with 15 copies and 6 others")
    parser.add_argument("--peers", type=Path, help="a Python with any of imagededup, pdqhash and fastdup")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), options)
    for kind in sorted({kind for shares in found.values() for kind in shares}):
        print(f"{kind:28}", *(f"{way} {shares[kind]:9.5f}  " for way, shares in found.items()))
    print(json.dumps(found))


def measure(scratch: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Way of comparing -> kind of pair -> share of the pairs that it takes for one picture."""
    sets = [drawn(scratch / "drawn", options.photos), other_shots(scratch / "shots", options.photos)]
    if options.data:
        sets += [ukbench(scratch / "ukbench", options.data), orl(scratch / "orl", options.data)]
    found: dict[str, dict[str, float]] = {}
    for paths, pairs in sets:
        ways = ours(paths) | (peers(options.peers, paths) if options.peers else {})
        for kind, numbers in pairs.items():
            print(f"{kind}: {len(numbers)} pairs", flush=True)
            for way, alike in ways.items():
                found.setdefault(way, {})[kind] = round(float(alike(numbers[:, 0], numbers[:, 1]).mean()), 5)
    return found


def drawn(scratch: Path, count: int) -> tuple[list[Path], Pairs]:
    scratch.mkdir()
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


def other_shots(scratch: Path, count: int) -> tuple[list[Path], Pairs]:
    """Photos of people who keep their pose, each with three in another expression and three in another light."""
    scratch.mkdir()
    paths: list[Path] = []
    pairs: dict[str, list[tuple[int, int]]] = {}

    def save(person: Person, shot: Shot, number: int) -> int:
        picture = draw_photo(person, shot, np.random.default_rng([number, 1]))  # also decides on the background
        paths.append(scratch / f"{len(paths):06d}.jpg")
        paths[-1].write_bytes(encode_jpeg(picture, shot.camera.jpeg_quality))
        return len(paths) - 1

    for number in range(count):
        rng = np.random.default_rng([number, 0])
        person = draw_person(rng)
        shot = take_shot(rng, person, size_px=SIZE_PX)
        own = save(person, shot, number)
        for _ in range(3):
            other = take_shot(rng, person, size_px=SIZE_PX)
            for name, part in (("expression", other.expression), ("light", other.light)):
                pair = own, save(person, dataclasses.replace(shot, **{name: part}), number)
                pairs.setdefault(f"drawn, another {name}", []).append(pair)
    return paths, {name: np.array(listed) for name, listed in pairs.items()}


def photos(count: int) -> Iterator[tuple[Picture, int]]:
    for identity in range(-(-count // PHOTOS_PER_PERSON)):
        wanted = min(PHOTOS_PER_PERSON, count - identity * PHOTOS_PER_PERSON)
        yield from draw_album(0, identity, wanted, size_px=SIZE_PX)


def copies(original: bytes) -> Iterator[tuple[str, bytes]]:
    """The copies of a file, each with its name."""
    stored: Picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    for quality in (20, 30, 50, 75, 95):
        yield f"quality {quality}", encode_jpeg(stored, quality)
    for factor in (0.5, 0.75, 1.5, 2.0):
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        yield f"resized {factor:g}", encode_jpeg(cv2.resize(stored, None, fx=factor, fy=factor, interpolation=way), 90)
    for factor in (0.6, 0.8, 1.2, 1.35):
        yield f"brightness {factor:g}", encode_jpeg(np.clip(stored * factor, 0, 255).astype(np.uint8), 90)
    yield "grey", encode_jpeg(cv2.cvtColor(stored, cv2.COLOR_RGB2GRAY), 90)
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
    pairs = {f"orl {kind}": np.stack([left[of], right[of]], axis=1) for kind, of in kinds.items()}
    of_copies = []
    for first in np.unique(person, return_index=True)[1]:
        picture: Picture = cv2.cvtColor(cv2.imread(str(paths[first])), cv2.COLOR_BGR2RGB)
        for kind, copied in copies(encode_jpeg(picture, 95)):
            of_copies.append((first, len(paths)))
            paths.append(scratch / f"{paths[first].stem}-{kind}.jpg")
            paths[-1].write_bytes(copied)
    return paths, pairs | {"orl, all copies": np.array(of_copies)}


def unpack(archive: Path, scratch: Path) -> list[Path]:
    """The pictures of an archive, in one folder: a member a/b.jpg becomes a,b.jpg."""
    scratch.mkdir()
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
        thumbnail=np.arange(len(rows)),
        thumbnails=np.array([list(row["thumbnail"]) for row in rows], dtype=np.uint8).reshape(-1, 48, 48),
    )

    def within(distance: int, residual: float | None) -> Alike:
        rule = CopyRule(distance, residual)
        return lambda left, right: signatures.are_alike(left, signatures, right, rule)

    return {
        "default": within(settings.max_distance, settings.max_residual),
        "strict": within(STRICT, settings.max_residual),
        "hashes_alone": within(settings.max_distance, None),
    }


def peers(python: Path, paths: list[Path]) -> dict[str, Alike]:
    """The ways of the tools that this Python has."""
    scratch = paths[0].parent / "peers"
    scratch.mkdir()
    (scratch / "names.json").write_text(json.dumps([str(path) for path in paths]))
    (scratch / "peers.py").write_text(_PEERS)
    subprocess.run([python, scratch / "peers.py", scratch], check=True, cwd=scratch)
    ways: dict[str, Alike] = {}
    if (scratch / "imagededup.npy").is_file():
        hashes = np.load(scratch / "imagededup.npy")
        ways["imagededup"] = lambda left, right: bits(hashes[left], hashes[right]) <= PEER_DISTANCE
        ways["equal_phash"] = lambda left, right: bits(hashes[left], hashes[right]) == 0
    if (scratch / "pdq.npz").is_file():
        pdq = np.load(scratch / "pdq.npz")
        plain, flipped, is_good = pdq["plain"], pdq["flipped"], pdq["quality"] >= PDQ_QUALITY

        def by_pdq(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
            nearest = np.minimum(bits(plain[left], plain[right]), bits(flipped[left], plain[right]))
            close: NDArray[np.bool_] = (nearest <= PDQ_DISTANCE) & is_good[left] & is_good[right]
            return close

        ways["pdq"] = by_pdq
    if (scratch / "fastdup.npy").is_file():
        features = np.load(scratch / "fastdup.npy")
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        ways["fastdup"] = lambda left, right: (features[left] * features[right]).sum(axis=1) >= FASTDUP_COSINE
    return ways


def bits(left: Picture, right: Picture) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = _POPCOUNT[left ^ right].sum(axis=1, dtype=np.int64)
    return counts


_POPCOUNT = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


if __name__ == "__main__":
    main()
