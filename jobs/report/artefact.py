"""The Parquet files of an artefact: columns streamed, counted and filtered, pixels read for single rows only."""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipelines import manifest
from pipelines.manifest import Manifest
from pipelines.pictures import check_pictures
from pipelines.records import IMAGE, IMAGE_ID, ROWS

# Pictures are large: so many rows at a time are held while one is looked for.
IMAGE_BATCH_ROWS = 32


_VERIFIED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


@dataclass(frozen=True)
class Artefact:
    """A finished artefact and what its manifest says."""

    folder: Path
    manifest: Manifest
    earlier: tuple["Artefact", ...] = ()  # of the same kind, whose rows count as its own

    def tables(self, prefix: str = "") -> list[Path]:
        """Its Parquet files below a folder of it."""
        names = (file.path for file in self.manifest.files)
        own = [self.folder / name for name in names if name.endswith(".parquet") and name.startswith(prefix)]
        return own + [path for one in self.earlier for path in one.tables(prefix)]

    def scan(
        self, columns: Sequence[str], *, where: ds.Expression | None = None, table: str = ROWS
    ) -> Iterator[pa.Table]:
        """The named columns of the rows of a table that fulfil a condition, a piece at a time."""
        paths = self.tables(f"{table}/")
        if paths:
            with self.naming_damage():
                for batch in ds.dataset(paths, format=_VERIFIED).to_batches(columns=list(columns), filter=where):
                    # Pieces whose rows were all filtered out come too, and pyarrow cannot sort nothing.
                    if len(batch):
                        yield pa.Table.from_batches([batch])

    @contextlib.contextmanager
    def naming_damage(self) -> Iterator[None]:
        """Turn errors of Arrow on files that are not what was written into one line with the file.

        Raises:
            UserError: a file of it is damaged.
        """
        try:
            yield
        except (OSError, pa.ArrowException):
            for one in (self, *self.earlier):
                manifest.verify(one.folder)
            raise

    def count_by(self, columns: Sequence[str]) -> Counter[tuple[Any, ...]]:
        """The number of rows of the main table by combination of values."""
        counts: Counter[tuple[Any, ...]] = Counter()
        for piece in self.scan(columns):
            grouped = piece.group_by(list(columns)).aggregate([([], "count_all")])
            keys = zip(*(grouped[column].to_pylist() for column in columns), strict=True)
            counts.update(dict(zip(keys, grouped["count_all"].to_pylist(), strict=True)))
        return counts


def open_artefact(folder: Path, earlier: Sequence[Path] = ()) -> Artefact:
    """Raises ``UserError`` where a folder holds no finished artefact."""
    return Artefact(folder, manifest.read(folder), tuple(map(open_artefact, earlier)))


def read_images(records: Artefact, image_ids: Collection[str]) -> dict[str, bytes]:
    """The bytes of a few records; of the others only the ids are read.

    Raises:
        UserError: one is not the picture that was taken in.
    """
    chosen = pa.array(sorted(image_ids), pa.string())
    images: dict[str, bytes] = {}
    with records.naming_damage():
        for path in records.tables(f"{ROWS}/"):
            file = pq.ParquetFile(path, page_checksum_verification=True)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=[IMAGE_ID])[IMAGE_ID]
                rows = pc.indices_nonzero(pc.is_in(ids, value_set=chosen)).to_pylist()
                new = {row: ids[row].as_py() for row in rows if ids[row].as_py() not in images}
                images |= {new[row]: image for row, image in _rows(file, group, sorted(new))}
    # Of what is too large to be a picture no bytes are kept.
    kept = {image_id: image for image_id, image in images.items() if image}
    check_pictures(kept.keys(), kept.values(), records=str(records.folder))
    return images


def _rows(file: pq.ParquetFile, group: int, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    start = 0
    remaining = list(rows)
    if not remaining:
        return
    for batch in file.iter_batches(batch_size=IMAGE_BATCH_ROWS, row_groups=[group], columns=[IMAGE]):
        while remaining and remaining[0] < start + len(batch):
            row = remaining.pop(0)
            yield row, batch[0][row - start].as_py()
        if not remaining:
            return
        start += len(batch)
