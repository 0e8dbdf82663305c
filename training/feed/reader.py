"""Petastorm, driven by a plan: row groups come out in the order asked for, each exactly once, whatever the threads.

Petastorm 0.13.1's own pool and ventilator lose row groups at the end of an epoch, repeat one order every epoch and let
timing decide the order. Its Reader takes other ones, so what is kept is the frame (file system, schema, life cycle of
the pool) and what is replaced is the scheduling.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

from pipelines.columns import STANDARD
from pipelines.settings import UserError
from training.feed.bad_rows import REMEDY
from training.feed.location import named_faults
from training.feed.petastorm_adapter import EmptyResultError, PetastormReader, Ventilator, WorkerBase
from training.feed.retry import with_retries
from training.feed.settings import RetrySettings
from training.feed.shards import Piece, Rows, Shard, Source, read_footer, read_row_group

# Row groups that are read ahead of the one asked for, besides one per thread.
EXTRA_WINDOW = 2


class Reader(PetastormReader):  # type: ignore[misc]
    """An iterator of `Rows`, one for each piece of the plan, in the plan's order.

    Holds at most ``threads + 2`` row groups that were not asked for yet.
    """

    def __init__(
        self,
        plan: Iterator[Piece],
        *,
        any_shard: Shard,
        threads: int,
        max_stall_seconds: float,
        source: Source = read_row_group,
    ) -> None:
        """Begin to read.

        Args:
            any_shard: of the dataset; its schema is that of all shards.
            max_stall_seconds: a row group that takes longer, once it is asked for, is an error.
            source: row-group source; it is called again after transient faults.
        """
        self._plan = plan
        self._source = source
        location = any_shard.location

        def begin() -> None:
            # Petastorm reads the footer of every shard that it is given. One suffices, for the schema: the row groups
            # are known from the manifest.
            with named_faults(location, any_shard.path, "footer", remedy=REMEDY):
                with location.open(any_shard.path) as stream:
                    read_footer(any_shard, stream)
                super(Reader, self).__init__(
                    location.filesystem,
                    [location.path_of(any_shard.path)],
                    schema_fields=list(STANDARD),
                    reader_pool=OrderedPool(threads, location.remote, max_stall_seconds=max_stall_seconds),
                    worker_class=RowGroupWorker,
                    is_batched_reader=True,
                )

        with_retries(begin, name=str(any_shard), settings=location.remote)

    def _create_ventilator(self, *_: object) -> Ventilator:
        pool = self._workers_pool
        tasks = ((self._source, piece) for piece in self._plan)
        return PlanVentilator(pool.ventilate, tasks, window=pool.workers_count + EXTRA_WINDOW)

    def __exit__(self, *_: object) -> None:
        # Not the inherited one: it prints.
        self.stop()
        self.join()


Task = tuple[Source, Piece]


class PlanVentilator(Ventilator):  # type: ignore[misc]
    """Hands out the plan in order, a window ahead of what was taken; has no thread, so nothing can race."""

    def __init__(self, ventilate: Callable[[Task], None], plan: Iterator[Task], *, window: int) -> None:
        super().__init__(ventilate)
        self._plan = plan
        self._window = window
        self._is_completed = False

    def start(self) -> None:
        for _ in range(self._window):
            self.processed_item()

    def processed_item(self) -> None:
        task = next(self._plan, None)
        if task is None:
            self._is_completed = True
        else:
            self._ventilate_fn(task)

    def completed(self) -> bool:
        return self._is_completed

    def stop(self) -> None:
        self._is_completed = True


class OrderedPool:
    """A pool for petastorm whose results come in the order of the work, and whose errors come with them.

    Its threads are daemons, since a read that hangs cannot be ended, and must not keep the process.
    """

    def __init__(self, threads: int, retries: RetrySettings, *, max_stall_seconds: float) -> None:
        self.workers_count = threads
        self._retries = retries
        self._max_stall_seconds = max_stall_seconds
        self._pending: deque[tuple[Piece, Future[Any]]] = deque()
        self._tasks: queue.SimpleQueue[tuple[Task, Future[Any]] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._has_stalled = False
        self._threads: list[threading.Thread] = []

    def start(self, worker_class: type[WorkerBase], worker_args: tuple[Any, ...], ventilator: Ventilator) -> None:
        self._worker_class = worker_class
        self._worker_args = worker_args
        self._ventilator = ventilator
        self._threads = [
            threading.Thread(target=self._run, name="feed-read", daemon=True) for _ in range(self.workers_count)
        ]
        for thread in self._threads:
            thread.start()
        ventilator.start()

    def ventilate(self, task: Task) -> None:
        future: Future[Any] = Future()
        self._pending.append((task[1], future))
        self._tasks.put((task, future))

    def get_results(self) -> Any:
        if not self._pending:
            raise EmptyResultError
        piece, future = self._pending.popleft()
        if not wait([future], timeout=self._max_stall_seconds).done:
            self._has_stalled = True
            raise UserError(
                f"{piece} gave nothing within feed.max_stall_seconds={self._max_stall_seconds:g}; "
                "see whether the store answers, or raise it"
            )
        result = future.result()
        self._ventilator.processed_item()
        return result

    def _run(self) -> None:
        while (item := self._tasks.get()) is not None:
            task, future = item
            if self._stopped.is_set():
                continue
            try:
                future.set_result(self._work(task))
            except BaseException as error:  # whatever it is, the consumer must not wait for ever
                future.set_exception(error)
            del item, task, future  # a row group must not live until the next one

    def _work(self, task: Task) -> Any:
        results: list[Any] = []
        worker = self._worker_class(0, results.append, self._worker_args)
        with_retries(lambda: worker.process(task), name=str(task[1]), settings=self._retries, pause=self._stopped.wait)
        return results[0]

    def stop(self) -> None:
        self._ventilator.stop()
        self._stopped.set()
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        # A read that hangs is left to itself.
        deadline = time.monotonic() + (0.0 if self._has_stalled else self._max_stall_seconds)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class RowGroupWorker(WorkerBase):  # type: ignore[misc]
    """Reads one row group, only the columns of the feed, with the thread that it was given and no other."""

    @staticmethod
    def new_results_queue_reader() -> "_RowsReader":
        return _RowsReader()

    def process(self, task: Task) -> None:
        source, piece = task
        self.publish_func(Rows(piece, source(piece)))


class _RowsReader:
    """The last step of petastorm, which would make named tuples of columns; ours hands on the rows of the worker."""

    batched_output = True

    def read_next(self, pool: OrderedPool, schema: object, ngram: object) -> Rows:
        try:
            rows: Rows = pool.get_results()
        except EmptyResultError:
            raise StopIteration from None
        return rows
