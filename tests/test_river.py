"""The whole river with real subprocesses: planted truth, nothing done twice, and kills that change nothing."""

import contextlib
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file

from jobs.run import drive
from jobs.settings import load
from pipelines.settings import UserError

ROOT = Path(__file__).resolve().parent.parent
RINGMILL = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
_WIDE = {**os.environ, "COLUMNS": "300"}
BIN = Path(sys.executable).parent
KINDS = ("records", "pairs", "decisions", "dataset", "model", "evaluation")
SIZES = (
    "system=demo",
    "recipe.epochs=4",
    "recipe.batch_size=16",
    "recipe.log_every_steps=1",
    "recipe.checkpoint_every_steps=2",
    "model.input_size_px=32",
    "feed.threads=1",
    "shard.rows_per_file=50",
    "shard.rows_per_group=16",
    "source.chunk_images=40",
)

pytestmark = [pytest.mark.spark, pytest.mark.parallel]


@dataclass(frozen=True)
class River:
    """One store and one run folder over the drawn sample."""

    sample: Path
    home: Path

    def command(self, *settings: str, name: str = "r", images: str = "images") -> list[str]:
        paths = (f"source.path={self.sample / images}", f"store={self.home / 'store'}", f"runs={self.home / 'runs'}")
        return [*RINGMILL, "run", f"name={name}", *SIZES, *paths, *settings]

    def run(self, *settings: str, **where: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*settings, **where), capture_output=True, text=True, check=False, cwd=ROOT)

    def made(self, stage: str, *, name: str = "r") -> Path:
        """The folder of what a stage of a run made."""
        stages = json.loads((self.home / "runs" / name / "run.json").read_text())["stages"]
        return Path(stages[stage]["folder"])

    def manifests(self, *kinds: str) -> dict[str, str]:
        """Kind -> the text of its only manifest."""
        found = {kind: list((self.home / "store" / kind).glob("*/manifest.json")) for kind in kinds or KINDS}
        assert all(len(paths) == 1 for paths in found.values()), found
        return {kind: paths[0].read_text() for kind, paths in found.items()}

    def losses(self) -> list[tuple[int, float]]:
        rows = [json.loads(line) for line in (self.home / "runs/r/metrics.jsonl").read_text().splitlines()]
        return [(row["step"], row["loss"]) for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "sample"
    drawn = [*RINGMILL, "sample", str(folder), "--identities", "10", "--photos", "12", "--seed", "3"]
    subprocess.run(drawn, check=True, capture_output=True, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def river(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> River:
    """A run that nobody disturbed."""
    river = River(sample, tmp_path_factory.mktemp("undisturbed"))
    ended = river.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return river


def _decisions(river: River) -> dict[str, dict[str, object]]:
    return {str(row["source"]).removeprefix(f"{river.sample}/images/"): row for row in _table(river.made("curate"))}


def test_every_planted_fault_is_found_as_what_it_is(river: River) -> None:
    decisions = _decisions(river)
    truth = list(csv.DictReader((river.sample / "truth.csv").open()))
    assert {row["path"] for row in truth} == set(decisions)
    by_path = {row["path"]: row for row in truth}
    for row in truth:
        decision = decisions[row["path"]]
        if row["expected"] == "rejected":
            assert (decision["status"], decision["reason"]) == ("rejected", row["expected_reason"]), row
        elif row["expected"] == "conflict":
            assert decision["status"] == "conflict", row
        elif row["expected"] == "duplicate":
            # Which of two equals survives is the keeper rule's choice; that they are one group is the truth.
            assert decision["group_id"] == decisions[row["of"]]["group_id"] is not None, row
    groups: dict[object, set[str]] = {}
    for path, decision in decisions.items():
        if decision["group_id"]:
            groups.setdefault(decision["group_id"], set()).add(by_path[path]["of"] or path)
    assert all(len(originals) == 1 for originals in groups.values()), "two different photos were merged"


def test_a_second_run_does_nothing_and_quickly(river: River) -> None:
    before = river.manifests()
    start = time.monotonic()
    ended = river.run()
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - start < 30, "a run with nothing to do takes a second; this bound is for a busy machine"
    assert ended.stdout.count("cached") == 7
    assert river.manifests() == before


def test_the_report_is_one_page_that_adds_up(river: River) -> None:
    page = (river.home / "runs/r/report.html").read_text()
    assert "Adds up" in page
    assert "data:image/" in page


def test_a_changed_threshold_decodes_nothing_again(river: River) -> None:
    ended = subprocess.run(
        [arg.replace("run", "plan") if arg == "run" else arg for arg in river.command("curate.blur.min=50")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=_WIDE,
    )
    assert ended.returncode == 0, ended.stderr
    states = {line.split()[0]: line.split()[1] for line in ended.stdout.splitlines() if len(line.split()) > 2}
    assert [states[stage] for stage in ("ingest", "pairs", "curate")] == ["cached", "cached", "due"]


# In the folders of artefacts, and read by no later run: checkpoints of a finished training, marks of attempts, locks.
_UNREAD = re.compile(r"/checkpoint-\d+/|/\.attempt$|\.lock$")


def _flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "a flipped bit": _flipped,
    "another flipped bit": _flipped,
    "cut": lambda content, rng: content[: rng.randrange(len(content))],
    "empty": lambda content, rng: b"",
    "longer": lambda content, rng: content + b"\0",
    "zeros": lambda content, rng: bytes(len(content)),
    "removed": lambda content, rng: None,
}


@contextlib.contextmanager
def _changed(path: Path, content: bytes | None) -> Iterator[None]:
    """Another content of a file, or no such file."""
    before = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("are_due", [False, True], ids=["all cached", "later stages due"])
def test_damage_to_any_file_of_a_store_is_named_and_never_used(river: River, damage: str, are_due: bool) -> None:
    settings = load(river.home / "runs/r/run.yaml")
    rng = random.Random(damage)
    num_damaged = 0
    for kind, later in zip(KINDS, (KINDS[at:] for at in range(1, len(KINDS) + 1)), strict=True):
        (folder,) = (path.parent for path in (river.home / "store" / kind).glob("*/manifest.json"))
        hidden = [path for one in later for path in (river.home / "store" / one).glob("*/manifest.json")]
        with contextlib.ExitStack() as stack:
            for path in hidden if are_due else ():
                stack.enter_context(_changed(path, None))
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                content = DAMAGES[damage](path.read_bytes(), rng)
                # An artefact without a manifest is none, and made again.
                if _UNREAD.search(str(path)) or (path.name == "manifest.json" and content is None):
                    continue
                with _changed(path, content), pytest.raises(UserError, match=re.escape(str(path))) as raised:
                    drive(settings)
                assert f"remove {folder}" in str(raised.value)
                num_damaged += 1
    assert num_damaged > 15
    assert drive(settings).is_file()


def test_the_command_ends_with_the_name_of_the_damaged_file(river: River) -> None:
    path = river.made("train") / "model.safetensors"
    with _changed(path, _flipped(path.read_bytes(), random.Random(0))):
        ended = river.run()
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        f"ringmill: {path} is missing or was altered since it was written; remove {path.parent}, "
        "and the next run makes it again"
    )


@pytest.mark.slow
def test_paths_of_any_characters_reach_every_stage_to_the_letter(river: River, sample: Path, tmp_path: Path) -> None:
    home = tmp_path / "data[1]: é #2 {a,b} 100%20 q'\"$x;k=v ~ *?"
    shutil.copytree(sample, home / "faces #2")
    named = River(home / "faces #2", home)
    ended = named.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [home.name]
    # The paths of the rows are others, and so are the digests; pictures and labels are the same.
    shards = [
        ds.dataset(sorted(one.made("shard").glob("*/*.parquet"))).to_table(["image_id", "label"])
        for one in (river, named)
    ]
    assert shards[0].sort_by("image_id").equals(shards[1].sort_by("image_id"))


@pytest.mark.slow
def test_a_cluster_of_two_workers_gives_the_same_shards(river: River, tmp_path: Path) -> None:
    """The lines of docs/driver.md, on two workers with an executor each."""
    run_yaml = tmp_path / "run.yaml"
    # Without its last line, the digest, a changed file is taken as one that a person wrote.
    frozen = (river.home / "runs/r/run.yaml").read_text().partition("# sha256")[0]
    run_yaml.write_text(frozen.replace(str(river.home / "store"), str(tmp_path / "store")))
    for stage in ("ingest", "pairs", "curate", "shard"):
        submit = [str(BIN / "spark-submit"), "--master", "local-cluster[2,1,1024]", f"jobs/{stage}.py", "--run"]
        ended = subprocess.run(
            [*submit, str(run_yaml)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
    for kind in ("records", "pairs", "decisions", "dataset"):
        (made,) = (tmp_path / "store" / kind).glob("*/manifest.json")
        assert made.read_text() == river.manifests()[kind]


@pytest.mark.slow
def test_kills_at_every_stage_change_nothing(river: River, sample: Path, tmp_path: Path) -> None:
    hit = River(sample, tmp_path)
    _run_and_kill(hit, "ingest", _is_jvm)
    _run_and_kill(hit, "pairs", _is_jvm)
    _run_and_kill(hit, "curate", _is_driver)
    _run_and_kill(hit, "shard", _is_jvm)
    _run_and_kill(hit, "train", _is_rank, when=lambda: _has_checkpoint(hit))
    _run_and_kill(hit, "train", _is_driver, when=lambda: _num_losses(hit) >= 12)
    _run_and_kill(hit, "evaluate.val", _is_rank)
    ended = hit.run()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert hit.manifests() == river.manifests()
    assert hit.losses() == river.losses()


# Of another Spark, other launchers of ranks, a batch system, and a user with another language.
FOREIGN = {
    **{"SPARK_HOME": "/opt/another-spark", "PYSPARK_SUBMIT_ARGS": "--master yarn", "PYSPARK_PYTHON": "/no/python"},
    **{"JAVA_TOOL_OPTIONS": "-Xmx1k", "HADOOP_CONF_DIR": "/etc/hadoop", "SPARK_LOCAL_DIRS": "/proc/none"},
    **{"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "no-such-host.invalid", "MASTER_PORT": "1"},
    **{"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2", "HOROVOD_CONTROLLER": "mpi", "OMPI_COMM_WORLD_RANK": "1"},
    **{"SLURM_PROCID": "1", "LSB_JOBID": "4", "PMI_RANK": "1", "GLOO_SOCKET_IFNAME": "nope0", "LOGLEVEL": "loud"},
    **{"OMP_NUM_THREADS": "7", "LANG": "C", "LC_ALL": "POSIX", "TMPDIR": "/no/such/folder", "BASH_ENV": "/no/such"},
}


@pytest.mark.slow
def test_variables_of_other_tools_change_nothing(river: River, sample: Path, tmp_path: Path) -> None:
    mine = River(sample, tmp_path)
    ended = subprocess.run(
        mine.command(), capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **FOREIGN}
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("note: the stages run without these variables of the environment") == 1
    assert mine.manifests() == river.manifests()
    assert mine.losses() == river.losses()


@pytest.mark.slow
def test_a_second_round_drops_what_the_model_of_the_first_finds_strange(sample: Path, tmp_path: Path) -> None:
    river = River(sample, tmp_path)
    told = ("curate.rounds=2", "curate.identities.min_margin=0.2")
    ended = river.run(*told)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    first, second = (_table(river.made(stage)) for stage in ("curate", "curate-2"))
    assert {row["source"] for row in first} == {row["source"] for row in second}
    assert any(row["reason"] == "outlier" for row in second)
    assert not any(row["reason"] == "outlier" for row in first)
    kept = [{row["source"] for row in rows if row["status"] == "kept"} for rows in (first, second)]
    assert len(kept[1]) < len(kept[0])
    assert _counts(river.made("shard")) != _counts(river.made("shard-2"))
    assert '<section id="rounds">' in (tmp_path / "runs/r/report.html").read_text()
    again = river.run(*told)
    assert again.returncode == 0, again.stderr
    num_artefacts = len(list((tmp_path / "store").glob("*/*/manifest.json")))
    assert again.stdout.count("cached") == num_artefacts + 1, "and the report"


@pytest.mark.slow
def test_deliveries_and_a_reference_decide_as_one_run_over_everything(sample: Path, tmp_path: Path) -> None:
    """Every second picture comes later; some of both deliveries are in a set that nothing may be learnt from."""
    truth = list(csv.DictReader((sample / "truth.csv").open()))
    for number, row in enumerate(truth):
        copy = tmp_path / "faces" / "ab"[number % 2] / row["path"]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample / "images" / row["path"], copy)
    held_out = [sample / "images" / row["path"] for row in truth if row["expected"] == "kept"][:8]
    (tmp_path / "held out").mkdir()
    for number, path in enumerate(held_out):
        shutil.copy(path, tmp_path / "held out" / f"{number}.jpg")
    river = River(tmp_path / "faces", tmp_path)
    shared = (
        f"reference.sources=[{{kind: folder, path: '{tmp_path / 'held out'}'}}]",
        "source.identity_pattern=([^/]+)/[^/]+$",
    )
    for name, images, *settings in (("first", "a"), ("both", "b", "extends=first"), ("at-once", "")):
        ended = river.run(*shared, *settings, name=name, images=images)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    decided = [{row["source"]: row for row in _table(river.made("curate", name=name))} for name in ("both", "at-once")]
    assert len(decided[0]) == len(truth)
    assert decided[0] == decided[1]
    leaks = {row["image_id"] for row in decided[0].values() if row["reason"] == "leak"}
    assert leaks >= {hashlib.sha256(path.read_bytes()).hexdigest() for path in held_out}
    assert _counts(river.made("shard", name="both")) == _counts(river.made("shard", name="at-once"))


@pytest.mark.slow
def test_a_further_evaluation_set_retrains_nothing_until_it_changes_the_decisions(
    river: River, sample: Path, tmp_path: Path
) -> None:
    """Strangers are a reference that changes nothing; pictures of the training set are one that does."""
    mine = River(sample, tmp_path)
    shutil.copytree(river.home, tmp_path, dirs_exist_ok=True)
    (tmp_path / "strangers").mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "strangers" / f"{seed}.png")
    strangers = f"{{kind: folder, path: '{tmp_path / 'strangers'}'}}"
    before = mine.manifests()
    ended = mine.run(f"reference.sources=[{strangers}]")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "note: the references changed and the decisions did not" in ended.stdout
    assert ended.stdout.count("cached") == 4, "the records, and what follows the decisions"
    again = mine.run(f"reference.sources=[{strangers}]")
    assert again.stdout.count("cached") == 8
    kept = ("dataset", "model", "evaluation")
    assert mine.manifests(*kept) == {kind: before[kind] for kind in kept}
    truth = csv.DictReader((sample / "truth.csv").open())
    known = next(sample / "images" / row["path"] for row in truth if row["expected"] == "kept")
    (tmp_path / "known").mkdir()
    shutil.copy(known, tmp_path / "known")
    ended = mine.run(f"reference.sources=[{strangers},{{kind: folder, path: '{tmp_path / 'known'}'}}]")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 picture is now excluded as leaks, 0 before; shard, train and evaluate.val run again" in ended.stdout, (
        ended.stdout
    )
    assert ended.stdout.count("cached") == 1, "the records"


def test_relative_paths_are_those_of_the_folder_in_which_the_run_was_started(sample: Path, tmp_path: Path) -> None:
    settings = ("name=r", *SIZES, "source.path=sample/images", "store=store", "runs=runs")
    (tmp_path / "sample").symlink_to(sample)
    ended = subprocess.run(
        [*RINGMILL, "plan", *settings], capture_output=True, text=True, check=False, cwd=tmp_path, env=_WIDE
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{tmp_path}/store/records/" in ended.stdout


HEADS = {
    "f2c": ("objective=f2c", "shard.layout=identity", "objective.pool.slots=24", "objective.pool.check_every_steps=3"),
    "partial_fc": (
        "objective=partial_fc",
        "objective.centres.sample_rate=0.5",
        "objective.scale=24",
        "objective.margin=0.2",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_a_head_of_many_identities_goes_on_after_a_kill_as_if_there_had_been_none(
    head: str, river: River, sample: Path, tmp_path: Path
) -> None:
    straight, hit = (River(sample, tmp_path / name) for name in ("straight", "hit"))
    for one in (straight, hit):
        for kind in ("records", "pairs", "decisions"):
            shutil.copytree(river.home / "store" / kind, one.home / "store" / kind)
    _run_and_kill(hit, "train", _is_rank, when=lambda: _has_checkpoint(hit), settings=HEADS[head])
    for one in (straight, hit):
        ended = one.run(*HEADS[head])
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert hit.manifests() == straight.manifests()
    assert hit.losses() == straight.losses()
    assert hit.losses()[-1][1] < hit.losses()[0][1]
    assert json.loads((hit.made("evaluate.val") / "result.json").read_text())["figures"]["auc"]["value"] > 0.6
    page = (hit.home / "runs/r/report.html").read_text()
    assert "Adds up" in page
    if head == "partial_fc":
        _check_centres(hit)


def _check_centres(river: River) -> None:
    """The pieces of both ranks, joined by the command, are a row for each identity, none of them as it began."""
    out = river.home / "centres.safetensors"
    joined = [sys.executable, "-m", "jobs.centres", "--run", str(river.home / "runs/r/run.yaml"), "--out", str(out)]
    subprocess.run(joined, check=True, capture_output=True, cwd=ROOT)
    centres = load_file(out)
    assert len(centres["weight"]) == _facts(river.made("shard"))["splits"]["train"]["classes"]
    assert centres["velocity"].abs().sum(dim=1).min() > 0


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["facts"]
    return facts


def _counts(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = json.loads((folder / "manifest.json").read_text())["counts"]
    return counts


def _table(folder: Path) -> list[dict[str, object]]:
    return [row for path in folder.glob("rows/*.parquet") for row in pq.read_table(path).to_pylist()]


def _run_and_kill(
    river: River,
    stage: str,
    is_victim: Callable[[psutil.Process], bool],
    when: Callable[[], bool] = lambda: True,
    settings: Sequence[str] = (),
) -> None:
    """Start the river, and kill -9 a process of it while the stage runs."""
    driver = subprocess.Popen(
        river.command("place.retries=0", *settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    family = psutil.Process(driver.pid)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert driver.poll() is None, f"the run ended before its {stage} could be killed"
        if _state(river, stage) == "running" and when():
            victims = [process for process in _tree(family) if is_victim(process)]
            if victims:
                victims[-1].send_signal(signal.SIGKILL)
                break
        time.sleep(0.05)
    else:
        driver.kill()
        pytest.fail(f"nothing to kill in {stage}")
    assert driver.wait(timeout=120) != 0


def _tree(family: psutil.Process) -> Iterator[psutil.Process]:
    try:
        yield family
        yield from family.children(recursive=True)
    except psutil.NoSuchProcess:
        return


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return []


def _is_jvm(process: psutil.Process) -> bool:
    words = _words(process)
    return bool(words) and words[0].endswith("java") and "org.apache.spark.deploy.SparkSubmit" in words


def _is_driver(process: psutil.Process) -> bool:
    return _words(process)[:3] == RINGMILL


def _is_rank(process: psutil.Process) -> bool:
    words = _words(process)
    return words[1:3] in (["-m", "jobs.train"], ["-m", "jobs.evaluate"])


def _state(river: River, stage: str) -> str:
    try:
        return str(json.loads((river.home / "runs/r/run.json").read_text())["stages"][stage]["status"])
    except (OSError, KeyError, ValueError):
        return ""


def _has_checkpoint(river: River) -> bool:
    return any((river.home / "store/model").glob("*/checkpoint-*"))


def _num_losses(river: River) -> int:
    return sum(path.read_text().count('"loss"') for path in (river.home / "store/model").glob("*/metrics.jsonl"))
