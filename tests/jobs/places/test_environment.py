"""The environment of the stages: variables of other tools are left out, and stages start whatever was set."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.child import run_command
from jobs.faults.surroundings import Surroundings
from jobs.places.environment import Launcher, note_overridden, stage_environment
from jobs.places.place import open_place
from jobs.places.settings import ClusterSettings, LocalSettings, PlaceSettings

LOCAL = LocalSettings()
CLUSTER = ClusterSettings(master="yarn", hosts="a:4,b:4")

NUM_PARTS = 6
# Variables with values that stop a stage or change what it does, if it gets them. {folder} has files that do harm.
HOSTILE = {
    "SPARK_HOME": "/opt/another-spark",
    "SPARK_CONF_DIR": "{folder}/spark-conf",
    "SPARK_LOCAL_DIRS": "/proc/no-such-folder",
    "SPARK_LOCAL_IP": "203.0.113.7",
    "SPARK_LOCAL_HOSTNAME": "no-such-host.invalid",
    "SPARK_PUBLIC_DNS": "no-such-host.invalid",
    "SPARK_MASTER": "spark://no-such-host.invalid:7077",
    "SPARK_REMOTE": "sc://no-such-host.invalid:15002",
    "SPARK_CONNECT_MODE_ENABLED": "1",
    "SPARK_API_MODE": "connect",
    "SPARK_SUBMIT_OPTS": "-Xmx1k",
    "SPARK_LAUNCHER_OPTS": "-Xmx1k",
    "SPARK_DRIVER_MEMORY": "1m",
    "SPARK_EXECUTOR_MEMORY": "1m",
    "SPARK_TESTING": "1",
    "SPARK_PREPEND_CLASSES": "1",
    "SPARK_DIST_CLASSPATH": "/no/such.jar",
    "PYSPARK_PYTHON": "/no/such/python",
    "PYSPARK_DRIVER_PYTHON": "jupyter",
    "PYSPARK_DRIVER_PYTHON_OPTS": "notebook",
    "PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell",
    "PYSPARK_GATEWAY_PORT": "1",
    "PYSPARK_GATEWAY_SECRET": "x",
    "HADOOP_CONF_DIR": "{folder}/hadoop-conf",
    "YARN_CONF_DIR": "{folder}/hadoop-conf",
    "JAVA_TOOL_OPTIONS": "-javaagent:/no/such.jar",
    "_JAVA_OPTIONS": "-Xmx1k",
    "JDK_JAVA_OPTIONS": "-Xmx1k",
    "OPENJ9_JAVA_OPTIONS": "-Xmx1k",
    "JAVA_HOME": "/no/such/java",
    "PATH": "/no/such/folder",
    "OPENCV_IO_MAX_IMAGE_PIXELS": "10",
    "TORCH_LOGS": "no such log",
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "no-such-host.invalid",
    "MASTER_PORT": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RUN_ID": "another",
    "PET_NNODES": "7",
    "PET_NPROC_PER_NODE": "5",
    "HOROVOD_RANK": "1",
    "HOROVOD_SIZE": "2",
    "HOROVOD_CONTROLLER": "mpi",
    "HOROVOD_CPU_OPERATIONS": "ccl",
    "HOROVOD_GLOO_RENDEZVOUS_ADDR": "no-such-host.invalid",
    "HOROVOD_GLOO_RENDEZVOUS_PORT": "1",
    "HOROVOD_GLOO_IFACE": "nope0",
    "HOROVOD_HOSTNAME": "no-such-host.invalid",
    "HOROVOD_ELASTIC": "1",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
    "SLURM_PROCID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_JOB_ID": "3",
    "LSB_JOBID": "4",
    "GLOO_SOCKET_IFNAME": "nope0",
    "NCCL_SOCKET_IFNAME": "nope0",
    "LOGLEVEL": "verbose",
    "TORCH_DISTRIBUTED_DEBUG": "loud",
    "OMP_NUM_THREADS": "1000000",
    "MKL_NUM_THREADS": "many",
    "MKL_THREADING_LAYER": "none",
    "OPENBLAS_NUM_THREADS": "0",
    "PYTHONPATH": "{folder}/modules",
    "PYTHONHOME": "/no/such/python",
    "PYTHONSTARTUP": "/no/such/file.py",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "ascii",
    "PYTHONINSPECT": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONNOUSERSITE": "",
    "LANG": "C",
    "LC_ALL": "POSIX",
    "LC_CTYPE": "de_DE.ISO-8859-1",
    "BASH_ENV": "{folder}/exit.sh",
    "SHELLOPTS": "braceexpand:hashall:interactive-comments:nounset",
    "CDPATH": "/",
    "TMPDIR": "/no/such/folder",
    "http_proxy": "http://no-such-host.invalid:3128",
    "https_proxy": "http://no-such-host.invalid:3128",
    "all_proxy": "socks5://no-such-host.invalid:1080",
}

# Values that the users of each launcher need.
NEEDED = {
    "PATH": "/usr/bin:/opt/tools",
    "HOME": "/home/me",
    "CUDA_VISIBLE_DEVICES": "3",
    "AWS_SECRET_ACCESS_KEY": "k",
    "AWS_ROLE_ARN": "arn",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "KRB5CCNAME": "/tmp/krb5cc",
    "KRB5_CONFIG": "/etc/krb5.conf",
    "LD_LIBRARY_PATH": "/usr/lib",
    "NCCL_DEBUG": "INFO",
    "NCCL_IB_HCA": "mlx5",
    "HOROVOD_GLOO_TIMEOUT_SECONDS": "60",
    "HOROVOD_LOG_LEVEL": "info",
    "SSL_CERT_FILE": "/ca.pem",
    "PYTHON_VERSION": "3.11.9",
    "PYTHONDONTWRITEBYTECODE": "1",
}

SPARK_SCRIPT = """
import sys
from pipelines.session import build_session
from pyspark.sql import functions as F
spark = build_session("probe")
path = sys.argv[1] + "/Jos\\u00e9"
spark.range(6, numPartitions=2).mapInArrow(lambda batches: batches, "id long").write.mode("overwrite").parquet(path)
assert spark.read.parquet(path).agg(F.sum("id")).head()[0] == 15
spark.stop()
print("Jos\\u00e9 passed")
"""

RANK_MODULE = """
import sys
import torch
from training.comm.launch import open_comm
comm = open_comm("horovod")
assert comm.size == 2, comm.size
assert int(comm.allreduce(torch.tensor([1]), name="sum")) == 2
open(f"{sys.argv[1]}/rank{comm.rank}", "w").close()
comm.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files to which hostile variables point."""
    for name in ("modules", "modules/pipelines", "modules/numpy", "spark-conf", "hadoop-conf"):
        (tmp_path / name).mkdir()
    for package in ("pipelines", "numpy"):
        (tmp_path / "modules" / package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "modules" / "sitecustomize.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "spark-conf" / "spark-defaults.conf").write_text("spark.jars.packages no.such:package:1\n")
    (tmp_path / "spark-conf" / "spark-env.sh").write_text("exit 9\n")
    site = "<configuration><property><name>fs.defaultFS</name><value>hdfs://no-such-host.invalid</value></property>"
    (tmp_path / "hadoop-conf" / "core-site.xml").write_text(f"{site}</configuration>")
    (tmp_path / "exit.sh").write_text("exit 9\n")
    return tmp_path


def hostile(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    return {name: HOSTILE[name].format(folder=folder) for name in names}


def environment(
    launcher: Launcher, place: PlaceSettings = LOCAL, **variables: str
) -> tuple[dict[str, str], Mapping[str, str]]:
    made = stage_environment(variables, launcher, place)
    return made.values, made.overridden


@pytest.mark.parametrize("launcher", ["spark", "ranks", "local"])
def test_what_users_need_reaches_the_stages(launcher: Launcher) -> None:
    values, overridden = environment(launcher, **NEEDED)
    assert {name: values.get(name) for name in NEEDED} == NEEDED
    assert overridden == {}


def test_of_another_launcher_no_stage_gets_anything() -> None:
    foreign = {name: HOSTILE[name] for name in HOSTILE if name.startswith(("HOROVOD", "PMI", "OMPI", "SLURM", "PET"))}
    foreign |= {name: HOSTILE[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")}
    for launcher in ("spark", "ranks", "local"):
        values, overridden = environment(launcher, **foreign)
        left = foreign.keys() & values.keys()
        assert left <= {"HOROVOD_GLOO_IFACE"} - ({"HOROVOD_GLOO_IFACE"} if launcher == "ranks" else set())
        assert overridden.keys() == foreign.keys() - left


def test_a_cluster_keeps_the_files_that_say_where_it_is() -> None:
    given = {"HADOOP_CONF_DIR": "/etc/hadoop", "YARN_CONF_DIR": "/etc/yarn", "SPARK_CONF_DIR": "/etc/spark"}
    values, overridden = environment("spark", CLUSTER, **given, SPARK_HOME="/opt/spark", RANK="1")
    assert {name: values.get(name) for name in given} == given
    assert overridden.keys() == {"SPARK_HOME", "RANK"}
    values, overridden = environment("spark", LOCAL, **given)
    assert not given.keys() & values.keys()
    assert overridden.keys() == given.keys()


def test_what_is_left_out_is_one_note_with_the_reasons() -> None:
    made = {name: stage_environment({"SPARK_HOME": "/x", "RANK": "1"}, name, LOCAL) for name in ("spark", "ranks")}
    (note,) = note_overridden(made)
    assert note.startswith("the stages run without these variables of the environment: ")
    assert "RANK (belongs to another launcher of ranks)" in note
    assert "SPARK_HOME (belongs to another Spark; use place.spark_conf)" in note
    assert note_overridden({"local": stage_environment({"PATH": "/bin", "LANG": "de_DE.UTF-8"}, "local", LOCAL)}) == []


def test_only_folders_that_can_be_written_are_left(tmp_path: Path) -> None:
    given = f"{tmp_path},/proc/no-such-folder"
    values, overridden = environment("spark", SPARK_LOCAL_DIRS=given, TMPDIR=str(tmp_path))
    assert values["SPARK_LOCAL_DIRS"] == str(tmp_path)
    assert values["TMPDIR"] == str(tmp_path)
    assert overridden.keys() == {"SPARK_LOCAL_DIRS"}


def test_a_module_path_is_left_out_only_where_it_hides_something(folder: Path) -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "my_filesystem.py").touch()
    project = Path(__file__).resolve().parents[3]
    given = os.pathsep.join([str(project), str(folder / "modules"), str(folder / "plugins")])
    values, overridden = environment("ranks", PYTHONPATH=given)
    assert values["PYTHONPATH"] == os.pathsep.join([str(project), str(folder / "plugins")])
    assert overridden.keys() == {"PYTHONPATH"}


def test_a_network_interface_is_kept_where_it_exists_or_other_hosts_have_it() -> None:
    assert "GLOO_SOCKET_IFNAME" in environment("ranks", GLOO_SOCKET_IFNAME="lo")[0]
    assert "NCCL_SOCKET_IFNAME" in environment("ranks", NCCL_SOCKET_IFNAME="^docker,lo")[0]
    assert "NCCL_SOCKET_IFNAME" in environment("ranks", NCCL_SOCKET_IFNAME="=lo")[0]
    assert "GLOO_SOCKET_IFNAME" not in environment("ranks", GLOO_SOCKET_IFNAME="nope0")[0]
    assert "GLOO_SOCKET_IFNAME" in environment("ranks", LocalSettings(hosts="a:1,b:1"), GLOO_SOCKET_IFNAME="ib0")[0]


def test_java_home_stays_unless_the_path_has_a_better_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "JAVA_HOME" not in environment("spark", JAVA_HOME="/no/such/java")[0]
    (tmp_path / "bash").symlink_to("/bin/bash")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "JAVA_HOME" in environment("spark", JAVA_HOME="/no/such/java")[0], "the check of Java names it"


def test_a_path_without_the_tools_of_the_system_gets_them_at_its_end(tmp_path: Path) -> None:
    assert environment("spark", PATH=str(tmp_path))[0]["PATH"] == f"{tmp_path}{os.pathsep}{os.defpath}"
    assert environment("spark")[0]["PATH"] == os.defpath


def test_a_proxy_stays_and_is_not_asked_for_hosts_of_the_run() -> None:
    place = LocalSettings(hosts="a:1,b:1")
    values, _ = environment("ranks", place, http_proxy="http://proxy:3128", no_proxy="corp.example")
    assert values["http_proxy"] == "http://proxy:3128"
    assert values["no_proxy"] == values["NO_PROXY"] == "corp.example,localhost,127.0.0.1,::1,a,b"
    assert "no_proxy" not in environment("ranks", place)[0]


def start_both(folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Start a Spark stage and a ring of two ranks, with variables in the environment of the driver."""
    (folder / "probe.py").write_text(SPARK_SCRIPT)
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / "probe_rank.py").write_text(RANK_MODULE)
    project = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([project, str(folder / "plugins"), *filter(None, [variables.get("PYTHONPATH")])])
    for name, value in (variables | {"PYTHONPATH": path}).items():
        monkeypatch.setenv(name, value)
    place = open_place(LOCAL, python=Path(sys.executable))
    spark, ranks = (
        place.spark_command(folder / "probe.py", [str(folder)]),
        place.ring_command("probe_rank", [str(folder)]),
    )
    for command in (spark, ranks):
        log = folder / f"{command.launcher}.log"
        around = Surroundings(LOCAL, command.launcher, {})
        fault = run_command(place, command, log, around=around, timeout_seconds=120)
        assert fault is None, f"{fault}\n{log.read_text()}"
    assert "José passed" in (folder / "spark.log").read_text()
    assert (folder / "rank0").exists()
    assert (folder / "rank1").exists()


@pytest.mark.spark
@pytest.mark.parallel
def test_stages_start_with_all_hostile_variables_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_both(folder, monkeypatch, hostile(folder, tuple(HOSTILE)))


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parallel
@pytest.mark.parametrize("start", range(NUM_PARTS))
def test_stages_start_with_a_part_of_the_hostile_variables(
    start: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One variable may hide the effect of another, so parts are tried alone."""
    start_both(folder, monkeypatch, hostile(folder, tuple(HOSTILE)[start::NUM_PARTS]))
