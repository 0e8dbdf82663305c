"""Row groups read one by one: their rows and pictures, and what is said of a file that is not what was written."""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.columns import DATASET
from pipelines.manifest import File, Manifest, describe, write
from pipelines.parquet import FILE, write_runs, write_table
from pipelines.settings import UserError
from training.feed.location import Location
from training.feed.shards import Piece, Rows, Shard, read_row_group, read_whole, row_groups

LAYOUT = [[4, 3], [1, 1, 5], [2]]


def read(plan: list[Piece]) -> list[Rows]:
    return [Rows(piece, read_row_group(piece)) for piece in plan]


def file_of(piece: Piece) -> Path:
    return Path(str(piece.shard))


def flip_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_part_of_a_row_group_has_only_its_rows(write_dataset: Callable[..., Any]) -> None:
    dataset = write_dataset(LAYOUT)
    whole = row_groups(Location(dataset.folder), "train")[4]
    (rows,) = read([whole.part(2, 2)])
    assert rows.image_ids == dataset.image_ids[11:13]
    assert rows.labels == [11, 12]
    assert [rows.image(row) for row in (0, 1)] == [dataset.images[name] for name in rows.image_ids]


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_cut_shard_is_named(write_dataset: Callable[..., Any], keep: int) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    file_of(pieces[2]).write_bytes(file_of(pieces[2]).read_bytes()[:keep])
    with pytest.raises(UserError, match=r"00001\.parquet: its row group 0 cannot be read") as raised:
        read(pieces)
    assert "\n" not in str(raised.value)


def test_a_row_group_of_another_size_than_promised_is_refused(write_dataset: Callable[..., Any]) -> None:
    pieces = row_groups(Location(write_dataset(LAYOUT).folder), "train")
    with pytest.raises(UserError, match=r"00000\.parquet: row group 0 has 4 rows, not 5"):
        read([Piece.whole(pieces[0].shard, 0, 5)])


def test_a_flipped_bit_in_an_image_is_found_and_named(write_dataset: Callable[..., Any]) -> None:
    dataset = write_dataset(LAYOUT)
    pieces = row_groups(Location(dataset.folder), "train")
    victim = dataset.image_ids[12]
    place = file_of(pieces[2]).read_bytes().index(dataset.images[victim])
    flip_bit(file_of(pieces[2]), place + 200)
    rows = read(pieces)[4]
    with pytest.raises(
        UserError, match=rf"00001\.parquet: row 3 of row group 2 \(image_id {victim}\) is not what was written"
    ):
        rows.image(3)
    assert rows.image(2) == dataset.images[dataset.image_ids[11]]


@pytest.mark.parametrize("seed", range(8))
def test_a_bit_flipped_anywhere_in_the_pictures_is_found_and_the_shard_named(tmp_path: Path, seed: int) -> None:
    """The shard is written as the shard stage writes it, and read as the feed reads it."""
    rng = np.random.default_rng(seed)
    images = [rng.bytes(int(size)) for size in rng.integers(1, 4_000, 12)]
    ids = [hashlib.sha256(image).hexdigest() for image in images]
    columns = [ids, list(range(12)), images, [zlib.crc32(image) for image in images]]
    file = write_table(pa.table(columns, schema=DATASET), tmp_path, "train/000000")
    shard = tmp_path / file.path
    named = Shard(Location(tmp_path), file.path, file.num_bytes, file.sha256)
    piece = Piece.whole(named, 0, 12)
    (whole,) = read([piece])
    assert [whole.image(row) for row in range(12)] == images
    content = shard.read_bytes()
    for row in rng.permutation(12):
        place = content.index(images[row]) + int(rng.integers(len(images[row])))
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        shard.write_bytes(damaged)
        (rows,) = read([piece])
        with pytest.raises(UserError, match=rf"^{shard}: row {row} of row group 0 .*{ids[row]}.* is not what was"):
            rows.image(row)
        assert [rows.image(other) for other in range(12) if other != row] == images[:row] + images[row + 1 :]


def test_no_byte_of_a_shard_changes_what_is_trained_on(tmp_path: Path) -> None:
    """As the stage writes it: pages, their heads, dictionaries, the footer; of every byte one bit."""
    rng = np.random.default_rng(0)
    images = [rng.bytes(int(size)) for size in rng.integers(5, 40, 14)]
    ids = [hashlib.sha256(image).hexdigest() for image in images]
    columns = [ids, rng.integers(0, 4, 14).tolist(), images, [zlib.crc32(image) for image in images]]
    rows = pa.table(columns, schema=DATASET).append_column(FILE, pa.array(["train/0"] * 14))
    (file,) = write_runs(rows.to_batches(), tmp_path, schema=DATASET, rows_per_group=8, with_digests=True)
    write_manifest(tmp_path, (file,))
    pieces = row_groups(Location(tmp_path), "train")

    def fed() -> list[Any]:
        groups = read(pieces)
        return [
            (rows.image_ids, rows.labels, [bytes(rows.image(row)) for row in range(rows.piece.rows)]) for rows in groups
        ]

    path, whole = tmp_path / file.path, fed()
    content = path.read_bytes()
    num_refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = fed()
        except UserError:
            num_refused += 1
        else:
            assert found == whole, f"byte {position}"
    assert num_refused > len(content) / 2, "the rest are numbers that no reader uses"


def test_a_damaged_label_is_named_before_it_is_trained_on(tmp_path: Path) -> None:
    """A column that was written anew, so that all checksums of the format are right."""
    columns = [["a", "b"], [0, 1], [b"1", b"2"], [zlib.crc32(b"1"), zlib.crc32(b"2")]]
    table = pa.table(columns, schema=DATASET)
    rows = table.append_column(FILE, pa.array(["train/0"] * 2))
    (file,) = write_runs(rows.to_batches(), tmp_path, schema=DATASET, rows_per_group=2, with_digests=True)
    named = Shard(Location(tmp_path), file.path, file.num_bytes, file.sha256)
    piece = Piece.whole(named, 0, 2, file.row_groups[0].digests)
    read([piece])
    write_table(table.set_column(1, DATASET.field("label"), pa.array([0, 0])), tmp_path, "train/0")
    with pytest.raises(
        UserError, match=r"row group 0: its column label is not what was written .*; remove the dataset"
    ):
        read([piece])


def test_a_small_file_is_compared_with_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"labels")
    write_manifest(tmp_path, (describe(tmp_path, tmp_path / "labels.parquet"),))
    assert read_whole(Location(tmp_path), "labels.parquet") == b"labels"
    (tmp_path / "labels.parquet").write_bytes(b"Labels")
    with pytest.raises(UserError, match=r"labels\.parquet is missing or was altered"):
        read_whole(Location(tmp_path), "labels.parquet")
    (tmp_path / "labels.parquet").unlink()
    with pytest.raises(UserError, match=r"labels\.parquet is missing or was altered"):
        read_whole(Location(tmp_path), "labels.parquet")


def write_manifest(folder: Path, files: tuple[File, ...]) -> None:
    content = {"parents": {}, "settings": {}, "code_version": "", "counts": {}}
    write(folder, Manifest(kind="dataset", fingerprint="d", files=files, **content))
