"""Petastorm 0.13.1 on today's pyarrow and numpy: the parts of it that the feed builds on.

Petastorm's last release reads datasets through an interface that pyarrow removed in version 15 and names types as numpy
did before version 2. What it expects of the two is put into the names of its own modules, so nobody else sees a changed
pyarrow or numpy. Only here is petastorm imported, and only here is known what it expects:

- `pyarrow.filesystem`, while it is imported: `petastorm.utils` names a class of it
- `petastorm.hdfs.namenode`, while it is imported: it needs `pyarrow.hdfs`, `pyarrow.lib.ArrowIOError` and Python's
  distutils, and the feed opens its files itself
- `ParquetDataset` and `ParquetDatasetPiece` of `pyarrow.parquet`, as far as a Reader asks for them
- `np.string_` and `np.unicode_`, where it translates a schema
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipelines.requirements import missing_library
from pipelines.settings import UserError

# Major versions with which the tests of the feed passed: the first and the last.
TESTED = {"pyarrow": (17, 26), "numpy": (1, 2)}


def check_versions(found: Mapping[str, str]) -> list[str]:
    """Refuse versions that are older than those tested, and return a note on each newer one.

    Args:
        found: library -> its version.

    Raises:
        UserError: one is older.
    """
    notes = []
    for name, (first, last) in TESTED.items():
        tested = f"petastorm 0.13.1 was tested with {name} {first} to {last}"
        major = int(found[name].split(".")[0])
        if major < first:
            raise UserError(f"{name} {found[name]} is installed, and {tested}; run `pip install '{name}>={first}'`")
        if major > last:
            notes.append(f"{name} {found[name]} is installed, and {tested}; if the feed fails, install one of these")
    return notes


class ParquetDataset:
    """Parquet files, as petastorm asks for them; neither summary files nor partitions by folder are looked for.

    So no `_common_metadata` is opened either, in which petastorm keeps a pickled schema that could run code.
    """

    metadata = None
    common_metadata = None
    partitions = None

    def __init__(self, paths: Sequence[str], filesystem: fs.FileSystem, **_: object) -> None:
        self.fs = _FileSystem(filesystem)
        self.pieces = [ParquetDatasetPiece(path, self.fs.open) for path in paths]


class ParquetDatasetPiece:
    """A file of a dataset, or one of its row groups."""

    def __init__(self, path: str, open_file_func: Any, row_group: int | None = None, partition_keys: Any = ()) -> None:
        self.path = path
        self.row_group = row_group
        self.partition_keys = partition_keys
        self._open = open_file_func

    def get_metadata(self) -> "_Footer":
        """The footer."""
        with self._open(self.path) as stream:
            return _Footer(pq.read_metadata(stream))


class _Footer:
    """A footer in whose schema lists of a fixed size are plain lists, the only ones that petastorm knows."""

    def __init__(self, metadata: pq.FileMetaData) -> None:
        self.num_row_groups = metadata.num_row_groups
        self.schema = self
        self._schema = metadata.schema.to_arrow_schema()

    def to_arrow_schema(self) -> pa.Schema:
        fields = [
            field.with_type(pa.list_(field.type.value_type)) if pa.types.is_fixed_size_list(field.type) else field
            for field in self._schema
        ]
        return pa.schema(fields, self._schema.metadata)


class _FileSystem:
    """A file system of today's Arrow by the one method of the old ones that is called."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._filesystem = filesystem

    def open(self, path: str) -> pa.NativeFile:
        return self._filesystem.open_input_file(path)


def _module(name: str, **attributes: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(attributes)
    return module


def _view(module: ModuleType, **changed: Any) -> ModuleType:
    """A module that has some names of its own and all others of another one."""
    return _module(module.__name__, __getattr__=lambda name: getattr(module, name), **changed)


@contextmanager
def _importable(name: str, **attributes: Any) -> Iterator[None]:
    """Have imports find a module of that name, for as long as the context lasts."""
    sys.modules[name] = _module(name, **attributes)
    try:
        yield
    finally:
        del sys.modules[name]


class _Hdfs:
    """The place of petastorm's own clients of HDFS, which are written for an Arrow of the past."""

    def __init__(self, *_: object) -> None:
        raise UserError("petastorm's own HDFS client is not in use here; give feed.location an address of fsspec's")


def _adapt() -> None:
    """Import petastorm, and put into its modules what they expect of pyarrow and numpy."""
    clients = {"HdfsNamenodeResolver": _Hdfs, "HdfsConnector": _Hdfs}
    with (
        _importable("pyarrow.filesystem", LocalFileSystem=fs.LocalFileSystem),
        _importable("petastorm.hdfs.namenode", **clients),
    ):
        from petastorm import reader, unischema
        from petastorm.etl import dataset_metadata

    parquet = _view(pq, ParquetDataset=ParquetDataset, ParquetDatasetPiece=ParquetDatasetPiece)
    vars(reader)["pq"] = vars(dataset_metadata)["pq"] = parquet
    vars(unischema)["np"] = _view(np, string_=np.bytes_, unicode_=np.str_)


for _note in check_versions({name: version(name) for name in TESTED}):
    logging.getLogger(__name__).warning("%s", _note)
try:
    _adapt()
except ModuleNotFoundError as error:
    raise missing_library(error) from None

from petastorm.reader import Reader as PetastormReader  # noqa: E402  (after what it expects is there)
from petastorm.workers_pool import EmptyResultError  # noqa: E402
from petastorm.workers_pool.ventilator import Ventilator  # noqa: E402
from petastorm.workers_pool.worker_base import WorkerBase  # noqa: E402

__all__ = ["EmptyResultError", "PetastormReader", "Ventilator", "WorkerBase", "check_versions"]
