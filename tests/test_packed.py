"""Packed environments where they are for: executors of a real cluster, and ranks, whose hosts have Python alone."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.launch import command
from jobs.pack import spark_conf
from jobs.places.place import open_place
from jobs.places.settings import ClusterSettings
from jobs.settings import PROJECT, RunSettings, freeze, load
from jobs.stages import STAGES
from pipelines.run_folder import SETTINGS_NAME

BIN = Path(sys.executable).parent
SIZES = (
    "system=demo",
    "recipe.epochs=2",
    "recipe.batch_size=16",
    "model.input_size_px=32",
    "feed.threads=1",
    "shard.rows_per_file=50",
    "shard.rows_per_group=16",
    "source.chunk_images=40",
)
# Nothing of this environment: what a host has whose administrator never heard of the project.
HOST = {"PATH": "/usr/local/bin:/usr/bin:/bin", "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
HOST |= {key: os.environ[key] for key in ("JAVA_HOME", "HOME") if key in os.environ}

pytestmark = [pytest.mark.spark, pytest.mark.parallel, pytest.mark.slow]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    """A run on this machine over a drawn sample."""
    home = tmp_path_factory.mktemp("local")
    drawn = ("sample", str(home / "sample"), "--identities", "10", "--photos", "12", "--seed", "3")
    paths = (f"source.path={home / 'sample' / 'images'}", f"store={home / 'store'}", f"runs={home / 'runs'}")
    for words in (drawn, ("run", "name=r", *SIZES, *paths)):
        _succeed([str(BIN / "ringmill"), *words], cwd=home)
    return load(home / "runs/r" / SETTINGS_NAME)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    """Address of a standalone master with two workers, on which Python knows nothing of the project."""
    spark_home = subprocess.run([BIN / "find_spark_home.py"], capture_output=True, text=True, check=True).stdout.strip()
    start = [f"{spark_home}/bin/spark-class", "org.apache.spark.deploy"]
    daemons = []

    def daemon(name: str, *words: str) -> Path:
        log = tmp_path / f"{name}.log"
        kind = name.partition("-")[0]
        argv = [start[0], f"{start[1]}.{kind}.{kind.title()}", "--host", "127.0.0.1", "--webui-port", "0", *words]
        with log.open("wb") as stream:
            daemons.append(
                subprocess.Popen(
                    argv, stdout=stream, stderr=stream, cwd=tmp_path, env={**HOST, "SPARK_HOME": spark_home}
                )
            )
        return log

    try:
        address = _await(daemon("master", "--port", "0"), r"Starting Spark master at (spark://\S+)")
        for name in ("worker-1", "worker-2"):
            log = daemon(name, "--cores", "1", "--memory", "1g", "--work-dir", str(tmp_path / name), address)
            _await(log, r"(Successfully registered with master)")
        yield address
    finally:
        for process in reversed(daemons):
            process.terminate()
        for process in daemons:
            process.wait(timeout=30)


def test_executors_that_lack_the_project_make_the_same_shards(local: RunSettings, master: str, tmp_path: Path) -> None:
    archive = _pack(tmp_path, "executors")
    bare = Path(sys.executable).resolve()
    assert subprocess.run([bare, "-c", "import pipelines"], capture_output=True, env=HOST, cwd=tmp_path).returncode
    conf = {**spark_conf(archive), "spark.executor.cores": "1", "spark.driver.host": "127.0.0.1"}
    # Else the executor that has unpacked first may do all the work before the other is there.
    conf |= {"spark.scheduler.minRegisteredResourcesRatio": "1.0"}
    conf |= {"spark.scheduler.maxRegisteredResourcesWaitingTime": "120s"}
    place = ClusterSettings(master=master, hosts="localhost:2", executor_memory="512m", spark_conf=conf)
    settings = local.model_copy(update={"place": place, "store": tmp_path / "store", "runs": tmp_path / "runs"})
    freeze(settings, settings.folder / SETTINGS_NAME)
    settings.store.mkdir()
    for kind in ("pairs", "decisions"):
        (settings.store / kind).symlink_to(local.store / kind)
    for stage in (stage for stage in STAGES if stage.verb in ("ingest", "shard")):
        here = open_place(place, python=Path(sys.executable))
        what = command(stage, here, settings.folder / SETTINGS_NAME, project=PROJECT)
        _succeed(what.argv, cwd=tmp_path, env={**HOST, **what.env})
    for kind in ("records", "dataset"):
        assert _manifest(settings, kind) == _manifest(local, kind)
    # Bytecode, of which the archive holds none, lies where a Python ran.
    ran = {
        path.parts[len(tmp_path.parts)] for path in tmp_path.glob("worker-*/*/*/environment/**/pipelines/__pycache__")
    }
    assert ran == {"worker-1", "worker-2"}


def test_ranks_of_an_unpacked_environment_train_the_same_model(local: RunSettings, tmp_path: Path) -> None:
    archive = _pack(tmp_path, "ranks")
    host = tmp_path / "host"
    host.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", host], check=True)
    settings = local.model_copy(update={"store": tmp_path / "store", "runs": tmp_path / "runs"})
    settings.store.mkdir()
    (settings.store / "dataset").symlink_to(local.store / "dataset")
    freeze(settings, settings.folder / SETTINGS_NAME)
    (stage,) = (stage for stage in STAGES if stage.verb == "train")
    place = open_place(settings.place, python=host / "bin/python")
    what = command(stage, place, settings.folder / SETTINGS_NAME, project=PROJECT)
    _succeed(what.argv, cwd=tmp_path, env={**HOST, **what.env})
    assert _manifest(settings, "model") == _manifest(local, "model")


def _pack(folder: Path, side: str) -> Path:
    archive = folder / f"{side}.tar.gz"
    _succeed([str(BIN / "ringmill"), "pack", str(archive), "--for", side], cwd=folder)
    return archive


def _succeed(argv: list[str] | tuple[str, ...], *, cwd: Path, env: dict[str, str] | None = None) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]


def _await(log: Path, pattern: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def _manifest(settings: RunSettings, kind: str) -> str:
    (path,) = (settings.store / kind).glob("*/manifest.json")
    return path.read_text()
