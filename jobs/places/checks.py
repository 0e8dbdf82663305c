"""Checks of this machine before the work, so that a missing part is reported in a second and not after an hour."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from jobs.places.settings import PlaceSettings
from pipelines.requirements import INSTALL, missing_library
from pipelines.settings import UserError

MIN_JAVA = 17
PROBE_TIMEOUT_SECONDS = 120.0

_INSTALL_JAVA = "install Java 17 or 21, on Debian the package openjdk-17-jre-headless"


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
        where = f"at JAVA_HOME={home}" if home else "on the PATH"
        raise UserError(f"Spark needs Java and there is none {where}; {_INSTALL_JAVA}")
    probe = [java, "-version"]
    output = subprocess.run(probe, capture_output=True, text=True, env=dict(env), timeout=PROBE_TIMEOUT_SECONDS).stderr
    version = re.search(r'version "(\d+)', output)
    if version is None or int(version[1]) < MIN_JAVA:
        raise UserError(
            f"{java} is {output.partition(chr(10))[0] or 'no Java'}, which Spark cannot use; {_INSTALL_JAVA}"
        )


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
            f"run `{INSTALL['horovod']}`, or choose place=torchrun (of place=cluster: place.comm=torch)"
        )


def too_few_cores(settings: PlaceSettings) -> list[str]:
    """A note where the ranks of this machine have more threads than it has cores."""
    cores = len(os.sched_getaffinity(0))
    threads = min(settings.num_local_slots, settings.num_ranks) * settings.threads_per_rank
    if threads <= cores:
        return []
    return [
        f"{threads} threads of {settings.num_ranks} ranks share the {cores} cores of this machine; "
        "training will be slow"
    ]
