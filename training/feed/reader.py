"""Petastorm, driven by a plan: row groups come out in the order asked for, each exactly once, whatever the threads.

Petastorm 0.13.1's own pool and ventilator lose row groups at the end of an epoch, repeat one order every epoch and let
timing decide the order. Its Reader takes other ones, so what is kept is the frame (file system, schema, life cycle of
the pool) and what is replaced is the scheduling. Only here is petastorm imported.
"""

import contextlib
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.settings import UserError


def check_versions(pyarrow: str, numpy: str) -> None:
    """Refuse what petastorm 0.13.1 cannot work with, before it fails in words that name neither.

    Raises:
        UserError: pyarrow 15 or later (no legacy dataset), or numpy 2 or later (no np.string_).
    """
    for name, found, bound in (("pyarrow", pyarrow, 15), ("numpy", numpy, 2)):
        if int(found.split(".")[0]) >= bound:
            raise UserError(
                f"{name} {found} is installed, and petastorm 0.13.1 needs {name} < {bound}; run `make setup`"
            )


check_versions(version("pyarrow"), version("numpy"))

import pyarrow as pa  # noqa: E402  (fails obscurely where the check above speaks)
import pyarrow.parquet as pq  # noqa: E402
from petastorm import reader as petastorm_reader  # noqa: E402
from petastorm.fs_utils import get_filesystem_and_path_or_paths  # noqa: E402
from petastorm.workers_pool import EmptyResultError  # noqa: E402
from petastorm.workers_pool.ventilator import Ventilator  # noqa: E402
from petastorm.workers_pool.worker_base import WorkerBase  # noqa: E402

from pipelines import records  # noqa: E402

COLUMNS = [records.IMAGE_ID, records.LABEL, records.IMAGE, records.DIGEST]

REMEDY = "remove the dataset folder and run the shard stage again"

# Row groups that are read ahead of the one asked for, besides one per thread.
EXTRA_WINDOW = 2


@dataclass(frozen=True)
class Piece:
    """One row group of one shard, and which of its rows are wanted."""

    shard: Path
    row_group: int
    group_rows: int  # that the manifest promises
    first: int
    rows: int


class Rows:
    """The wanted rows of a row group, images still encoded; rows are counted from the piece's first."""

    def __init__(self, piece: Piece, table: pa.Table) -> None:
        self._piece = piece
        wanted = table.slice(piece.first, piece.rows)
        # Through numpy, since to_pylist takes ten times as long and holds the GIL.
        self.image_ids: list[str] = wanted.column(records.IMAGE_ID).to_numpy().tolist()
        self.labels: list[int] = wanted.column(records.LABEL).to_numpy().tolist()
        self._digests: list[int] = wanted.column(records.DIGEST).to_numpy().tolist()
        images = wanted.column(records.IMAGE).combine_chunks()
        _, offsets, data = images.buffers()
        begin = images.offset
        self._offsets = memoryview(offsets).cast("i")[begin : begin + piece.rows + 1]
        self._data = memoryview(data)

    def image(self, row: int) -> bytes:
        """The bytes of one image.

        Raises:
            UserError: they are not what was written.
        """
        data = bytes(self._data[self._offsets[row] : self._offsets[row + 1]])
        if zlib.crc32(data) != self._digests[row]:
            raise self.fault(row, "is not what was written (its digest differs)")
        return data

    def fault(self, row: int, what: str) -> UserError:
        """The error that names a row."""
        piece = self._piece
        place = f"row {piece.first + row} of row group {piece.row_group} ({records.IMAGE_ID} {self.image_ids[row]})"
        return UserError(f"{piece.shard}: {place} {what}; {REMEDY}")


class Reader(petastorm_reader.Reader):  # type: ignore[misc]
    """An iterator of `Rows`, one for each piece of the plan, in the plan's order.

    Holds at most ``threads + 2`` row groups that were not asked for yet.
    """

    def __init__(self, plan: Iterator[Piece], *, any_shard: Path, threads: int) -> None:
        self._plan = plan
        with warnings.catch_warnings(), _named(any_shard, "footer"):
            # pyarrow 14 announces the end of the interface that petastorm is built on.
            warnings.simplefilter("ignore", FutureWarning)
            filesystem, _ = get_filesystem_and_path_or_paths("file:///")  # petastorm does not decode a path in a URL
            # Petastorm reads the footer of every shard that it is told of. One suffices, for the schema: which row
            # groups there are is known from the manifest.
            super().__init__(
                filesystem,
                [str(any_shard)],
                schema_fields=COLUMNS,
                reader_pool=OrderedPool(threads),
                worker_class=RowGroupWorker,
                is_batched_reader=True,
            )

    def _create_ventilator(self, *_: object) -> Ventilator:
        pool = self._workers_pool
        return PlanVentilator(pool.ventilate, self._plan, window=pool.workers_count + EXTRA_WINDOW)

    def __exit__(self, *_: object) -> None:
        # Not the inherited one: it prints.
        self.stop()
        self.join()


class PlanVentilator(Ventilator):  # type: ignore[misc]
    """Hands out the plan in order, a window ahead of what was taken; has no thread, so nothing can race."""

    def __init__(self, ventilate: Callable[[Piece], None], plan: Iterator[Piece], *, window: int) -> None:
        super().__init__(ventilate)
        self._plan = plan
        self._window = window
        self._is_completed = False

    def start(self) -> None:
        for _ in range(self._window):
            self.processed_item()

    def processed_item(self) -> None:
        piece = next(self._plan, None)
        if piece is None:
            self._is_completed = True
        else:
            self._ventilate_fn(piece)

    def completed(self) -> bool:
        return self._is_completed

    def stop(self) -> None:
        self._is_completed = True


class OrderedPool:
    """A pool for petastorm whose results come in the order of the work, and whose errors come with them."""

    def __init__(self, threads: int) -> None:
        self.workers_count = threads
        self._pending: deque[Future[Any]] = deque()

    def start(self, worker_class: type[WorkerBase], worker_args: tuple[Any, ...], ventilator: Ventilator) -> None:
        self._worker_class = worker_class
        self._worker_args = worker_args
        self._ventilator = ventilator
        self._executor = ThreadPoolExecutor(self.workers_count, thread_name_prefix="feed-read")
        ventilator.start()

    def ventilate(self, piece: Piece) -> None:
        self._pending.append(self._executor.submit(self._work, piece))

    def get_results(self) -> Any:
        if not self._pending:
            raise EmptyResultError
        result = self._pending.popleft().result()
        self._ventilator.processed_item()
        return result

    def _work(self, piece: Piece) -> Any:
        results: list[Any] = []
        self._worker_class(0, results.append, self._worker_args).process(piece)
        return results[0]

    def stop(self) -> None:
        self._ventilator.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        self._executor.shutdown(wait=True)


class RowGroupWorker(WorkerBase):  # type: ignore[misc]
    """Reads one row group, only the columns of the feed, with the thread that it was given and no other."""

    @staticmethod
    def new_results_queue_reader() -> "_AsTheyCome":
        return _AsTheyCome()

    def process(self, piece: Piece) -> None:
        self.publish_func(Rows(piece, self._read(piece)))

    def _read(self, piece: Piece) -> pa.Table:
        filesystem = self.args[0]
        group = f"row group {piece.row_group}"
        with _named(piece.shard, group), filesystem.open(str(piece.shard)) as stream:
            table = pq.ParquetFile(stream).read_row_group(piece.row_group, columns=COLUMNS, use_threads=False)
        if table.num_rows != piece.group_rows:
            raise UserError(f"{piece.shard}: {group} has {table.num_rows} rows, not {piece.group_rows}; {REMEDY}")
        return table


@contextlib.contextmanager
def _named(shard: Path, part: str) -> Iterator[None]:
    """Turn what a missing or damaged file makes of pyarrow into one line with its name."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if not shard.exists():
            raise UserError(f"{shard} is missing, though the manifest names it; {REMEDY}") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{shard}: its {part} cannot be read ({reason}); {REMEDY}") from None


class _AsTheyCome:
    """Petastorm's last step, which would make named tuples of columns; ours are handed on as the worker made them."""

    batched_output = True

    def read_next(self, pool: OrderedPool, schema: object, ngram: object) -> Rows:
        try:
            rows: Rows = pool.get_results()
        except EmptyResultError:
            raise StopIteration from None
        return rows
