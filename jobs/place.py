"""The place: where a run's stages execute. It never changes what they make, so it enters no fingerprint."""

import os
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.settings import Settings

MEMORY_PATTERN = r"^[1-9][0-9]*[mgt]$"
_HOST = re.compile(r"^[A-Za-z0-9._-]+:[1-9][0-9]*$")
_LOCAL_MASTER = re.compile(r"^local(\[([0-9]+|\*)(,[0-9]+)?\])?$")
_CLUSTER_MASTER = re.compile(r"^(spark://|k8s://|yarn$|local-cluster\[[0-9]+,[0-9]+,[0-9]+\]$)")


class PlaceSettings(Settings):
    """Spark's master and memory, the hosts of the ranks, and the driver's patience."""

    master: str = "local[2]"  # local[N], spark://HOST:PORT, k8s://..., yarn
    driver_memory: str = Field(default="2g", pattern=MEMORY_PATTERN)  # of Spark's driver; a local master has no other
    executor_memory: str = Field(default="4g", pattern=MEMORY_PATTERN)  # per executor; unused by a local master
    cores: int | None = Field(default=None, ge=1)  # of Spark in all; only `plan` asks. null = as the master says, or 1
    spark_conf: dict[str, str] = Field(default={})  # further --conf of spark-submit
    hosts: str = "localhost:2"  # HOST:SLOTS, with commas between
    ranks: int | None = Field(default=None, ge=1)  # of training; null = one per slot
    comm: Literal["horovod", "torch", "local"] = "horovod"  # how the ranks talk; local = one rank, no launcher
    threads_per_rank: int = Field(default=1, ge=1, le=1024)  # for arithmetic; the feed has its own
    retries: int = Field(
        default=1, ge=0, le=10
    )  # further attempts at a stage that failed through no mistake of the user
    stage_timeout_seconds: float | None = Field(default=None, gt=0)  # per attempt; null = none

    @field_validator("master")
    @classmethod
    def _master_is_one_of_sparks(cls, master: str) -> str:
        if not _LOCAL_MASTER.match(master) and not _CLUSTER_MASTER.match(master):
            raise ValueError("no Spark master; write local[2], spark://HOST:7077, k8s://URL or yarn")
        return master

    @field_validator("hosts")
    @classmethod
    def _hosts_have_slots(cls, hosts: str) -> str:
        for host in hosts.split(","):
            if not _HOST.match(host):
                raise ValueError(f"{host!r} is not HOST:SLOTS; write such as localhost:2 or a:4,b:4")
        return hosts

    @model_validator(mode="after")
    def _ranks_fit(self) -> Self:
        if self.num_ranks > self.num_slots:
            raise ValueError(
                f"ranks={self.ranks} is more than the {self.num_slots} slots of hosts={self.hosts}; lower it"
            )
        if self.comm == "torch" and "," in self.hosts:
            raise ValueError("comm=torch starts ranks on this machine alone; name one host, or choose comm=horovod")
        if self.comm == "local" and self.num_ranks != 1:
            raise ValueError(
                f"comm=local is one rank, and ranks is {self.num_ranks}; set ranks=1, or choose comm=horovod"
            )
        return self

    @property
    def num_slots(self) -> int:
        return sum(_slots(host) for host in self.hosts.split(","))

    @property
    def num_ranks(self) -> int:
        return self.num_slots if self.ranks is None else self.ranks

    @property
    def num_local_slots(self) -> int:
        """Slots on this machine."""
        local = ("localhost:", "127.0.0.1:")
        return sum(_slots(host) for host in self.hosts.split(",") if host.startswith(local))

    @property
    def num_cores(self) -> int:
        """Cores of Spark, as far as the settings tell."""
        if self.cores is not None:
            return self.cores
        numbers = [int(number) for number in re.findall(r"\d+", self.master.partition("[")[2])]
        if self.master.startswith("local-cluster"):
            return numbers[0] * numbers[1]
        if self.is_local_spark:
            return (os.cpu_count() or 1) if "*" in self.master else (numbers or [1])[0]
        return 1

    @property
    def is_local_spark(self) -> bool:
        return bool(_LOCAL_MASTER.match(self.master))


def _slots(host: str) -> int:
    return int(host.rpartition(":")[2])
