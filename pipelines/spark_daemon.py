"""The process on every executor from which Spark forks its Python workers: Spark's own, with less cost per task.

- Before every task a worker calls `importlib.invalidate_caches()`, after which Python reads the directory of
  pyspark.zip again, once for each of its loaded packages: 0.13 s of CPU, as much as decoding 400 faces.
- After every task it collects garbage among all imported objects.
- Spark sends a task in small writes, each of which waits for the acknowledgement of the one before (Nagle), and the
  kernel delays an acknowledgement by 40 ms by default (RFC 1122).
- Every worker would import the libraries for decoding, a second each, if they were not loaded before the fork.

40 empty tasks took 2.5 s on two cores with Spark's own daemon, and take 0.2 s with this. Spark starts this module where
`spark.python.daemon.module` names it, which requires that the package is installed on the executors and not only sent
by --py-files.
"""

import gc
import importlib
import socket
import zipimport
from collections.abc import Callable

import cv2

_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)  # Linux only

Worker = Callable[[socket.socket, bool], int]


def main() -> None:
    """Serve Spark until it closes the pipe."""
    # The archives on a worker's path are Spark's own and do not change at run time.
    zipimport.zipimporter.invalidate_caches = _keep_cache  # type: ignore[method-assign]
    importlib.import_module("pipelines.ingest")
    # Every task has one core; OpenCV would use all cores in each.
    cv2.setNumThreads(1)
    # Imported late, since it reads the command line on import.
    daemon = importlib.import_module("pyspark.daemon")
    daemon.worker = _acknowledging(daemon.worker)  # type: ignore[attr-defined]
    gc.freeze()  # loaded modules stay, so the garbage collector need not visit them
    daemon.manager()


def _keep_cache(self: zipimport.zipimporter) -> None:
    pass


def _acknowledging(work: Worker) -> Worker:
    """Wrap the function that does one task, so that its connection acknowledges at once."""

    def worker(connection: socket.socket, authenticated: bool) -> int:
        if _QUICK_ACK is not None and connection.family != socket.AF_UNIX:
            # Set for every task, since the kernel resets it.
            connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        return work(connection, authenticated)

    return worker


if __name__ == "__main__":
    main()
