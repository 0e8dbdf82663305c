"""The folders that several hosts must see: other hosts of ranks are asked, disks of this machine are noted."""

import contextlib
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile

from jobs.places.settings import LOCAL_HOSTS
from pipelines.settings import UserError

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=no")
_SSH_TIMEOUT_SECONDS = 30.0
MAX_ASKED_AT_ONCE = 32

# File systems of disks and memory; any other may be shared.
_ONE_MACHINE = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs"}


def check_hosts_see(folders: Mapping[str, Path], hosts: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Put a file into each folder and look for it from every other host, by ssh, as horovodrun reaches them.

    Args:
        folders: setting -> folder.

    Returns:
        A note for each host that cannot be asked.

    Raises:
        UserError: a host does not see a folder.
    """
    others = sorted(set(hosts) - {*LOCAL_HOSTS, socket.gethostname(), socket.getfqdn()})
    if not others:
        return []
    with _probes(folders) as probes, ThreadPoolExecutor(MAX_ASKED_AT_ONCE) as pool:
        answers = list(pool.map(lambda host: _missing(host, probes, env), others))
    notes = []
    for host, missing in zip(others, answers, strict=True):
        if missing is None:
            notes.append(
                f"{host} cannot be reached by ssh to look for {' and '.join(folders)}; horovodrun needs ssh too"
            )
        for setting in missing or ():
            raise UserError(
                f"{setting}={folders[setting]} is not seen by {host}; set {setting} to a folder that all hosts share"
            )
    return notes


def note_disks_of_this_machine(folders: Mapping[str, Path], mounts: Path = Path("/proc/mounts")) -> list[str]:
    """A note for each folder that lies on a disk of this machine, which other hosts see only if it is exported."""
    kinds = {setting: _file_system(folder, mounts) for setting, folder in folders.items()}
    return [
        f"{setting}={folders[setting]} lies on a disk of this machine ({kind}), and every host of the cluster must see "
        f"it; unless it is exported to them, set {setting} to a shared folder"
        for setting, kind in kinds.items()
        if kind in _ONE_MACHINE
    ]


@contextlib.contextmanager
def _probes(folders: Mapping[str, Path]) -> Iterator[dict[str, str]]:
    """Setting -> path of a file in its folder, which is there for as long as the context is."""
    with contextlib.ExitStack() as stack:
        yield {
            setting: stack.enter_context(NamedTemporaryFile(prefix=".seen-", dir=folder.absolute())).name
            for setting, folder in folders.items()
        }


def _missing(host: str, probes: Mapping[str, str], env: Mapping[str, str]) -> list[str] | None:
    """The settings whose files a host does not see; None where it cannot be asked."""
    script = "; ".join(f"test -e {shlex.quote(path)} || echo {setting}" for setting, path in probes.items())
    try:
        asked = subprocess.run(
            [*SSH, host, script], capture_output=True, text=True, env=dict(env), timeout=_SSH_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.split() if asked.returncode == 0 else None


def _file_system(folder: Path, mounts: Path) -> str:
    """The type of the file system that a folder lies on; "" where it is unknown."""
    found = ("", "")
    lines = mounts.read_text(errors="replace").splitlines() if mounts.exists() else []
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        # Blanks of a path are written \040.
        mount = point.encode().decode("unicode_escape")
        # Of equal mount points the last one lies above the others.
        if folder.absolute().is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]
