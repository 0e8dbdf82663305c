"""The process on every executor from which Spark forks its Python workers: Spark's own, with three costs taken out.

Before every task a worker calls `importlib.invalidate_caches()`, upon which Python reads the directory of pyspark.zip
again, once for each package in it that is loaded: 0.13 s of CPU a task, as much as decoding 400 faces takes. After
every task it collects garbage among all that was ever imported. And every worker would import what decoding needs by
itself, a second each, were it not loaded before the fork.

Spark starts this module where `spark.python.daemon.module` names it, which needs this package to be installed on the
executors and not only sent along by --py-files.
"""

import gc
import importlib
import zipimport

import cv2


def main() -> None:
    """Serve Spark until it closes the pipe."""
    # The archives on a worker's path are Spark's own and do not change while it runs.
    zipimport.zipimporter.invalidate_caches = _keep_cache  # type: ignore[method-assign]
    importlib.import_module("pipelines.ingest")
    # Every task has one core; OpenCV would take all of them in each.
    cv2.setNumThreads(1)
    gc.freeze()  # what is loaded by now stays, so no collection need look at it
    # Reads the command line when it is imported.
    importlib.import_module("pyspark.daemon").manager()


def _keep_cache(self: zipimport.zipimporter) -> None:
    pass


if __name__ == "__main__":
    main()
