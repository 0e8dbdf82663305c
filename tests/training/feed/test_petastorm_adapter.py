"""Each expectation of petastorm's that today's pyarrow and numpy no longer meet, and that nobody else notices."""

import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipelines.columns import DATASET
from pipelines.settings import UserError
from training.feed.petastorm_adapter import TESTED, ParquetDataset, check_versions

# After the adapter, without which petastorm cannot be imported.
petastorm_reader, unischema, dataset_metadata = (
    import_module(f"petastorm.{name}") for name in ("reader", "unischema", "etl.dataset_metadata")
)
ROOT = Path(__file__).resolve().parents[3]


def in_a_process(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def dataset(tmp_path: Path) -> ParquetDataset:
    """Two files, of 3 and of 2 row groups."""
    paths = []
    for name, rows in (("one", 3), ("two", 2)):
        table = pa.table({"number": pa.array(range(rows), pa.int64()), "name": ["x"] * rows, "image": [b"y"] * rows})
        pq.write_table(table, tmp_path / name, row_group_size=1)
        paths.append(str(tmp_path / name))
    return petastorm_reader.pq.ParquetDataset(
        paths, filesystem=fs.LocalFileSystem(), validate_schema=False, metadata_nthreads=10, filters=None
    )


def test_row_groups_are_found_in_the_footers(dataset: ParquetDataset) -> None:
    found = [(Path(piece.path).name, piece.row_group) for piece in dataset_metadata.load_row_groups(dataset)]
    assert found == [("one", 0), ("one", 1), ("one", 2), ("two", 0), ("two", 1)]


def test_a_schema_is_inferred_with_the_types_that_numpy_has_renamed(dataset: ParquetDataset) -> None:
    fields = dataset_metadata.infer_or_load_unischema(dataset).fields
    types = {name: field.numpy_dtype for name, field in fields.items()}
    assert types == {"number": np.int64, "name": np.str_, "image": np.bytes_}


def test_no_column_of_our_datasets_is_left_out_nor_any_list_of_numbers(tmp_path: Path) -> None:
    lists = [pa.field("boxes", pa.list_(pa.float32())), pa.field("eyes", pa.list_(pa.float32(), 4))]
    schema = pa.schema([*DATASET, *lists])
    pq.write_table(schema.empty_table(), tmp_path / "shard")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a column that it does not know it warns
        found = dataset_metadata.infer_or_load_unischema(
            ParquetDataset([str(tmp_path / "shard")], fs.LocalFileSystem())
        )
    assert set(found.fields) == set(schema.names)


def test_what_petastorm_does_not_find_in_its_own_modules_is_what_everybody_finds() -> None:
    assert petastorm_reader.pq.read_metadata is pq.read_metadata
    assert unischema.np.int64 is np.int64


def test_nobody_else_sees_another_pyarrow_or_numpy() -> None:
    names = "sorted(set(dir(pyarrow)) | set(dir(pyarrow.lib)) | set(dir(pyarrow.parquet)) | set(dir(numpy)))"
    modules = "sorted(name for name in sys.modules if name.split('.')[0] in ('pyarrow', 'numpy'))"
    everything = "import sys, numpy, pyarrow, pyarrow.parquet, pyarrow.dataset, pandas, torch, training.feed"
    print_both = f"print([name for name in {names} if not name.startswith('__')], {modules})"
    before = in_a_process(f"{everything}; {print_both}")
    after = in_a_process(f"{everything}; import training.feed.petastorm_adapter; {print_both}")
    assert after == before
    assert "ParquetDataset" in before


def test_petastorms_own_hdfs_client_says_why_it_is_not_there() -> None:
    from petastorm import fs_utils

    with pytest.raises(UserError, match=r"HDFS client .*; give feed\.location an address of fsspec"):
        fs_utils.FilesystemResolver("hdfs://somewhere/data")


def test_older_versions_than_those_tested_are_refused_with_the_tested_ones() -> None:
    with pytest.raises(
        UserError, match=r"^pyarrow 16\.1\.0 is installed, and petastorm 0\.13\.1 was tested with pyarrow 17 to \d+; "
    ):
        check_versions({"pyarrow": "16.1.0", "numpy": "2.0.0"})


def test_tested_versions_pass_and_newer_ones_are_noted() -> None:
    first = {name: f"{versions[0]}.0.0" for name, versions in TESTED.items()}
    last = {name: f"{versions[1]}.9.1" for name, versions in TESTED.items()}
    newer = {name: f"{versions[1] + 1}.0.0" for name, versions in TESTED.items()}
    assert (check_versions(first), check_versions(last)) == ([], [])
    assert [note.split(" is installed")[0] for note in check_versions(newer)] == [
        f"{name} {version}" for name, version in newer.items()
    ]


def test_without_petastorm_one_line_has_the_command() -> None:
    script = """
import sys
sys.modules["petastorm"] = None
from training.feed.settings import FeedSettings
from pipelines.settings import UserError
try:
    import training.feed.reader
except UserError as error:
    print(error)
"""
    assert in_a_process(script) == "petastorm is not installed; run `ringmill install`"
