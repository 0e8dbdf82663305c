"""The process on every executor from which Spark forks its Python workers: Spark's own, without its costs per task.

- Before every task a worker calls `importlib.invalidate_caches()`, upon which Python reads the directory of pyspark.zip
  again, once for each package in it that is loaded: 0.13 s of CPU, as much as decoding 400 faces takes.
- After every task it collects garbage among all that was ever imported.
- Spark sends a task in small writes, each of which waits for the receipt of the one before (Nagle), and the kernel
  holds a receipt back for 40 ms unless told otherwise (delayed acknowledgement, RFC 1122).
- Every worker would import what decoding needs by itself, a second each, were it not loaded before the fork.

40 tasks that do nothing took 2.5 s on two cores with Spark's own daemon, and take 0.2 s with this. Spark starts this
module where `spark.python.daemon.module` names it, which needs this package to be installed on the executors and not
only sent along by --py-files.
"""

import gc
import importlib
import socket
import zipimport
from collections.abc import Callable

import cv2

_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)  # Linux has it

Worker = Callable[[socket.socket, bool], int]


def main() -> None:
    """Serve Spark until it closes the pipe."""
    # The archives on a worker's path are Spark's own and do not change while it runs.
    zipimport.zipimporter.invalidate_caches = _keep_cache  # type: ignore[method-assign]
    importlib.import_module("pipelines.ingest")
    # Every task has one core; OpenCV would take all of them in each.
    cv2.setNumThreads(1)
    # Reads the command line when it is imported.
    daemon = importlib.import_module("pyspark.daemon")
    daemon.worker = _acknowledging(daemon.worker)  # type: ignore[attr-defined]
    gc.freeze()  # what is loaded by now stays, so no collection need look at it
    daemon.manager()


def _keep_cache(self: zipimport.zipimporter) -> None:
    pass


def _acknowledging(work: Worker) -> Worker:
    """The function that does one task, on a connection that acknowledges at once."""

    def worker(connection: socket.socket, authenticated: bool) -> int:
        if _QUICK_ACK is not None and connection.family != socket.AF_UNIX:
            # For every task anew: the kernel falls back by itself.
            connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        return work(connection, authenticated)

    return worker


if __name__ == "__main__":
    main()
