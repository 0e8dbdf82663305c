"""Hundreds of small files, each with its planted outcome, through real runs."""

import collections
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from . import jpegs, names, pngs, rasters
from .case import Case
from .sources import KINDS

ROOT = Path(__file__).resolve().parent.parent.parent
_RINGMILL = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
_SIZES = (
    "system=demo",
    "recipe.epochs=2",
    "recipe.batch_size=8",
    "model.input_size_px=32",
    "feed.threads=1",
    "place.ranks=1",
)
CASES = tuple(case for module in (pngs, jpegs, rasters, names) for case in module.cases())

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@dataclass(frozen=True)
class Ended:
    """A run that has ended: what it printed, and what its first stages made."""

    screen: str
    records: list[dict[str, Any]]  # without the bytes
    decisions: list[dict[str, Any]]
    counts: dict[str, int]  # of ingest's manifest


def run(home: Path, *settings: str) -> Ended:
    """`ringmill run` in a store of its own."""
    where = (f"store={home / 'store'}", f"runs={home / 'runs'}")
    command = [*_RINGMILL, "run", "name=r", *_SIZES, *where, *settings]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "COLUMNS": "400"}
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    stages = json.loads((home / "runs/r/run.json").read_text())["stages"]
    folders = {stage: Path(stages[stage]["folder"]) for stage in ("ingest", "curate")}
    columns = ["source", "identity", "decode", "width", "height", "brightness", "contrast", "orientation"]
    records = ds.dataset(_parquet(folders["ingest"])).to_table(columns).to_pylist()
    decisions = ds.dataset(_parquet(folders["curate"] / "rows")).to_table(["source", "status", "reason"]).to_pylist()
    counts = json.loads((folders["ingest"] / "manifest.json").read_text())["counts"]
    return Ended(ended.stdout + ended.stderr, records, decisions, counts)


def _parquet(folder: Path) -> list[str]:
    return sorted(map(str, folder.rglob("*.parquet")))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people, so that there is something to train on."""
    folder = tmp_path_factory.mktemp("sample") / "sample"
    drawn = [*_RINGMILL, "sample", str(folder), "--identities", "8", "--photos", "6", "--seed", "1"]
    subprocess.run(drawn, check=True, capture_output=True, cwd=ROOT)
    return folder / "images"


@pytest.fixture(scope="module")
def ended(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run over the files of the corpus, in one folder, and the drawn people."""
    home = tmp_path_factory.mktemp("corpus")
    source = home / "source"
    source.mkdir()
    for person in sample.iterdir():
        (source / person.name).symlink_to(person)
    for case in CASES:
        path = source / "corpus" / case.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(case.data)
    return run(home, f"source.path={source}", "source.links_out=follow")


def test_the_corpus_is_large_and_no_name_comes_twice() -> None:
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_file_has_its_planted_outcome(ended: Ended) -> None:
    rows = {row["source"].rpartition("/corpus/")[2]: row for row in ended.records if "/corpus/" in row["source"]}
    assert set(rows) == {case.name for case in CASES}
    wrong = {case.name: _described(rows[case.name]) for case in CASES if not _is_right(case, rows[case.name])}
    assert not wrong, json.dumps(wrong, indent=1)


def _is_right(case: Case, row: dict[str, Any]) -> bool:
    if row["decode"] not in case.decode:
        return False
    if row["decode"] != "ok" or case.grey is None:
        return True
    size = (row["width"], row["height"]) == case.size
    # A rounding of each level, and grey computed from it, stay below one level.
    return size and abs(row["brightness"] - case.grey[0]) < 1 and abs(row["contrast"] - case.grey[1]) < 1


def _described(row: dict[str, Any]) -> str:
    return " ".join(f"{key}={row[key]}" for key in ("decode", "width", "height", "brightness", "contrast"))


def test_no_file_is_lost_between_the_source_and_the_decisions(ended: Ended) -> None:
    assert collections.Counter(row["source"] for row in ended.records) == collections.Counter(
        row["source"] for row in ended.decisions
    )
    refused = {row["source"] for row in ended.records if row["decode"] != "ok"}
    assert refused <= {row["source"] for row in ended.decisions if row["status"] == "rejected"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_a_source_is_a_row_or_counted_by_name(kind: str, sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    made = KINDS[kind](folder, sample)
    ended = run(tmp_path, *made.settings)
    found = {_below(row["source"], folder): (row["identity"], row["decode"]) for row in ended.records}
    assert found == made.rows
    assert ended.counts.get("passed_over", 0) == made.num_passed_over
    for part in made.said:
        assert part in ended.screen


def _below(source: str, folder: Path) -> str:
    return source.removeprefix(f"{folder}/")
