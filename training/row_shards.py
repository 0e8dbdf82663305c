"""Tables whose rows the ranks share out, on disk: each rank writes its own, any number of ranks reads what it needs.

A file is plain safetensors with equally many rows of every table; its metadata says which is the first, of how many.
"""

import contextlib
import fnmatch
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.durable import sync
from pipelines.settings import UserError

PATTERN = "rows-*.safetensors"

_ROWS_AT_ONCE = 65536
_DTYPE_NAMES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class RowShard:
    """Rows ``first`` to ``first + len`` of tables that have ``total`` rows each."""

    first: int
    total: int
    tables: dict[str, Tensor]  # name -> (rows, ...), equally many rows in each

    def __len__(self) -> int:
        return len(next(iter(self.tables.values())))


def is_row_file(name: str) -> bool:
    """True for the name of a file of rows."""
    return fnmatch.fnmatch(name, PATTERN)


def write_rows(folder: Path, shard: RowShard, *, rank: int, size: int) -> Path:
    """Write the rows of one rank into a file of its own, and return its path."""
    path = folder / f"rows-{rank:05d}-of-{size:05d}.safetensors"
    tables = {name: table.detach().cpu().contiguous() for name, table in shard.tables.items()}
    save_file(tables, path, metadata={"first": str(shard.first), "total": str(shard.total)})
    return path


def load_rows(folder: Path, into: RowShard) -> None:
    """Fill the tables, in place, with their rows from the files of a folder, however those were shared out.

    Raises:
        ValueError: the files hold other tables, or another number of rows.
    """
    num_found = 0
    with _opened(folder) as pieces:
        for piece in pieces:
            if piece.total != into.total:
                raise ValueError(f"the tables have {piece.total} rows there and {into.total} here")
            low, high = max(piece.first, into.first), min(piece.first + piece.rows, into.first + len(into))
            if low >= high:
                continue
            for name, table in into.tables.items():
                part = piece.read(name, low, high)
                if part.shape[1:] != table.shape[1:]:
                    raise ValueError(
                        f"{name} has rows of {list(part.shape[1:])} there and {list(table.shape[1:])} here"
                    )
                table[low - into.first : high - into.first].copy_(part)
            num_found += high - low
    if num_found != len(into):
        raise ValueError(f"{num_found} of {len(into)} rows from {into.first} on are there")


def merge_rows(folder: Path, out: Path) -> int:
    """Join the files of a folder into one safetensors file of whole tables; return their number of rows.

    Rows are copied a few at a time, so that tables larger than the memory pass through.

    Raises:
        UserError: the folder holds no such rows, or not all of them.
    """
    with _opened(folder) as pieces:
        pieces.sort(key=lambda piece: piece.first)
        ends = [piece.first + piece.rows for piece in pieces]
        if not pieces or [piece.first for piece in pieces] != [0, *ends[:-1]] or ends[-1] != pieces[0].total:
            raise UserError(f"{folder} holds no whole set of centres; name a run whose objective is sharded")
        staged = out.with_name(f".{out.name}.{os.getpid()}")
        with staged.open("wb") as stream:
            stream.write(_header(pieces))
            for name in pieces[0].names:
                for piece in pieces:
                    for low in range(piece.first, piece.first + piece.rows, _ROWS_AT_ONCE):
                        high = min(low + _ROWS_AT_ONCE, piece.first + piece.rows)
                        stream.write(piece.read(name, low, high).contiguous().view(torch.uint8).numpy().data)
        sync(staged)
        staged.replace(out)
        sync(out.parent)
    return ends[-1]


class _Piece:
    """One opened file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        about = file.metadata()
        self.first, self.total = int(about["first"]), int(about["total"])
        self.names = sorted(file.keys())
        self.rows: int = file.get_slice(self.names[0]).get_shape()[0]

    def read(self, name: str, low: int, high: int) -> Tensor:
        """Rows of a table, numbered as in the whole of it."""
        if name not in self.names:
            raise ValueError(f"there is no table {name} there")
        part: Tensor = self._file.get_slice(name)[low - self.first : high - self.first]
        return part


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[list[_Piece]]:
    with contextlib.ExitStack() as stack:
        paths = sorted(folder.glob(PATTERN))
        yield [_Piece(stack.enter_context(safe_open(path, framework="pt"))) for path in paths]


def _header(pieces: list[_Piece]) -> bytes:
    """The head of a safetensors file: its length in 8 bytes, then JSON that says where each tensor lies."""
    tensors, start = {}, 0
    for name in pieces[0].names:
        row = pieces[0].read(name, 0, 1)
        end = start + pieces[0].total * row.numel() * row.element_size()
        shape = [pieces[0].total, *row.shape[1:]]
        tensors[name] = {"dtype": _DTYPE_NAMES[row.dtype], "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
