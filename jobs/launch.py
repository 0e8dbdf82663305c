"""From a stage and a place to the command that runs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from jobs.place import PlaceSettings
from jobs.stages import Stage

DAEMON = {"spark.python.daemon.module": "pipelines.spark_daemon"}
# A stage's log is read, and its progress is the driver's to show.
_SPARK_CONF = {"spark.log.level": "WARN", "spark.ui.showConsoleProgress": "false", **DAEMON}


@dataclass(frozen=True)
class Command:
    """What to start, and what to add to its environment."""

    argv: tuple[str, ...]
    env: dict[str, str]


def command(stage: Stage, place: PlaceSettings, run_yaml: Path, *, python: Path, project: Path) -> Command:
    """The command of one stage.

    Args:
        python: the interpreter; spark-submit, horovodrun and torchrun lie beside it.
        project: the folder that holds jobs/.
    """
    # The name says which round and instance; without it the job does the first.
    which = () if stage.name == stage.verb else ("--stage", stage.name)
    tail = ("--run", str(run_yaml), *which)
    if stage.launcher == "spark":
        script = project / f"{stage.job.replace('.', '/')}.py"
        return Command((*_spark_submit(place, python), str(script), *tail), _spark_env(place, python))
    if stage.launcher == "ranks":
        return Command((*_rank_launcher(place, python), stage.job, *tail), _rank_env(place))
    if stage.launcher == "local":
        return Command((str(python), "-m", stage.job, *tail), {"PYTHONUNBUFFERED": "1"})
    assert_never(stage.launcher)


def _spark_submit(place: PlaceSettings, python: Path) -> tuple[str, ...]:
    argv = [str(python.parent / "spark-submit"), "--master", place.master, "--driver-memory", place.driver_memory]
    if not place.is_local_spark:
        argv += ["--executor-memory", place.executor_memory]
    # A setting and no variable, since Spark else takes spark.pyspark.python first, which only executors may have.
    confs = _SPARK_CONF | {"spark.pyspark.driver.python": str(python)}
    confs |= ({"spark.ui.enabled": "false"} if place.is_local_spark else {}) | place.spark_conf
    for key, value in confs.items():
        argv += ["--conf", f"{key}={value}"]
    return tuple(argv)


def _spark_env(place: PlaceSettings, python: Path) -> dict[str, str]:
    env = {"PYSPARK_PYTHON": str(python), "PYTHONUNBUFFERED": "1"}
    if place.is_local_spark:
        # Else Spark asks the network for the machine's name, which may be slow or wrong.
        env["SPARK_LOCAL_IP"] = "127.0.0.1"
    return env


def _rank_launcher(place: PlaceSettings, python: Path) -> tuple[str, ...]:
    ranks = str(place.num_ranks)
    if place.comm == "horovod":
        return (str(python.parent / "horovodrun"), "-np", ranks, "-H", place.hosts, "--gloo", str(python), "-m")
    if place.comm == "torch":
        # Without the dashes torchrun takes the job's --run for a short form of an option of its own.
        return (str(python.parent / "torchrun"), "--standalone", "--nproc-per-node", ranks, "-m", "--")
    return (str(python), "-m")


def _rank_env(place: PlaceSettings) -> dict[str, str]:
    env = {"OMP_NUM_THREADS": str(place.threads_per_rank), "PYTHONUNBUFFERED": "1"}
    if place.comm == "horovod":
        # Fused buffers depend on which gradients happen to be ready, and so does then the order of the sums.
        env["HOROVOD_FUSION_THRESHOLD"] = "0"
    return env
