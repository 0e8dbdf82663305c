"""Real faults of real stages: each is one line with its cause and remedy, and no attempt more than is of use."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
RINGMILL = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
SIZES = (
    *("system=demo", "recipe.batch_size=16", "recipe.checkpoint_every_steps=2"),
    *("model.input_size_px=32", "feed.threads=1", "shard.rows_per_group=16", "source.chunk_images=40"),
)

pytestmark = [pytest.mark.spark, pytest.mark.parallel, pytest.mark.slow]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "sample"
    drawn = [*RINGMILL, "sample", str(folder), "--identities", "10", "--photos", "12", "--seed", "3"]
    subprocess.run(drawn, check=True, capture_output=True, cwd=ROOT)
    return folder / "images"


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that went well, as far as the dataset."""
    home = tmp_path_factory.mktemp("made")
    code, line = Driver(images, home, "recipe.epochs=2").ended()
    assert code == 0, line
    for kind in ("model", "evaluation"):
        shutil.rmtree(home / "store" / kind)
    return home / "store"


@pytest.fixture
def drive(images: Path, made: Path, tmp_path: Path) -> Iterator[Callable[..., "Driver"]]:
    """Start a run that has to train for long, in any store; it is ended with the test."""
    drivers: list[Driver] = []

    def start(*settings: str, store: Path = tmp_path / "store") -> Driver:
        shutil.copytree(made, store, dirs_exist_ok=True)
        drivers.append(Driver(images, tmp_path, "recipe.epochs=400", *settings, store=store))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MB, which a test may make smaller."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(disk: Path, *, free_kib: int) -> None:
    used = shutil.disk_usage(disk).used // 1024
    subprocess.run(["mount", "-o", f"remount,size={used + free_kib}k", str(disk)], check=True)


class Driver:
    """A run under way."""

    def __init__(self, images: Path, home: Path, *settings: str, store: Path | None = None, limits: int = 0) -> None:
        self.store, self.folder = store or home / "store", home / "runs" / "r"
        paths = (f"source.path={images}", f"store={self.store}", f"runs={home / 'runs'}")

        def limit() -> None:
            if limits:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limits, limits))

        command = [*RINGMILL, "run", "name=r", *SIZES, *paths, *settings]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self._process = subprocess.Popen(command, cwd=ROOT, preexec_fn=limit, **pipes)

    def ended(self) -> tuple[int, str]:
        """The exit code and the last line on the screen."""
        self.said = self._process.communicate(timeout=600)[0]
        return self._process.returncode, self.said.splitlines()[-1]

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def attempts(self, stage: str) -> int:
        return int(json.loads((self.folder / "run.json").read_text())["stages"][stage]["attempts"])

    def ranks(self) -> list[psutil.Process]:
        """The processes of the ranks, once they train."""

        def found() -> list[psutil.Process]:
            processes = psutil.Process(self._process.pid).children(recursive=True)
            return [one for one in processes if one.cmdline()[1:3] == ["-m", "jobs.train"]]

        self.wait_for(lambda: any(self.store.glob("model/*/checkpoint-*")))
        return sorted(found(), key=lambda one: int(one.environ()["HOROVOD_RANK"]))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 600
        while not condition():
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)


Drive = Callable[..., Driver]


def test_a_full_disk_under_spark_is_named_and_not_tried_again(images: Path, disk: Path, tmp_path: Path) -> None:
    resize(disk, free_kib=300)
    driver = Driver(images, tmp_path, store=disk / "store")
    code, line = driver.ended()
    assert code == 1
    assert re.search(rf"ingest failed, and would again: the file system at {disk}, where store=.* is full", line)
    assert driver.attempts("ingest") == 1


def test_a_full_disk_under_rank_0_is_told_before_the_collectives_of_the_others(disk: Path, drive: Drive) -> None:
    driver = drive(store=disk / "store")
    driver.ranks()
    resize(disk, free_kib=40)
    code, line = driver.ended()
    assert code == 1
    assert re.search(rf"train failed, and would again: rank 0: the file system at {disk}, where store=.* is full", line)
    assert driver.attempts("train") == 1


def test_a_driver_memory_that_spark_cannot_use_is_the_mistake_of_the_user(images: Path, tmp_path: Path) -> None:
    driver = Driver(images, tmp_path, "place.driver_memory=64m", "place.retries=3")
    code, line = driver.ended()
    assert code == 2
    assert line.startswith("ringmill: place.driver_memory=64m does not suit the JVM of Spark (System memory ")
    assert driver.attempts("ingest") == 1


def test_too_few_open_files_are_named_with_their_limit(images: Path, tmp_path: Path) -> None:
    driver = Driver(images, tmp_path, limits=90)
    code, line = driver.ended()
    assert code == 1
    assert "`ulimit -n` is 90 here" in line


def test_a_rank_that_is_killed_is_named_and_tried_again(drive: Drive) -> None:
    driver = drive("recipe.epochs=20", "place.retries=1")
    driver.ranks()[1].send_signal(signal.SIGKILL)
    code, line = driver.ended()
    assert code == 0, line
    assert (
        "train: attempt 1 of 2 failed: rank 1 was killed (signal 9), probably by the kernel for memory" in driver.said
    )
    assert driver.attempts("train") == 2


def test_a_rank_that_stands_still_is_named(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOROVOD_GLOO_TIMEOUT_SECONDS", "8")
    driver = drive("place.retries=0")
    driver.ranks()[1].send_signal(signal.SIGSTOP)
    code, line = driver.ended()
    assert code == 1
    assert "rank 1 has not answered for 5 s, so it is stopped or its host is overloaded" in line


def test_a_records_file_that_was_cut_is_named(drive: Drive, tmp_path: Path) -> None:
    driver = drive("dedup.max_distance=20")
    records = next((tmp_path / "store" / "records").glob("*/rows/*.parquet"))
    os.truncate(records, records.stat().st_size // 2)
    code, line = driver.ended()
    assert code in (1, 2)
    assert f"{records} " in line
    assert f"remove {records.parent.parent}" in line
