"""The checks that need a library are set aside; the rest is that of a real place."""

from pathlib import Path

import pytest

from jobs.places import checks, local
from jobs.places.local import LocalPlace
from jobs.places.settings import LocalSettings, PlaceSettings, SingleSettings, TorchrunSettings


@pytest.mark.parametrize(
    ("settings", "is_probed"), [(LocalSettings(), True), (TorchrunSettings(), False), (SingleSettings(), False)]
)
def test_horovod_is_loaded_only_where_it_starts_the_ranks(
    settings: PlaceSettings, is_probed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "check_libraries", lambda modules: None)
    (tmp_path / "python").write_text(f"#!/bin/sh\ntouch {tmp_path}/probed\n")
    (tmp_path / "python").chmod(0o755)
    LocalPlace(settings, tmp_path / "python").check_ring({}, {})
    assert (tmp_path / "probed").exists() == is_probed


def test_hosts_that_do_not_see_the_folders_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_libraries", lambda modules: None)
    monkeypatch.setattr(local, "check_hosts_see", lambda folders, hosts, env: [f"{list(folders)} on {hosts}"])
    place = LocalPlace(TorchrunSettings(hosts="a:1"), tmp_path / "python")
    assert place.check_ring({}, {"store": tmp_path}) == ["['store'] on ['a']"]
