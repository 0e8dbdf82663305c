"""The usable part of the value of an environment variable, where it depends on this machine."""

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

from jobs.places.checks import MIN_JAVA, PROBE_TIMEOUT_SECONDS
from jobs.places.settings import LOCAL_HOSTS, PlaceSettings

_PROJECT = Path(__file__).parent.parent.parent
# Imported by Python itself at every start, where they exist.
_AT_START = {"sitecustomize", "usercustomize"}


def folders(value: str) -> str | None:
    """Those of some folders, with commas between, in which a file can be made; None where there is none."""
    return ",".join(folder for folder in value.split(",") if _is_writable(folder)) or None


def path(value: str) -> str:
    """The folders of a PATH, and after them those of the system if the first have no bash."""
    return value if shutil.which("bash", path=value) else os.pathsep.join(filter(None, (value, os.defpath)))


def java_home(value: str) -> str | None:
    """The folder, if its Java is new enough, or if there is no better one on the PATH to take its place."""
    on_path = shutil.which("java", path=path(os.environ.get("PATH", "")))
    if _java_version(str(Path(value, "bin", "java"))) >= MIN_JAVA:
        return value
    return None if on_path and _java_version(on_path) >= MIN_JAVA else value


def interfaces(value: str, place: PlaceSettings) -> str | None:
    """The interfaces, if this machine has one of them; other hosts of ranks are not asked.

    The forms are those of NCCL_SOCKET_IFNAME: names or their beginnings with commas between; after = whole names; after
    ^ those that are not to be taken.
    """
    if any(host not in LOCAL_HOSTS for host, _ in place.slots) or value.startswith("^"):
        return value
    wanted = [name for name in value.lstrip("=").split(",") if name]
    here = [name for _, name in socket.if_nameindex()]
    return value if any(name.startswith(begin) for begin in wanted for name in here) else None


def python_path(value: str) -> str | None:
    """The folders of a PYTHONPATH that take the place of no module of Python, of an installed library or of ours."""
    kept = [entry for entry in value.split(os.pathsep) if entry and (_is_project(entry) or not _shadows(Path(entry)))]
    return os.pathsep.join(kept) or None


def _is_project(entry: str) -> bool:
    return Path(entry).absolute() == _PROJECT


def _shadows(folder: Path) -> bool:
    return bool(_modules(folder) & (_AT_START | _installed()))


@cache
def _installed() -> frozenset[str]:
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(_PROJECT)}
    return frozenset(sys.stdlib_module_names).union(*(_modules(Path(folder)) for folder in folders))


def _modules(folder: Path) -> set[str]:
    """The modules at the top of a folder; a folder without __init__.py hides no package that comes later."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return set()
    files = {entry.name.partition(".")[0] for entry in entries if entry.suffix in (".py", ".so", ".pyc")}
    return files | {entry.name for entry in entries if (entry / "__init__.py").is_file()}


@cache
def _java_version(java: str) -> int:
    """The major version; 0 where there is no Java."""
    if not os.access(java, os.X_OK):
        return 0
    try:
        asked = subprocess.run(
            # Options for every JVM would be read here, too.
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_SECONDS,
            env={"PATH": os.environ.get("PATH", "")},
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', asked.stderr)
    return int(found[1]) if found else 0


def _is_writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
