"""File systems: a small one in memory where this user may mount, and the numbers of the real one elsewhere."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.faults.surroundings import Surroundings
from jobs.places.settings import ClusterSettings, LocalSettings
from jobs.settings import RunSettings
from pipelines.sources.settings import FolderSettings


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_the_file_system_that_is_full_is_named_with_its_setting(small_disk: Path, tmp_path: Path) -> None:
    around = Surroundings(LocalSettings(), "spark", {"runs": tmp_path, "store": small_disk / "store"})
    assert around.full_file_system() is None
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(300_000))
    line = around.full_file_system(is_certain=False)
    assert line == (
        f"the file system at {small_disk}, where store={small_disk}/store lies, is full (0 bytes of 262 KB free); "
        "make room there, or set store to a folder on another one"
    )
    assert f"store={small_disk}/store (0 bytes free at {small_disk})" in around.listed()


def settings(**values: object) -> RunSettings:
    return RunSettings(source=FolderSettings(path="/faces"), store=Path("/s"), runs=Path("/r"), **values)


def test_the_folders_are_those_that_the_stages_of_a_launcher_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/fast,/slow")
    spark = Surroundings.of(settings(), "spark").folders
    assert spark["store"] == Path("/s")
    assert spark["place.spark_conf.spark.local.dir"] == Path("/fast")
    own = LocalSettings(spark_conf={"spark.local.dir": "/own"})
    assert Surroundings.of(settings(place=own), "spark").folders["place.spark_conf.spark.local.dir"] == Path("/own")
    ranks = Surroundings.of(settings(feed={"cache_dir": "/cache"}), "ranks").folders
    assert ranks["feed.cache_dir"] == Path("/cache")
    assert "TMPDIR" in ranks


def test_the_remedy_for_memory_is_that_of_the_launcher() -> None:
    cluster = ClusterSettings(master="yarn", hosts="a:1")
    remedies = {
        Surroundings(place, launcher, {}).memory_remedy()
        for place, launcher in (
            (LocalSettings(), "ranks"),
            (LocalSettings(), "spark"),
            (cluster, "spark"),
            (LocalSettings(), "local"),
        )
    }
    assert len(remedies) == 4
    assert Surroundings(cluster, "spark", {}).is_cluster
    assert not Surroundings(LocalSettings(), "spark", {}).is_cluster
