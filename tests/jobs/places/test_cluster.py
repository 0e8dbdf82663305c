"""Checks of the local place are set aside: what a cluster adds is looked at."""

from pathlib import Path

import pytest

from jobs.places import cluster
from jobs.places.cluster import ClusterPlace
from jobs.places.local import LocalPlace
from jobs.places.settings import ClusterSettings


@pytest.mark.parametrize(("master", "is_noted"), [("spark://head:7077", True), ("local-cluster[2,1,1024]", False)])
def test_a_store_on_a_disk_of_this_machine_is_noted_where_executors_run_elsewhere(
    master: str, is_noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalPlace, "check_spark", lambda self, env, folders: ["from the local place"])
    monkeypatch.setattr(cluster, "note_disks_of_this_machine", lambda folders: [f"{list(folders)} on a disk"])
    place = ClusterPlace(ClusterSettings(master=master, hosts="localhost:1"), Path("/python"))
    notes = place.check_spark({}, {"store": Path("/store")})
    assert notes == ["from the local place", "['store'] on a disk"][: 1 + is_noted]
