"""The contract of every system and every objective: in small, alone and on two ranks, each trains, goes on to the same
bits where it was interrupted, is judged, and has the losses that it had before.

A file that is new in conf/system or conf/objective is found and tested; its losses are written by WRITE_COMMAND, which
also rewrites those of systems whose numbers changed on purpose.
"""

import gc
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from jobs.settings import CONF, RunSettings, compose
from pipelines import manifest, records
from pipelines.columns import DATASET as DATASET_SCHEMA
from pipelines.parquet import FILE, GROUP, write_runs, write_table
from pipelines.run_folder import METRICS_NAME
from training.build import build
from training.comm.local import LocalComm
from training.comm.protocol import Comm
from training.feed.location import dataset_location
from training.feed.plans.identities import LABELS_NAME
from training.loop import train
from training.parts import Hooks, Parts
from training.tasks.task import TaskContext, build_task
from training.testing.threads import run_threads

GOLDEN = Path(__file__).parent / "golden" / "systems.json"
WRITE_COMMAND = "WRITE_GOLDEN=1 python -m pytest tests/test_systems.py"
TOLERANCE = 5e-4  # relative: other kernels for convolutions changed some of these losses by 1e-4, most by 1e-6

SIDE_PX = 40
BATCH_SIZE = 8
STEPS_PER_EPOCH = 2
SPLITS = {"train": [1, 2, 1] * 5 + [2], "val": [3] * 6}  # photos of each person
PEOPLE_PER_GROUP = 4
DATASET = "0123456789abcdef"
CHECKPOINT_AT = 3  # batches: in the middle of the second epoch

SMALL = [
    "place=single",
    "model.width=0.25",
    "model.input_size_px=32",
    "model.embedding_dim=16",
    f"recipe.batch_size={BATCH_SIZE}",
    "recipe.epochs=2",
    "recipe.precision=fp32",
    # A low rate, at which a difference in rounding does not grow to a percent within these few steps.
    f"recipe.schedule.reference_batch_size={20 * BATCH_SIZE}",
    "recipe.schedule.warmup_epochs=0.5",
    "recipe.log_every_steps=1",
    f"recipe.checkpoint_every_steps={CHECKPOINT_AT}",
    "evaluate.sets.val.folds=2",
    "evaluate.sets.val.num_pairs=24",
]
# Whatever draws photos by identity asks for this layout, which any other feed can read as well.
OF_OBJECTIVES = ["model=iresnet10", "shard.layout=identity"]
# A pool that is smaller than the set, and ranks that compare theirs.
SMALL_POOL = ["objective.pool.slots=12", "objective.pool.momentum=0.5", "objective.pool.check_every_steps=2"]
SMALLER = {"f2c": SMALL_POOL, "triplet": ["feed.photos_per_identity=2"]}
# Beside the files of conf/objective: what they do not reach in small, or do not choose.
VARIANTS = {
    "adaface_sharded": ["objective=adaface", "objective.centres.kind=sharded"],
    "arcface_filtered": ["objective=arcface", "objective.filter_threshold=0.3"],
    "partial_fc_filled": ["objective=partial_fc", "objective.centres.sample_rate=0.75"],
    "partial_fc_whole": ["objective=partial_fc", "objective.centres.sample_rate=1.0"],
    "sum": [
        "objective=softmax",
        "objective.name=sum",
        "objective.terms.identification.objective.name=softmax",
        "objective.terms.verification.weight=0.5",
        "objective.terms.verification.objective.name=contrastive",
        "feed.photos_per_identity=2",
    ],
    "photos_by_identity": ["objective=softmax", "feed.photos_per_identity=2"],
}


def _stems(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


SYSTEMS = {name: [f"system={name}"] for name in _stems("system")}
OBJECTIVES = {
    **{name: [f"objective={name}", *OF_OBJECTIVES, *SMALLER.get(name, [])] for name in _stems("objective")},
    **{name: [*overrides, *OF_OBJECTIVES] for name, overrides in VARIANTS.items()},
}
TABLES = {"system": SYSTEMS, "objective": OBJECTIVES}


@dataclass(frozen=True)
class Case:
    """A composition on so many ranks."""

    table: str
    name: str
    num_ranks: int

    def __str__(self) -> str:
        return f"{self.table}-{self.name}-{self.num_ranks}"


CASES = [Case(table, name, num_ranks) for table, cases in TABLES.items() for name in cases for num_ranks in (1, 2)]
BY_CASE: Any = {"indirect": True, "ids": str, "scope": "module"}


@dataclass(frozen=True)
class Run:
    """What rank 0 holds at the end of a training."""

    weights: dict[str, Tensor]  # of the backbone, the objective and its shared-out rows
    losses: list[float]  # of every step
    accuracy: float  # on the pairs of the val split


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same drawn people in each layout."""
    folders = {layout: tmp_path_factory.mktemp(layout) / DATASET for layout in ("instance", "identity")}
    for layout, folder in folders.items():
        write_dataset(folder, layout)
    return folders


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def settings(case: Case, tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    folder = tmp_path_factory.mktemp("run")
    places = [f"source.path={folder}", f"store={folder / 'store'}", f"runs={folder / 'runs'}"]
    return compose([*places, *SMALL, *TABLES[case.table][case.name]])


@pytest.fixture(scope="module")
def dataset(settings: RunSettings, datasets: dict[str, Path]) -> Path:
    return datasets[settings.shard.layout]


@pytest.fixture(scope="module")
def straight(case: Case, settings: RunSettings, dataset: Path) -> Run:
    """The training at one go."""
    return run(settings, dataset, settings.store / "straight", num_ranks=case.num_ranks)


# The systems show it alone, too; for an objective two ranks are the harder case.
@pytest.mark.parametrize("case", [case for case in CASES if case.table == "system" or case.num_ranks == 2], **BY_CASE)
def test_an_interrupted_training_ends_on_the_same_bits(
    case: Case, settings: RunSettings, dataset: Path, straight: Run
) -> None:
    folder = settings.store / "broken"
    with pytest.raises(KilledError):
        run(settings, dataset, folder, num_ranks=case.num_ranks, kill_at=CHECKPOINT_AT)
    gc.collect()  # of the killed training, whose feed had begun the next epoch and whose error goes round in a circle
    resumed = run(settings, dataset, folder, num_ranks=case.num_ranks)
    assert resumed.losses == straight.losses
    assert resumed.weights.keys() == straight.weights.keys()
    assert [name for name, tensor in straight.weights.items() if not torch.equal(resumed.weights[name], tensor)] == []
    assert resumed.accuracy == straight.accuracy


@pytest.mark.parametrize("case", CASES, **BY_CASE)
def test_the_trained_model_is_judged_on_pairs_of_the_val_split(straight: Run) -> None:
    assert 0.5 <= straight.accuracy <= 1


@pytest.mark.parametrize("case", CASES, **BY_CASE)
def test_the_losses_are_those_of_the_golden_file(case: Case, straight: Run) -> None:
    if os.environ.get("WRITE_GOLDEN"):
        _write_golden(case, straight.losses)
    expected = _golden().get(case.table, {}).get(case.name, {}).get(str(case.num_ranks))
    assert expected is not None, (
        f"{GOLDEN.name} has no losses of {case.table}={case.name} on {case.num_ranks} ranks; write them by "
        f"`{WRITE_COMMAND} -k {case.table}-{case.name}-`"
    )
    assert len(straight.losses) >= 2 * STEPS_PER_EPOCH
    assert straight.losses == pytest.approx(expected, rel=TOLERANCE), (
        f"if the losses were to change, write them anew by `{WRITE_COMMAND} -k {case.table}-{case.name}-`"
    )


def test_the_golden_file_has_no_losses_of_what_is_gone() -> None:
    assert {table: set(cases) for table, cases in _golden().items()} == {
        table: set(cases) for table, cases in TABLES.items()
    }


def run(settings: RunSettings, dataset: Path, folder: Path, *, num_ranks: int, kill_at: int | None = None) -> Run:
    """Train from the newest checkpoint in the folder on, and judge the model; see `Run`."""

    def work(comm: Comm) -> tuple[dict[str, Tensor], float]:
        parts = build(settings, dataset, comm, device=torch.device("cpu"))

        def progress(done: int, total: int, text: str) -> None:
            if done == kill_at:
                raise KilledError

        train(parts, folder, hooks=Hooks(progress=progress))
        weights = _weights(parts)
        context = TaskContext(
            size_px=settings.model.input_size_px,
            batch_size=settings.evaluate.batch_size,
            dataset=dataset_location(settings.feed, dataset),
        )
        found = build_task(settings.evaluate.sets["val"], context).run(parts.backbone, comm)
        assert found.counts()["pairs"] > 0
        return weights, found.value("accuracy")

    (weights, accuracy), *others = [work(LocalComm())] if num_ranks == 1 else run_threads(num_ranks, work, in_turn=True)
    assert all(other[1] == accuracy for other in others)
    rows = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return Run(weights, [row["loss"] for row in rows], accuracy)


def _weights(parts: Parts) -> dict[str, Tensor]:
    rows = parts.objective.local_rows
    tables = {
        "backbone": parts.backbone.state_dict(),
        "objective": parts.objective.state_dict(),
        "rows": {} if rows is None else rows.tables,
    }
    return {f"{table}.{name}": value.clone() for table, named in tables.items() for name, value in named.items()}


def write_dataset(folder: Path, layout: str) -> None:
    """Drawn pictures of planted people: a shard of each split, in row groups of a few pictures or of a few people."""
    files = []
    for split, photos in SPLITS.items():
        rows = [(label, jpeg) for label, count in enumerate(photos) for jpeg in draw_photos(split, label, count)]
        if layout == "instance":
            rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
        labels, images = zip(*rows, strict=True)
        groups = [label // PEOPLE_PER_GROUP if layout == "identity" else None for label in labels]
        columns = {
            records.IMAGE_ID: [hashlib.sha256(jpeg).hexdigest() for jpeg in images],
            records.LABEL: labels,
            records.IMAGE: images,
            records.DIGEST: [zlib.crc32(jpeg) for jpeg in images],
            FILE: [f"{split}/000000"] * len(rows),
            GROUP: pa.array(groups, pa.int64()),
        }
        files += write_runs(pa.table(columns).to_batches(), folder, schema=DATASET_SCHEMA, rows_per_group=7)
    facts = {name: {"classes": len(photos), "rows": sum(photos)} for name, photos in SPLITS.items()}
    found = manifest.Manifest(
        kind="dataset",
        fingerprint=folder.name,
        parents={},
        settings={},
        code_version="",
        counts={},
        files=(*files, write_table(_index_labels(layout), folder, Path(LABELS_NAME).stem)),
        facts={"splits": facts},
    )
    manifest.write(folder, found)


def _index_labels(layout: str) -> pa.Table:
    """Where each person's pictures lie; see `records.LABELS`."""
    rows = []
    for split, photos in SPLITS.items():
        for label, count in enumerate(photos):
            group = label // PEOPLE_PER_GROUP
            first_row = sum(photos[group * PEOPLE_PER_GROUP : label])
            place = (group, first_row) if layout == "identity" else (None, None)
            rows.append((split, label, f"{split} {label}", count, *place))
    return pa.table(list(zip(*rows, strict=True)), schema=records.LABELS)


def draw_photos(split: str, label: int, count: int) -> Iterator[bytes]:
    """JPEGs of one person: a coarse pattern of its own, and noise that is each photo's own."""
    drawn = np.random.default_rng([len(split), label])
    pattern = drawn.integers(40, 216, (SIDE_PX // 8, SIDE_PX // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    for _ in range(count):
        picture = (pattern + drawn.integers(-25, 26, pattern.shape)).astype(np.uint8)
        yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _golden() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Table -> name -> number of ranks -> the loss of every step."""
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


def _write_golden(case: Case, losses: list[float]) -> None:
    golden = {
        table: {name: losses for name, losses in _golden().get(table, {}).items() if name in cases}
        for table, cases in TABLES.items()
    }
    golden[case.table].setdefault(case.name, {})[str(case.num_ranks)] = [float(f"{loss:.7g}") for loss in losses]
    lines = re.sub(
        r"\[[^\]]*\]", lambda match: " ".join(match[0].split()), json.dumps(golden, indent=1, sort_keys=True)
    )
    GOLDEN.write_text(lines + "\n")
