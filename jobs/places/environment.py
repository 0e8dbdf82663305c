"""The environment of the stages, made from that of the driver by a table: variables of others are left out.

A variable that belongs to another Spark, another launcher of ranks or another Python changes what a stage does, or
stops it. Each line of the table says which variables are left out, where, and the setting or reason to know. Variables
that no line names stay as they are: credentials, certificates, proxies, CUDA_VISIBLE_DEVICES, the settings of NCCL.
The variables that a stage is given by its command (`Command.env`) come last and outweigh all of this.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from jobs.places import usable
from jobs.places.settings import LOCAL_HOSTS, ClusterSettings, PlaceSettings

Launcher = Literal["spark", "ranks", "local"]

ALL: tuple[Launcher, ...] = ("spark", "ranks", "local")


@dataclass(frozen=True)
class Rule:
    """One line of the table: variables that stages are not given."""

    patterns: tuple[str, ...]  # names, with * for any letters
    reason: str  # for the note
    launchers: tuple[Launcher, ...] = ALL
    except_for: tuple[str, ...] = ()  # names that stay all the same
    in_cluster: tuple[str, ...] = ()  # names that stay at a place of the kind cluster
    # The value that stays, of a value that is there: all of it, a part, or None for nothing.
    usable: Callable[[str, PlaceSettings], str | None] = lambda value, place: None


RULES: tuple[Rule, ...] = (
    Rule(
        ("SPARK_LOCAL_DIRS",),
        "is no folder that can be written",
        launchers=("spark",),
        usable=lambda value, place: value if isinstance(place, ClusterSettings) else usable.folders(value),
    ),
    Rule(
        ("SPARK_*", "PYSPARK_*"),
        "belongs to another Spark; use place.spark_conf",
        in_cluster=(
            *("SPARK_CONF_DIR", "SPARK_DIST_CLASSPATH", "SPARK_USER", "SPARK_LOCAL_IP", "SPARK_LOCAL_HOSTNAME"),
            *("SPARK_LOCAL_DIRS", "SPARK_PUBLIC_DNS"),
        ),
        except_for=("SPARK_LOCAL_DIRS",),
    ),
    Rule(
        ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "HADOOP_OPTS", "HADOOP_CLIENT_OPTS"),
        "would make Spark take paths of this machine for those of a cluster",
        launchers=("spark",),
        in_cluster=("HADOOP_CONF_DIR", "YARN_CONF_DIR", "HADOOP_OPTS", "HADOOP_CLIENT_OPTS"),
    ),
    Rule(
        ("JAVA_TOOL_OPTIONS", "*_JAVA_OPTIONS", "JDK_JAVAC_OPTIONS"),
        "changes every JVM; use place.spark_conf.spark.driver.extraJavaOptions",
        launchers=("spark",),
    ),
    Rule(
        ("JAVA_HOME",),
        "holds no Java that Spark can use, and the PATH does",
        launchers=("spark",),
        usable=lambda value, place: usable.java_home(value),
    ),
    Rule(
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK"),
        "belongs to another launcher of ranks",
    ),
    Rule(
        ("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_*", "PET_*"),
        "belongs to another launcher of ranks",
    ),
    Rule(
        ("HOROVOD_*",),
        "belongs to another launcher of ranks",
        except_for=(
            *("HOROVOD_GLOO_IFACE", "HOROVOD_GLOO_TIMEOUT_SECONDS", "HOROVOD_CYCLE_TIME", "HOROVOD_NUM_NCCL_STREAMS"),
            *("HOROVOD_LOG_*", "HOROVOD_TIMELINE*", "HOROVOD_STALL_*", "HOROVOD_SSH_*", "HOROVOD_START_TIMEOUT"),
        ),
    ),
    Rule(
        ("OMPI_*", "PMI_*", "PMIX_*", "PRTE_*", "MPI_*", "MV2_*", "I_MPI_*", "MPIR_*", "HYDRA_*", "HYDI_*"),
        "belongs to MPI",
    ),
    Rule(
        ("SLURM_*", "SLURMD_*", "SRUN_*", "LSB_*", "LSF_*", "JSM_*", "PALS_*", "ALPS_*", "FLUX_*", "PBS_*"),
        "belongs to a batch system",
    ),
    Rule(
        ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "HOROVOD_GLOO_IFACE"),
        "names no network interface of this machine",
        launchers=("ranks",),
        usable=lambda value, place: usable.interfaces(value, place),
    ),
    Rule(("LOGLEVEL", "TORCH_DISTRIBUTED_DEBUG"), "is read by torchrun and may stop it", launchers=("ranks",)),
    Rule(("TORCH_FORCE_*", "OPENCV_*"), "would change how files are read"),
    Rule(("TORCH_LOGS",), "may stop torch", launchers=("ranks", "local")),
    Rule(
        ("PATH",),
        "has no bash, which the scripts of Spark need",
        usable=lambda value, place: usable.path(value),
    ),
    Rule(
        ("*_NUM_THREADS", "*_MAX_THREADS", "MKL_THREADING_LAYER", "MKL_SERVICE_FORCE_INTEL", "MKL_DYNAMIC"),
        "is for the place to say; use place.threads_per_rank",
    ),
    Rule(
        ("PYTHONPATH",),
        "has a module in the place of one that is installed",
        usable=lambda value, place: usable.python_path(value),
    ),
    Rule(
        ("PYTHON*", "__PYVENV_LAUNCHER__"),
        "changes how Python works",
        except_for=(
            *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONHASHSEED"),
            *("PYTHONFAULTHANDLER", "PYTHONMALLOC", "PYTHONUNBUFFERED", "PYTHON_*"),
        ),
    ),
    Rule(("BASH_ENV", "SHELLOPTS", "BASHOPTS", "CDPATH", "POSIXLY_CORRECT"), "changes the scripts of Spark"),
    Rule(
        ("TMPDIR", "TMP", "TEMP"),
        "is no folder that can be written",
        usable=lambda value, place: usable.folders(value),
    ),
)

# Set for every stage. Names of files are UTF-8, in Python and in the JVM, whatever language the user speaks.
_SET = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
_SHELL_FUNCTION = "BASH_FUNC_*"  # many systems export some; they would replace commands in Spark's scripts


@dataclass(frozen=True)
class Environment:
    """The variables of a stage."""

    values: dict[str, str]
    overridden: dict[str, str] = field(default_factory=dict)  # variable that is left out or cut -> reason


def stage_environment(inherited: Mapping[str, str], launcher: Launcher, place: PlaceSettings) -> Environment:
    """The environment of the stages of one launcher.

    Args:
        inherited: that of the driver.
    """
    values, overridden = {}, {}
    for name, value in inherited.items():
        kept, reason = _kept(name, value, launcher, place)
        if kept is not None:
            values[name] = kept
        if reason is not None:
            overridden[name] = reason
    values.setdefault("PATH", os.defpath)
    values |= {**_SET, "OMP_NUM_THREADS": _threads(launcher, place), **_no_proxy(values, place)}
    # A variable that has the right value by chance is not worth a note.
    return Environment(values, {name: why for name, why in overridden.items() if values.get(name) != inherited[name]})


def note_overridden(environments: Mapping[Launcher, Environment]) -> list[str]:
    """One line on the variables that stages are not given; none where there is nothing to say."""
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted({k: v for one in environments.values() for k, v in one.overridden.items()}.items()):
        reasons.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)} ({reason})" for reason, names in reasons.items()]
    return [f"the stages run without these variables of the environment: {'; '.join(parts)}"] if parts else []


def _kept(name: str, value: str, launcher: Launcher, place: PlaceSettings) -> tuple[str | None, str | None]:
    """The value that a stage gets, if any, and the reason if it is another."""
    if fnmatchcase(name, _SHELL_FUNCTION):
        return None, None
    for rule in RULES:
        if launcher in rule.launchers and _matches(name, rule.patterns) and not _matches(name, rule.except_for):
            if isinstance(place, ClusterSettings) and _matches(name, rule.in_cluster):
                return value, None
            kept = rule.usable(value, place)
            return kept, None if kept == value or not value else rule.reason
    return value, None


def _threads(launcher: Launcher, place: PlaceSettings) -> str:
    """Threads for arithmetic; a task of Spark has one core."""
    return "1" if launcher == "spark" else str(place.threads_per_rank)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _no_proxy(values: Mapping[str, str], place: PlaceSettings) -> dict[str, str]:
    """The exceptions from a proxy, with this machine and the hosts of the ranks among them."""
    if not any(name.lower().endswith("_proxy") for name in values):
        return {}
    given = values.get("no_proxy") or values.get("NO_PROXY") or ""
    hosts = [*LOCAL_HOSTS, "::1", *(host for host, _ in place.slots)]
    names = dict.fromkeys([name.strip() for name in given.split(",") if name.strip()] + hosts)
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(names))
