"""A place whose Spark is a cluster."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.places import spark
from jobs.places.local import LocalPlace
from jobs.places.place import Command
from jobs.places.settings import ClusterSettings
from jobs.places.shared import note_disks_of_this_machine


class ClusterPlace(LocalPlace):
    """The place of the kind `cluster`; ranks are started, and processes watched, as at a local place."""

    def __init__(self, settings: ClusterSettings, python: Path) -> None:
        super().__init__(settings, python)
        self._cluster = settings

    def spark_command(self, script: Path, arguments: Sequence[str]) -> Command:
        memory = self._cluster.executor_memory
        return spark.submit_to_cluster(self._cluster, self._python, script, arguments, executor_memory=memory)

    def check_spark(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> list[str]:
        notes = super().check_spark(env, folders)
        is_here = self._cluster.master.startswith("local-cluster")
        return notes if is_here else [*notes, *note_disks_of_this_machine(folders)]
