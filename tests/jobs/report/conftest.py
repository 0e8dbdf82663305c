"""A tiny run with planted fates: what each picture is, and what became of it, is known to every test."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.report.contents import Made
from pipelines import manifest, records, run_folder
from pipelines.columns import DATASET

STAGES = {
    "records": "ingest", "pairs": "pairs", "scores": "score", "decisions": "curate", "dataset": "shard",
    "model": "train", "evaluation": "evaluate",
}  # fmt: skip
HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x.png onerror=alert(2)>'


def picture(seed, colour=(128, 128, 128), size=(40, 30)):
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    stream = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def image_id(image):
    return hashlib.sha256(image).hexdigest()


@dataclass
class Built:
    """A run folder and its artefacts; `rows` holds record and decision of each picture in one dict."""

    folder: Path
    artefacts: dict[str, Path]  # by kind
    rows: list[dict]

    @property
    def made(self):
        """The artefacts as those of the stages that make such kinds."""
        return [Made(STAGES[kind], folder) for kind, folder in self.artefacts.items()]


def plant():
    """12 kept (8 train, 2 val, 2 test), 5 rejected, 3 duplicates, 2 conflicts: 22 rows, 20 of them readable."""
    rows = []

    def add(image, *, decode="ok", identity="ann", source=None, **fate):
        source = source or f"file:///faces/{identity}/{len(rows):02d}.png"
        row = {"image_id": image_id(image), "source": source, "identity": identity, "image": image, "decode": decode}
        rows.append({**row, **fate})
        return row["image_id"]

    for number in range(12):
        split = "train" if number < 8 else "val" if number < 10 else "test"
        group = (
            {"group_id": image_id(picture(0)), "keeper_id": image_id(picture(0)), "distance": 0} if not number else {}
        )
        add(picture(number), status="kept", split=split, label=number // 4, **group)
    for number in range(3):
        finding = {"measurement": "blur", "value": [12.5, 29.99, None][number], "limit": 30.0}
        fate = {"status": "rejected", "reason": "too_blurred", "source": HOSTILE if number == 0 else None}
        add(picture(100 + number), **fate, **finding)
    add(picture(110)[:60], decode="truncated", status="rejected", reason="unreadable_truncated")
    add(b"no picture", decode="not_an_image", status="rejected", reason="unreadable_not_an_image")
    keeper = image_id(picture(0))
    for number, distance in ((0, 0), (201, 5), (202, 17)):
        fate = {"group_id": keeper, "keeper_id": keeper, "distance": distance}
        add(picture(number), identity="copy", status="duplicate", reason="near_duplicate", **fate)
    for identity in ("bob", f"cid {HOSTILE}"):
        fate = {"source": f"file:///{identity[:3]}/same.png", "group_id": image_id(picture(300))}
        add(picture(300), identity=identity, status="conflict", reason="two_identities", **fate)
    return rows


def write_artefact(root, kind, tables, *, parents=None, facts=None, texts=None):
    folder = root / kind
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, table in tables.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=5)
        files.append(manifest.describe(folder, path, rows=len(table)))
    for name, text in (texts or {}).items():
        (folder / name).write_text(text)
        files.append(manifest.describe(folder, folder / name))
    content = manifest.Manifest(
        kind=kind,
        fingerprint=hashlib.sha256(kind.encode()).hexdigest()[:16],
        parents=parents or {},
        settings={},
        code_version="c0de",
        counts={},
        files=tuple(files),
        facts=facts or {},
    )
    manifest.write(folder, content)
    return folder


def as_table(schema, rows):
    return pa.table(
        {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema}, schema
    )


def write_run(root, rows):
    """The artefacts up to the dataset; records and decisions in two files each, in different orders."""
    root.mkdir(exist_ok=True)
    half = len(rows) // 2
    parts = {"rows/00000.parquet": rows[:half], "rows/00001.parquet": rows[half:]}
    turned = {"rows/00000.parquet": rows[half:][::-1], "rows/00001.parquet": rows[:half][::-1]}
    decided = {name: as_table(records.DECISIONS, part) for name, part in turned.items()}
    left_out = [row for row in rows if row["status"] != "kept"]
    decided["rejected/00000.parquet"] = as_table(records.REJECTIONS, left_out)
    in_split = {split: [row for row in rows if row.get("split") == split] for split in records.SPLITS}
    shards = {f"{split}/00000.parquet": as_table(DATASET, kept) for split, kept in in_split.items()}
    labels = [{"split": "train", "label": label, "identity": str(label), "num_images": 4} for label in range(2)]
    splits = {split: {"rows": len(kept), "classes": 2} for split, kept in in_split.items()}
    search = {"table_bits": 23, "tables": 110, "expected_recall": 0.996}
    artefacts = {
        "records": write_artefact(root, "records", {k: as_table(records.RECORDS, v) for k, v in parts.items()}),
        "pairs": write_artefact(root, "pairs", {}, facts={"near_duplicates": search}),
        "decisions": write_artefact(root, "decisions", decided),
        "dataset": write_artefact(
            root,
            "dataset",
            {**shards, "labels.parquet": as_table(records.LABELS, labels)},
            parents={"decisions": manifest.Parent(kind="decisions", fingerprint="d3c1")},
            facts={"splits": splits},
        ),
    }
    return Built(root, artefacts, rows)


@pytest.fixture
def built(tmp_path):
    """The planted run up to the dataset."""
    return write_run(tmp_path / "run", plant())


@pytest.fixture
def rebuild(tmp_path):
    """Write other rows as a run, given a name."""
    return lambda name, rows: write_run(tmp_path / name, rows)


def write_evaluation(root, accuracy):
    figures = {
        "accuracy": {"label": "accuracy", "value": accuracy, "format": "share", "spread": 0.0125, "note": "2 folds"},
        "auc": {"label": "area under ROC", "value": 0.9321, "format": "number", "note": "40 pairs"},
        "tar": {"label": "true accepts at 0.001 false", "value": None, "format": "share", "note": "too few pairs"},
    }
    curve = {"label": "true accepts", "x": [0.0, 0.05, 1.0], "y": [0.0, 0.7, 1.0]}
    columns = [{"label": "fold", "format": "count"}, {"label": "threshold", "format": "number"}]
    result = {
        "kind": "verification", "about": "40 pairs of somewhere", "figures": figures, "headline": ["accuracy", "auc"],
        "charts": [{"title": "ROC", "x_label": "far", "y_label": "tar", "x_axis": "log", "series": [curve]}],
        "details": [{"title": "folds", "columns": columns, "rows": [[1, 0.25], [2, None]]}],
    }  # fmt: skip
    return write_artefact(root, "evaluation", {}, texts={"result.json": json.dumps(result)})


@pytest.fixture
def evaluate(tmp_path):
    """Write an evaluation of some accuracy, given a name."""
    return lambda name, accuracy: write_evaluation(tmp_path / name, accuracy)


@pytest.fixture
def score(tmp_path):
    """Write what embeddings say: merges as (left, right, prominence), fits as (image_id, identity, own_cosine)."""

    def write(merges, fits):
        named = {
            "merges/00000.parquet": as_table(
                records.MERGES,
                [dict(zip(("left", "right", "prominence"), row, strict=True)) | {"cosine": 0.5} for row in merges],
            ),
            "fits/00000.parquet": as_table(
                records.FITS, [dict(zip(("image_id", "identity", "own_cosine"), row, strict=True)) for row in fits]
            ),
        }
        return write_artefact(tmp_path, "scores", named)

    return write


@pytest.fixture
def trained(built):
    """The planted run to its end."""
    root = built.folder
    built.artefacts["model"] = write_artefact(root, "model", {}, texts={"model.json": "{}"})
    built.artefacts["evaluation"] = write_evaluation(root, 0.875)
    step = {"loss": 2.0, "lr": 0.1, "images_per_second": 321.0, "feed_wait_seconds": 0.1, "step_seconds": 0.5}
    rows = [{"step": at, "epoch": at // 6, **step} for at in range(1, 11)] + [{"step": 10, "val_accuracy": 0.7}]
    (root / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 11, "lo')
    ingest = run_folder.StageState(
        status="done", fingerprint="f00d", folder="x", seconds=61.0, attempts=2, summary="22 in"
    )
    state = run_folder.RunState(name="planted", pid=1, started="", source=None, ranks=1, stages={"ingest": ingest})
    run_folder.RunFolder(root).record.write_text(state.model_dump_json())
    (root / "run.yaml").write_text("recipe:\n  lr: 0.1\n")
    return built
