"""The command of spark-submit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.places.place import Command
from jobs.places.settings import PlaceSettings
from jobs.secret_values import is_secret

DAEMON = {"spark.python.daemon.module": "pipelines.spark_daemon"}
# A stage's log is read, and its progress is the driver's to show.
_CONF = {"spark.log.level": "WARN", "spark.ui.showConsoleProgress": "false", **DAEMON}
_LOCAL_CONF = {"spark.ui.enabled": "false"}
# Else Spark asks the network for the machine's name, which may be slow or wrong.
_LOCAL_ENV = {"SPARK_LOCAL_IP": "127.0.0.1"}


def submit_locally(settings: PlaceSettings, python: Path, script: Path, arguments: Sequence[str]) -> Command:
    """Run a script in a Spark of this machine."""
    return _submit(settings, python, script, arguments, conf=_LOCAL_CONF, env=_LOCAL_ENV)


def submit_to_cluster(
    settings: PlaceSettings, python: Path, script: Path, arguments: Sequence[str], *, executor_memory: str
) -> Command:
    """Run a script on the executors of a cluster."""
    options = ("--executor-memory", executor_memory)
    return _submit(settings, python, script, arguments, options=options)


def _submit(
    settings: PlaceSettings,
    python: Path,
    script: Path,
    arguments: Sequence[str],
    *,
    options: Sequence[str] = (),
    conf: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Command:
    argv = [str(python.parent / "spark-submit"), "--master", settings.master]
    argv += ["--driver-memory", settings.driver_memory, *options]
    # A setting and no variable, since Spark else takes spark.pyspark.python first, which only executors may have.
    driver = {"spark.pyspark.driver.python": str(python)}
    for key, value in {**_CONF, **driver, **(conf or {}), **settings.spark_conf}.items():
        # Everyone on this machine can read a command line; the job sets secrets itself (`jobs.spark_work`).
        if not is_secret(key):
            argv += ["--conf", f"{key}={value}"]
    given = {"PYSPARK_PYTHON": str(python), "PYTHONUNBUFFERED": "1", **(env or {})}
    return Command((*argv, str(script), *arguments), given, "spark")
