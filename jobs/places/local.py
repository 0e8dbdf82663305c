"""A place whose Spark runs on this machine; the ranks run here too, or on other hosts that horovodrun reaches."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.archives import check_archives
from jobs.places import checks, rings, spark
from jobs.places.environment import Environment, Launcher, stage_environment
from jobs.places.place import Command
from jobs.places.process import Supervised
from jobs.places.settings import PlaceSettings
from jobs.places.shared import check_hosts_see
from pipelines.requirements import EXTRAS


class LocalPlace:
    """The place of the kinds `local`, `single` and `torchrun`."""

    def __init__(self, settings: PlaceSettings, python: Path) -> None:
        self._settings = settings
        self._python = python

    def environment(self, launcher: Launcher, inherited: Mapping[str, str]) -> Environment:
        return stage_environment(inherited, launcher, self._settings)

    def local_command(self, module: str, arguments: Sequence[str]) -> Command:
        return Command((str(self._python), "-m", module, *arguments), {"PYTHONUNBUFFERED": "1"})

    def spark_command(self, script: Path, arguments: Sequence[str]) -> Command:
        return spark.submit_locally(self._settings, self._python, script, arguments)

    def ring_command(self, module: str, arguments: Sequence[str]) -> Command:
        return rings.ring_command(self._settings, self._python, module, arguments)

    def check_spark(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> list[str]:
        checks.check_libraries(EXTRAS["spark"])
        checks.check_java(env)
        check_archives(self._settings.spark_conf)
        return []

    def check_ring(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> list[str]:
        checks.check_libraries((*EXTRAS["train"], "petastorm"))
        rings.RINGS[self._settings.comm].check(self._python, env)
        hosts = [host for host, _ in self._settings.slots]
        return [*checks.too_few_cores(self._settings), *check_hosts_see(folders, hosts, env)]

    def start(self, command: Command, log: Path) -> Supervised:
        env = self.environment(command.launcher, os.environ).values
        return Supervised(command, log, python=self._python, env=env)
