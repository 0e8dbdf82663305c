"""The settings of a place, by its kind. A place never changes what the stages make, so it enters no fingerprint."""

import os
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.kinds import Kind, Kinds
from pipelines.settings import Settings

MEMORY_PATTERN = r"^[1-9][0-9]*[mgt]$"
LOCAL_HOSTS = ("localhost", "127.0.0.1")
_HOST = re.compile(r"^[A-Za-z0-9._-]+:[1-9][0-9]*$")
_LOCAL_MASTER = re.compile(r"^local(\[([0-9]+|\*)(,[0-9]+)?\])?$")
_CLUSTER_MASTER = re.compile(r"^(spark://|k8s://|yarn$|local-cluster\[[0-9]+,[0-9]+,[0-9]+\]$)")

CommKind = Literal["horovod", "torch", "local"]
Slots = tuple[tuple[str, int], ...]  # (host, number of ranks that it has room for)


class PlaceSettings(Settings):
    """Settings that every place has: Spark's master and memory, and the driver's patience."""

    kind: str
    master: str  # of Spark
    driver_memory: str = Field(default="2g", pattern=MEMORY_PATTERN)  # of Spark's driver; a local master has no other
    cores: int | None = Field(default=None, ge=1)  # of Spark in all; only `plan` asks. null = as the master says, or 1
    spark_conf: dict[str, str] = Field(default={})  # further --conf of spark-submit
    comm: CommKind  # library by which the ranks talk
    threads_per_rank: int = Field(default=1, ge=1, le=1024)  # for arithmetic; the feed has its own
    # Further attempts at a stage that failed through no mistake of the user.
    retries: int = Field(default=1, ge=0, le=10)
    stage_timeout_seconds: float | None = Field(default=None, gt=0)  # per attempt; null = none

    @field_validator("master")
    @classmethod
    def _master_is_of_this_machine(cls, master: str) -> str:
        if not _LOCAL_MASTER.match(master):
            raise ValueError("no Spark master on this machine; write such as local[2], or choose place=cluster")
        return master

    @property
    def slots(self) -> Slots:
        """The hosts of the ranks, and how many each has room for."""
        return (("localhost", 1),)

    @property
    def num_ranks(self) -> int:
        return sum(number for _, number in self.slots)

    @property
    def num_local_slots(self) -> int:
        """Slots on this machine."""
        return sum(number for host, number in self.slots if host in LOCAL_HOSTS)

    @property
    def num_cores(self) -> int:
        """Cores of Spark, as far as the settings say."""
        if self.cores is not None:
            return self.cores
        numbers = [int(number) for number in re.findall(r"\d+", self.master.partition("[")[2])]
        return (os.cpu_count() or 1) if "*" in self.master else (numbers or [1])[0]


class SingleSettings(PlaceSettings):
    """This machine, one rank, and no library between ranks."""

    kind: Literal["single"] = "single"
    master: str = "local[1]"
    comm: Literal["local"] = "local"
    retries: int = Field(default=0, ge=0, le=10)


class RingSettings(PlaceSettings):
    """Settings of a place that has several ranks."""

    hosts: str  # HOST:SLOTS, with commas between
    ranks: int | None = Field(default=None, ge=1)  # of training; null = one per slot

    @field_validator("hosts")
    @classmethod
    def _hosts_have_slots(cls, hosts: str) -> str:
        for host in hosts.split(","):
            if not _HOST.match(host):
                raise ValueError(f"{host!r} is not HOST:SLOTS; write such as localhost:2 or a:4,b:4")
        return hosts

    @model_validator(mode="after")
    def _ranks_fit(self) -> Self:
        num_slots = sum(number for _, number in self.slots)
        if self.num_ranks > num_slots:
            raise ValueError(f"ranks={self.ranks} is more than the {num_slots} slots of hosts={self.hosts}; lower it")
        if self.comm == "torch" and "," in self.hosts:
            raise ValueError("comm=torch starts ranks on this machine alone; name one host, or choose comm=horovod")
        if self.comm == "local" and self.num_ranks != 1:
            raise ValueError(
                f"comm=local is one rank, and ranks is {self.num_ranks}; set ranks=1, or choose comm=horovod"
            )
        return self

    @property
    def slots(self) -> Slots:
        pairs = (host.rpartition(":") for host in self.hosts.split(","))
        return tuple((host, int(number)) for host, _, number in pairs)

    @property
    def num_ranks(self) -> int:
        return super().num_ranks if self.ranks is None else self.ranks


class LocalSettings(RingSettings):
    """Spark on this machine, and ranks that horovodrun starts here or on other hosts."""

    kind: Literal["local"] = "local"
    master: str = "local[2]"
    hosts: str = "localhost:2"
    comm: Literal["horovod"] = "horovod"

    @field_validator("comm", mode="before")
    @classmethod
    def _other_launchers_are_other_places(cls, comm: str) -> str:
        if comm != "horovod":
            raise ValueError("place=local starts ranks by horovodrun; choose place=torchrun or place=single")
        return comm


class TorchrunSettings(RingSettings):
    """This machine, with ranks that torchrun starts."""

    kind: Literal["torchrun"] = "torchrun"
    master: str = "local[2]"
    hosts: str = "localhost:2"
    comm: Literal["torch"] = "torch"


class ClusterSettings(RingSettings):
    """A Spark cluster, and one or several hosts of ranks; the store is a folder that all of them see."""

    kind: Literal["cluster"] = "cluster"
    master: str  # spark://HOST:PORT, k8s://..., yarn
    executor_memory: str = Field(default="4g", pattern=MEMORY_PATTERN)  # per executor
    comm: CommKind = "horovod"  # torch = on this machine alone; local = one rank

    @field_validator("master")
    @classmethod
    def _master_is_of_this_machine(cls, master: str) -> str:
        if not _CLUSTER_MASTER.match(master):
            raise ValueError("no master of a Spark cluster; write spark://HOST:7077, k8s://URL or yarn")
        return master

    @property
    def num_cores(self) -> int:
        if self.cores is None and self.master.startswith("local-cluster"):
            workers, cores, _ = (int(number) for number in re.findall(r"\d+", self.master))
            return workers * cores
        return self.cores or 1


PLACES: Kinds[PlaceSettings] = Kinds(
    "kind",
    {
        "local": Kind(LocalSettings, "jobs.places.local:LocalPlace"),
        "single": Kind(SingleSettings, "jobs.places.local:LocalPlace"),
        "torchrun": Kind(TorchrunSettings, "jobs.places.local:LocalPlace"),
        "cluster": Kind(ClusterSettings, "jobs.places.cluster:ClusterPlace"),
    },
    default="local",
)

ChosenPlace = Annotated[PlaceSettings, PLACES]
