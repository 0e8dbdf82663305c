"""The end of a RecordIO file and what may be missing there, by its last record, its index, InsightFace's header.

A .rec has no mark of its end. Cut between two records it looks whole, unless its index or its header tells of more.
"""

import os
import warnings
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipelines.arrays import IntArray
from pipelines.sources import storage
from pipelines.sources.entry import Break, Container

# InsightFace's header has the key of its first identity, and so the number of images before it, as a float32.
_MOST_ANNOUNCED = 1 << 24


@dataclass
class Found:
    """The findings of a scan in one file."""

    starts: "array[int]" = field(default_factory=lambda: array("q"))  # of the records
    num_images: int = 0
    end: int = 0  # of the last record, without its padding
    announced: int = 0  # images, by the header record
    is_broken: bool = False

    def add(self, start: int, end: int, *, has_image: bool, label: float) -> None:
        """Take note of a record; its label is the first, where it has several."""
        is_header = not self.starts and not has_image
        if is_header and 1 <= label < _MOST_ANNOUNCED and float(label).is_integer():
            self.announced = int(label) - 1
        self.starts.append(start)
        self.num_images += has_image
        self.end = end


def check(container: Container, found: Found) -> Iterator[Break]:
    """The parts that are missing at the end, and an index that does not fit; no record found is lost by either."""
    number = f"(records found: {len(found.starts):,})"
    if found.end % 4 and -(-found.end // 4) * 4 > container.num_bytes:
        reason = f"the file ends inside the padding of its last record; it may be incomplete {number}"
        yield Break(container.path, container.num_bytes, 0, reason)
    path, offsets, fault = _index(container.path)
    if fault:
        yield Break(path, 0, 0, f"{fault}; the records were found without it")
    mean = container.num_bytes // max(1, len(found.starts))
    fits = np.isin(offsets, np.frombuffer(found.starts, dtype=np.int64))
    wrong, behind = offsets[~fits], offsets[offsets >= container.num_bytes]
    # Of an index whose other offsets fit for the most part, those behind the end tell that the file was longer.
    was_cut = len(behind) > 0 and int(fits.sum()) > len(wrong) - len(behind)
    if was_cut:
        reason = f"{path} lists {len(behind):,} records behind its end; the file was cut {number}"
        yield Break(container.path, container.num_bytes, int(behind.max()) - container.num_bytes + mean, reason)
    elif len(wrong):
        reason = f"{len(wrong):,} of its {len(offsets):,} offsets, the first {wrong[0]:,}, are no record's start"
        yield Break(path, 0, 0, f"{reason}; the records were found without it")
    lacking = found.announced - found.num_images
    if lacking > 0 and not was_cut and not found.is_broken:
        reason = f"its header announces {found.announced:,} images, {lacking:,} more than there are; the file was cut"
        yield Break(container.path, container.num_bytes, lacking * mean, reason)


def _index(path: str) -> tuple[str, IntArray, str]:
    """The path of a file's index, its offsets (none without an index), and the reason that it cannot be used."""
    stem, _ = os.path.splitext(path)
    none: IntArray = np.empty(0, dtype=np.int64)
    for index_path in (f"{stem}.idx", f"{stem}.IDX"):
        try:
            with storage.open_binary(index_path) as stream:
                content = stream.read(storage.size_of(index_path))
        except OSError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's sign of a word that is no number
            try:
                return index_path, np.fromstring(content, dtype=np.int64, sep=" ").reshape(-1, 2)[:, 1], ""
            except (ValueError, DeprecationWarning):
                return index_path, none, "it is no list of keys and offsets"
    return "", none, ""
