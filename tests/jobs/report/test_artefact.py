"""The oracle is pyarrow reading the whole files."""

import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest

from jobs.report.artefact import open_artefact, read_images
from pipelines.settings import UserError


def test_counts_are_those_of_the_rows(built):
    expected = Counter((row["status"], row.get("reason")) for row in built.rows)
    assert open_artefact(built.artefacts["decisions"]).count_by(["status", "reason"]) == expected


def test_files_that_the_manifest_does_not_name_are_not_read(built):
    folder = built.artefacts["decisions"]
    shutil.copy(folder / "rows/00000.parquet", folder / "rows/left-over.parquet")
    assert open_artefact(folder).count_by(["status"]).total() == len(built.rows)


def test_each_table_is_scanned_alone(built):
    pieces = open_artefact(built.artefacts["decisions"]).scan(["image_id", "reason"], table="rejected")
    scanned = sorted((row["image_id"], row["reason"]) for piece in pieces for row in piece.to_pylist())
    assert scanned == sorted((row["image_id"], row["reason"]) for row in built.rows if row["status"] != "kept")


def test_each_wanted_image_comes_with_its_bytes(built):
    wanted = {row["image_id"]: row["image"] for row in built.rows[::3]}
    assert read_images(open_artefact(built.artefacts["records"]), list(wanted)) == wanted


def test_row_groups_without_a_wanted_row_keep_their_images(built, monkeypatch):
    read = []
    plain = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, **how: read.append(how["row_groups"]) or plain(self, **how)
    )
    read_images(open_artefact(built.artefacts["records"]), [built.rows[1]["image_id"]])
    assert read == [[0]]


def test_an_unfinished_artefact_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="no finished artefact"):
        open_artefact(tmp_path)


def _rewrite(path, *, flip):
    """The same rows with checksums of their pages; the last byte of a column's pages is flipped."""
    pq.write_table(pq.read_table(path), path, write_page_checksum=True, compression="NONE")
    footer = pq.read_metadata(path).row_group(0)
    (chunk,) = (footer.column(at) for at in range(footer.num_columns) if footer.column(at).path_in_schema == flip)
    start = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["decisions", "records"])
def test_damage_in_a_page_that_is_read_is_named(built, kind):
    """In an artefact that is too large to be compared beforehand."""
    folder = built.artefacts[kind]
    path = folder / "rows/00000.parquet"
    _rewrite(path, flip="image_id")
    artefact = open_artefact(folder)
    read = {
        "decisions": lambda: list(artefact.scan(["image_id"])),
        "records": lambda: read_images(artefact, [built.rows[0]["image_id"]]),
    }
    with pytest.raises(UserError, match=rf"{path} is missing or was altered since it was written; remove {folder}"):
        read[kind]()


def test_a_picture_that_is_not_the_one_taken_in_is_not_shown(built):
    folder = built.artefacts["records"]
    path = folder / "rows/00000.parquet"
    table = pq.read_table(path)
    images = [b"another" if image else image for image in table["image"].to_pylist()]
    pq.write_table(table.set_column(table.column_names.index("image"), "image", [images]), path)
    with pytest.raises(UserError, match="was altered since it was taken in"):
        read_images(open_artefact(folder), table["image_id"].to_pylist())
