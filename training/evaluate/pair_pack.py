"""Pairs in a verification pack, as InsightFace ships LFW, CFP-FP and AgeDB-30: see `pipelines.pack_file`."""

from pathlib import Path

import numpy as np

from pipelines.pack_file import read_pack
from pipelines.settings import UserError
from training.evaluate.pairs import PairSet, contiguous_folds, held


def load_pack(path: Path, *, folds: int) -> PairSet:
    """The pairs of a pack in its order, divided into contiguous folds, as the packs are laid out.

    Raises:
        UserError: the file is missing, holds anything but pairs, or its pickle names a function that pairs do not need.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"path={path} cannot be read ({error.strerror}); name a verification pack") from None
    images, verdicts = read_pack(content, path=str(path))
    pairs = np.arange(len(verdicts), dtype=np.int64)
    return PairSet(
        pictures=held([f"{path}[{place}]" for place in range(len(images))], images),
        left=2 * pairs,
        right=2 * pairs + 1,
        is_same=np.array(verdicts, dtype=bool),
        fold=contiguous_folds(len(verdicts), folds, place=str(path)),
        about=f"{len(verdicts):,} pairs of {path.name}, {folds} contiguous folds",
    )
