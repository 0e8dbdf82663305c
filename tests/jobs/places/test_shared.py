"""A script named ssh stands for the other hosts: it runs the question here, in a world that differs by host."""

import os
import stat
from pathlib import Path

import pytest

from jobs.places.shared import check_hosts_see, note_disks_of_this_machine
from pipelines.settings import UserError

# The host stands before the last argument, the question. `blind` sees nothing below $HIDDEN, `dead` does not answer.
SSH = """#!/bin/sh
for last; do host=$question; question=$last; done
case $host in
dead) exit 255 ;;
blind) question=$(printf %s "$question" | sed "s|$HIDDEN|/nowhere|g") ;;
esac
exec sh -c "$question"
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH)
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{ssh.parent}:{os.environ['PATH']}", "HIDDEN": str(tmp_path / "store")}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    found = {"store": tmp_path / "store", "runs": tmp_path / "the runs"}
    for folder in found.values():
        folder.mkdir()
    return found


def test_hosts_that_see_every_folder_are_taken(folders: dict[str, Path], env: dict[str, str]) -> None:
    assert check_hosts_see(folders, ["a", "b", "localhost"], env) == []
    assert [path for folder in folders.values() for path in folder.iterdir()] == []


def test_a_host_that_does_not_see_the_store_is_refused(folders: dict[str, Path], env: dict[str, str]) -> None:
    with pytest.raises(UserError, match=rf"^store={folders['store']} is not seen by blind; set store to a folder"):
        check_hosts_see(folders, ["a", "blind"], env)


def test_a_host_that_does_not_answer_is_noted(folders: dict[str, Path], env: dict[str, str]) -> None:
    (note,) = check_hosts_see(folders, ["dead", "a"], env)
    assert note.startswith("dead cannot be reached by ssh to look for store and runs")


def test_without_ssh_other_hosts_are_noted_and_this_one_is_never_asked(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    nothing = {"PATH": str(tmp_path / "empty")}
    assert len(check_hosts_see(folders, ["a"], nothing)) == 1
    assert check_hosts_see(folders, ["localhost", "127.0.0.1"], nothing) == []


def test_a_folder_on_a_disk_of_this_machine_is_noted_and_a_shared_one_is_not(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/x /shared nfs4 rw 0 0\n/dev/sdb /shared/fast\\040disk xfs rw 0 0\n"
    )
    folders = {"store": Path("/shared/store"), "runs": Path("/home/runs")}
    (note,) = note_disks_of_this_machine(folders, mounts)
    assert note.startswith("runs=/home/runs lies on a disk of this machine (ext4)")
    (note,) = note_disks_of_this_machine({"store": Path("/shared/fast disk/store")}, mounts)
    assert "(xfs)" in note
    assert note_disks_of_this_machine({"store": Path("/shared/fast disks")}, mounts) == []
