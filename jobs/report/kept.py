"""The records of the kept pictures, streamed: decisions lie in another order, and neither need fit in memory."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from jobs.report.artefact import Artefact
from pipelines.records import IDENTITY, IMAGE_ID, KEPT, STATUS

Keys = NDArray[np.uint64]

# Hex digits of a sha256 that make 64 bits: two of 40 million pictures share them once in 20,000 collections.
_KEY_DIGITS = 16


def kept_records(records: Artefact, decisions: Artefact, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The named columns of every kept picture, once each, a piece at a time.

    Held in memory are 9 bytes per kept picture. Of equal bytes at most one row is kept, and the measurements of the
    others are the same; so the first of them that has an identity stands for the kept one.
    """
    is_kept = ds.field(STATUS) == KEPT
    keys = [np.empty(0, np.uint64), *(_keys(piece[IMAGE_ID]) for piece in decisions.scan([IMAGE_ID], where=is_kept))]
    kept_keys = np.sort(np.concatenate(keys))
    is_missing = np.ones(len(kept_keys), np.bool_)
    for piece in records.scan([IMAGE_ID, *columns], where=ds.field(IDENTITY).is_valid()):
        rows = _first_of_each(_keys(piece[IMAGE_ID]), kept_keys, is_missing)
        if len(rows):
            yield piece.select(list(columns)).take(pa.array(rows))


def _first_of_each(keys: Keys, kept_keys: Keys, is_missing: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The rows whose keys are kept_keys and still missing, the first of each key; they are then no longer missing."""
    places = np.searchsorted(kept_keys, keys)
    rows = np.flatnonzero(places < len(kept_keys))
    rows = rows[(kept_keys[places[rows]] == keys[rows]) & is_missing[places[rows]]]
    found, first = np.unique(places[rows], return_index=True)
    is_missing[found] = False
    return np.sort(rows[first])


def _keys(image_ids: pa.ChunkedArray) -> Keys:
    heads = pc.utf8_slice_codeunits(image_ids, 0, _KEY_DIGITS).combine_chunks()
    # All texts of an Arrow array lie in one buffer, and these have one length: no string is made per row.
    digits = heads.buffers()[2].to_pybytes()[: _KEY_DIGITS * len(heads)]
    return np.frombuffer(bytes.fromhex(digits.decode()), np.uint64)
