"""Rows that some ranks wrote and others read: every bit in its place."""

import pytest
import torch
from safetensors.torch import load_file

from pipelines.settings import UserError
from training.row_shards import RowShard, is_row_file, load_rows, merge_rows, write_rows

WEIGHT = torch.randn(11, 3)
VELOCITY = torch.randn(11, 3, dtype=torch.float64)


def shard_of(low, high, *, total=11):
    return RowShard(low, total, {"weight": WEIGHT[low:high].clone(), "velocity": VELOCITY[low:high].clone()})


def write_all(folder, ends):
    for rank, (low, high) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        path = write_rows(folder, shard_of(low, high), rank=rank, size=len(ends))
        assert is_row_file(path.name)


@pytest.mark.parametrize("written", [[11], [3, 6, 9, 11], [6, 11]])
@pytest.mark.parametrize("wanted", [[11], [4, 8, 11], [1, 2, 11]])
def test_any_division_reads_what_any_other_wrote(tmp_path, written, wanted):
    write_all(tmp_path, written)
    for low, high in zip([0, *wanted[:-1]], wanted, strict=True):
        into = shard_of(low, high)
        for table in into.tables.values():
            table.zero_()
        load_rows(tmp_path, into)
        assert torch.equal(into.tables["weight"], WEIGHT[low:high])
        assert torch.equal(into.tables["velocity"], VELOCITY[low:high])


@pytest.mark.parametrize("written", [[11], [3, 6, 9, 11]])
def test_the_merged_file_is_one_that_safetensors_reads(tmp_path, written):
    write_all(tmp_path, written)
    assert merge_rows(tmp_path, tmp_path / "centres.safetensors") == 11
    whole = load_file(tmp_path / "centres.safetensors")
    assert torch.equal(whole["weight"], WEIGHT)
    assert torch.equal(whole["velocity"], VELOCITY)


def test_other_tables_or_missing_rows_are_refused(tmp_path):
    write_rows(tmp_path, shard_of(0, 5), rank=0, size=2)
    with pytest.raises(ValueError, match="2 of 4 rows from 3 on"):
        load_rows(tmp_path, shard_of(3, 7))
    with pytest.raises(ValueError, match="11 rows there and 12 here"):
        load_rows(tmp_path, shard_of(0, 5, total=12))
    with pytest.raises(ValueError, match=r"rows of \[3\] there and \[2\] here"):
        load_rows(tmp_path, RowShard(0, 11, {"weight": torch.zeros(5, 2)}))
    with pytest.raises(ValueError, match="no table bias"):
        load_rows(tmp_path, RowShard(0, 11, {"bias": torch.zeros(5, 3)}))
    with pytest.raises(UserError, match="no whole set of centres"):
        merge_rows(tmp_path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
