"""The launchers of ranks: a line of the table for each library by which ranks talk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.places.checks import check_horovod
from jobs.places.place import Command
from jobs.places.settings import PlaceSettings


def _horovodrun(settings: PlaceSettings, python: Path) -> tuple[str, ...]:
    hosts = ",".join(f"{host}:{number}" for host, number in settings.slots)
    launcher = str(python.parent / "horovodrun")
    return (launcher, "-np", str(settings.num_ranks), "-H", hosts, "--gloo", str(python), "-m")


def _torchrun(settings: PlaceSettings, python: Path) -> tuple[str, ...]:
    # Without the dashes torchrun takes the job's --run for a short form of an option of its own.
    launcher = str(python.parent / "torchrun")
    return (launcher, "--standalone", "--nproc-per-node", str(settings.num_ranks), "-m", "--")


def _alone(settings: PlaceSettings, python: Path) -> tuple[str, ...]:
    return (str(python), "-m")


def _nothing_to_check(python: Path, env: Mapping[str, str]) -> None:
    pass


@dataclass(frozen=True)
class Ring:
    """The launcher of ranks for one library."""

    launcher: Callable[[PlaceSettings, Path], tuple[str, ...]]  # settings, python -> what stands before the module
    check: Callable[[Path, Mapping[str, str]], None] = _nothing_to_check  # python, environment; raises UserError
    env: Mapping[str, str] = field(default_factory=dict)
    rank_variable: str | None = None  # of the environment of a rank: its number; None = there is one rank


RINGS: dict[str, Ring] = {
    # Fused buffers depend on which gradients happen to be ready, and so does then the order of the sums.
    "horovod": Ring(_horovodrun, check_horovod, {"HOROVOD_FUSION_THRESHOLD": "0"}, rank_variable="HOROVOD_RANK"),
    "torch": Ring(_torchrun, rank_variable="RANK"),
    "local": Ring(_alone),
}


def rank_of(settings: PlaceSettings, env: Mapping[str, str]) -> int:
    """The number of a rank, by the variable of the place's own launcher: those of others may be there as well."""
    variable = RINGS[settings.comm].rank_variable
    return int(env.get(variable) or 0) if variable else 0


def ring_command(settings: PlaceSettings, python: Path, module: str, arguments: Sequence[str]) -> Command:
    """Run a module in every rank."""
    ring = RINGS[settings.comm]
    env = {"OMP_NUM_THREADS": str(settings.threads_per_rank), "PYTHONUNBUFFERED": "1", **ring.env}
    return Command((*ring.launcher(settings, python), module, *arguments), env, "ranks")
