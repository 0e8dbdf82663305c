"""Looks at the place before the long work: what is missing there is told in a second, not after an hour."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from jobs.pack import check_archives
from jobs.planning import PlannedStage
from jobs.settings import RunSettings
from pipelines.requirements import EXTRAS, INSTALL, missing_library
from pipelines.settings import UserError
from training.feed.plans.table import check_plan

MIN_JAVA = 17
PROBE_TIMEOUT_SECONDS = 120.0

_INSTALL_JAVA = "install Java 17 or 21, on Debian the package openjdk-17-jre-headless"


def check_place(
    settings: RunSettings, due: Sequence[PlannedStage], *, python: Path, env: Mapping[str, str]
) -> list[str]:
    """Refuse what cannot work, and return what is only unwise, a line each.

    Args:
        due: the stages that will run; nothing is asked for that none of them needs.
        env: the environment that the stages will see.

    Raises:
        UserError: Java, Horovod, an archive of Spark's or a writable store is missing, or settings of several stages do
            not go together.
    """
    check_writable(settings.store, setting="store")
    check_writable(settings.folder, setting="runs")
    if "curate" in {planned.stage.verb for planned in due}:
        check_faces(settings)
    launchers = {planned.stage.launcher for planned in due}
    if "spark" in launchers:
        check_libraries(EXTRAS["spark"])
        check_java(env)
        check_archives(settings.place.spark_conf)
    if "ranks" not in launchers:
        return []
    check_libraries((*EXTRAS["train"], "petastorm"))
    check_batch(settings)
    check_objective(settings)
    if settings.place.comm == "horovod":
        check_horovod(python, env)
    return _too_few_cores(settings)


def check_writable(folder: Path, *, setting: str) -> None:
    """Create the folder and try a file in it.

    Raises:
        UserError: one of the two failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{setting}: {folder} cannot be written ({error.strerror}); allow it, or set {setting} to another folder"
        ) from None


def check_faces(settings: RunSettings) -> None:
    """Refuse a rule on faces that nobody looked for: it would reject every picture.

    Raises:
        UserError: curate.num_faces has a limit and faces.detector is none.
    """
    limits = settings.curate.num_faces
    if settings.faces.detector == "none" and (limits.min is not None or limits.max is not None):
        raise UserError("curate.num_faces has a limit and faces.detector=none counts no faces; set faces.detector=haar")


def check_libraries(modules: Sequence[str]) -> None:
    """Look for modules that stages import, without importing them.

    Raises:
        UserError: one is not installed.
    """
    for module in modules:
        if find_spec(module) is None:
            raise missing_library(ModuleNotFoundError(name=module))


def check_java(env: Mapping[str, str]) -> None:
    """Look for the Java that Spark's scripts would take, and ask its version.

    Raises:
        UserError: there is none, or it is too old.
    """
    home = env.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java", path=env.get("PATH", ""))
    if java is None or not os.access(java, os.X_OK):
        where = f"JAVA_HOME={home}" if home else "on the PATH"
        raise UserError(f"Spark needs Java and there is none {where}; {_INSTALL_JAVA}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECONDS).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < MIN_JAVA:
        raise UserError(f"{java} is {told.partition(chr(10))[0] or 'no Java'}, which Spark cannot use; {_INSTALL_JAVA}")


def check_horovod(python: Path, env: Mapping[str, str]) -> None:
    """Load Horovod against the installed torch, in a process of its own: a bad build may crash.

    Raises:
        UserError: it does not load.
    """
    probe = [str(python), "-c", "import horovod.torch"]
    tried = subprocess.run(probe, capture_output=True, text=True, env=dict(env), timeout=PROBE_TIMEOUT_SECONDS)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        raise UserError(
            f"place.comm=horovod, and Horovod does not load with the installed torch ({reason}); "
            f"run `{INSTALL['horovod']}`, or set place.comm=torch"
        )


def check_batch(settings: RunSettings) -> None:
    """Hold the global batch against the number of ranks.

    Raises:
        UserError: it does not split evenly.
    """
    batch_size, ranks = settings.recipe.batch_size, settings.place.num_ranks
    if batch_size % ranks:
        nearest = max(1, round(batch_size / ranks)) * ranks
        raise UserError(f"recipe.batch_size={batch_size} does not split over {ranks} ranks; {nearest} would")


def check_objective(settings: RunSettings) -> None:
    """Hold what the objective needs against how the dataset is laid out, fed and learnt from.

    Raises:
        UserError: the settings of the objective do not go together with others.
    """
    check_plan(settings.objective.needs, settings.feed, settings.shard)
    settings.objective.check(settings, ranks=settings.place.num_ranks)


def _too_few_cores(settings: RunSettings) -> list[str]:
    place, cores = settings.place, len(os.sched_getaffinity(0))
    wanted = min(place.num_local_slots, place.num_ranks) * place.threads_per_rank
    if wanted <= cores:
        return []
    return [
        f"{wanted} threads of {place.num_ranks} ranks share the {cores} cores of this machine; training will be slow"
    ]
