"""The baseline of Turk and Pentland (1991): project grey pictures on their principal components, compare by cosine.

    python tests/bench/eigenfaces.py --dataset STORE/dataset/FINGERPRINT --pairs lfw.tar
    python tests/bench/eigenfaces.py --source faces.tar --source-crop 0.9 --pairs lfw.tar --crop 0.6

A trained model is worth its training only where it beats this on the same pairs and folds. The components come from the
training pictures alone; no label is used. The last line is one JSON object. Not as in the paper: components are scaled
to variance 1 (--whiten), and a picture's projection is summed with that of its mirror image.
"""

import argparse
import json
import tarfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from pipelines import manifest
from training.evaluate.pair_pack import load_pack
from training.evaluate.pairs_txt import load_pairs_txt
from training.evaluate.verification import verify
from training.feed.decode import centre_box, jpeg_size, render
from training.feed.settings import DecodeSettings

GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm")
FARS = (0.1, 0.01, 0.001)


def main() -> None:
    options = _options()
    started = time.perf_counter()
    training = _greys(_training_pictures(options), DecodeSettings(size_px=options.size, crop=options.source_crop))
    components = min(options.components, *training.shape)
    faces = PCA(components, whiten=options.whiten, svd_solver="randomized", random_state=0).fit(training)
    pairs = load_pack(options.pairs, folds=10) if options.pairs.suffix == ".bin" else load_pairs_txt(options.pairs)
    shown = _greys(pairs.pictures.read(0, len(pairs.pictures)), DecodeSettings(size_px=options.size, crop=options.crop))
    mirrored = shown.reshape(-1, options.size, options.size)[:, :, ::-1].reshape(len(shown), -1)
    result = verify(pairs, faces.transform(shown) + faces.transform(mirrored), fars=FARS)
    figures = {
        "accuracy": result.accuracy,
        "accuracy_std": result.accuracy_std,
        "auc": result.auc,
        "tar_at_far": result.tar_at_far,
        "pairs": result.pairs,
        "training_pictures": len(training),
        "components": components,
        "variance_explained": round(float(faces.explained_variance_ratio_.sum()), 4),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", type=Path, help="training pictures: the train split of a dataset artefact")
    source.add_argument("--source", type=Path, help="training pictures: every picture of a tar")
    parser.add_argument("--source-crop", type=float, default=1.0, help="centre of the training pictures that is shown")
    parser.add_argument("--pairs", type=Path, required=True, help="folder or tar with pairs.txt, or a pack (.bin)")
    parser.add_argument("--crop", type=float, default=1.0, help="centre of the compared pictures that is shown")
    parser.add_argument("--size", type=int, default=64, help="side in pixels")
    parser.add_argument("--components", type=int, default=128)
    parser.add_argument("--whiten", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def _training_pictures(options: argparse.Namespace) -> Iterator[bytes]:
    if options.source:
        return _from_tar(options.source)
    return _from_dataset(options.dataset)


def _from_dataset(folder: Path) -> Iterator[bytes]:
    for file in manifest.read(folder).files:
        if file.path.startswith("train/"):
            for batch in pq.ParquetFile(folder / file.path).iter_batches(batch_size=256, columns=["image"]):
                yield from batch["image"].to_pylist()


def _from_tar(path: Path) -> Iterator[bytes]:
    with tarfile.open(path, "r|*") as tar:
        for member in tar:
            if member.isreg() and member.name.lower().endswith(PICTURE_SUFFIXES):
                stream = tar.extractfile(member)
                assert stream is not None
                yield stream.read()


def _greys(images: Iterable[bytes], settings: DecodeSettings) -> NDArray[np.float32]:
    """(N, S * S): grey levels of mean 0 and deviation 1 in every picture, so that light counts less.

    Raises:
        pipelines.pixels.DecodeError: a picture is broken.
    """
    picture = np.empty((settings.size_px, settings.size_px, 3), np.uint8)
    rows = []
    for image in images:
        size = jpeg_size(image, settings.limits)
        render(image, picture, size, partial(centre_box, settings=settings), limits=settings.limits)
        grey = (picture @ GREY_WEIGHTS).reshape(-1)
        rows.append((grey - grey.mean()) / (grey.std() + 1e-6))
    return np.stack(rows, dtype=np.float32, casting="same_kind")


if __name__ == "__main__":
    main()
