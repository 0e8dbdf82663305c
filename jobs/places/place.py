"""The operations of a place, whatever its kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from jobs.places.environment import Environment, Launcher
from jobs.places.settings import PLACES, PlaceSettings


@dataclass(frozen=True)
class Command:
    """The arguments of a command, and additions to its environment."""

    argv: tuple[str, ...]
    env: dict[str, str]
    launcher: Launcher = "local"  # decides which variables of the driver's environment it gets


class Running(Protocol):
    """A command that was started at a place."""

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it still runs after so many seconds."""

    def stop(self) -> None:
        """End it and all that it started, and return when they have ended."""


class Place(Protocol):
    """Starts, checks, watches and stops stages; built from its settings and the path of an interpreter."""

    def environment(self, launcher: Launcher, inherited: Mapping[str, str]) -> Environment:
        """The environment that stages of one launcher get, made from that of the driver."""

    def local_command(self, module: str, arguments: Sequence[str]) -> Command:
        """The command that runs a module in one process beside the driver."""

    def spark_command(self, script: Path, arguments: Sequence[str]) -> Command:
        """The command that runs a script as a Spark application."""

    def ring_command(self, module: str, arguments: Sequence[str]) -> Command:
        """The command that runs a module in every rank."""

    def check_spark(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> list[str]:
        """Refuse what would stop a Spark stage, and return what is only unwise, a line each.

        Args:
            env: the environment that the Spark stages get.
            folders: setting -> folder that every process of a stage reads or writes.

        Raises:
            UserError: something is missing.
        """

    def check_ring(self, env: Mapping[str, str], folders: Mapping[str, Path]) -> list[str]:
        """The same for a ring of ranks."""

    def start(self, command: Command, log: Path) -> Running:
        """Start a command; its output goes to the log, after what is there."""


def open_place(settings: PlaceSettings, *, python: Path) -> Place:
    """The place that the settings choose.

    Args:
        python: the interpreter; spark-submit, horovodrun and torchrun lie beside it.
    """
    return cast(Place, PLACES.builder(settings)(settings, python))
