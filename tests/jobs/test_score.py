"""The jobs that embed and score, one after the other, on the records of drawn people."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import embed, ingest, reference, score
from jobs.entry import JobContext, run_job
from jobs.settings import RunSettings, freeze
from pipelines.manifest import Manifest, describe, read, verify, write
from pipelines.records import FITS, MERGES, NEIGHBOURS
from pipelines.settings import ShowSettings

pytestmark = pytest.mark.spark

SIDE = 8
JOBS: dict[str, tuple[Callable[[JobContext], None], str]] = {
    "ingest": (ingest.ingest_source, "records"),
    "reference": (reference.ingest_references, "references"),
    "embed": (embed.embed_pictures, "embeddings"),
    "score": (score.score_pictures, "scores"),
}


@pytest.fixture(autouse=True)
def session(share_session: Callable[..., None]) -> None:
    share_session(ingest, reference, embed, score)


@pytest.fixture
def model(tmp_path: Path, write_onnx: Callable[..., Path]) -> Path:
    weights = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, 16)).astype(np.float32)
    return write_onnx(tmp_path / "model.onnx", weights, ("N", 3, SIDE, SIDE))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Four people of five pictures, alike but for noise; the last two are one. One file is broken."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, SIDE, SIDE, 3))
    coarse[3] = coarse[2]
    for person, place in np.ndindex(4, 5):
        path = tmp_path / "faces" / f"p{person}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noisy = np.clip(coarse[person] + rng.normal(0, 40, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(path), cv2.resize(noisy, (64, 64), interpolation=cv2.INTER_NEAREST))
    (tmp_path / "faces" / "p0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return tmp_path / "faces"


Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, faces: Path) -> Run:
    """Run jobs in turn; the store."""

    def jobs(names: tuple[str, ...], *, number: int = 1, **given: dict[str, Any]) -> Path:
        fingerprints = {f"{role}{suffix}": f"{role}{suffix}" for role in (*JOBS, "export") for suffix in ("", "-2")}
        own = {"name": "r", "store": tmp_path / "store", "runs": tmp_path / "runs", "fingerprints": fingerprints}
        source = {"kind": "folder", "path": str(faces)}
        settings = RunSettings.model_validate({**own, "source": source, "curate": {"rounds": number}, **given})
        path = settings.folder / "run.yaml"
        freeze(settings, path)
        for name in names:
            stage = name if number == 1 or name in ("ingest", "reference") else f"{name}-{number}"
            assert run_job(name, JOBS[name][0], argv=["--run", str(path), "--stage", stage]) == 0
        return settings.store

    return jobs


def test_pictures_are_embedded_and_held_against_each_other(run: Run, model: Path) -> None:
    # With so few people the largest differences are those between them, and whitening leaves little of them.
    store = run(
        ("ingest", "embed", "score"),
        embed={"model": str(model), "mirror": False},
        score={"min_merge_cosine": -1},
    )
    embeddings = verify(store / "embeddings" / "embed")
    assert embeddings.counts == {"rows": 20, "pictures": 21, "undecodable": 1}
    scores = verify(store / "scores" / "score")
    tables = {name: pq.read_table(store / "scores" / "score" / name) for name in ("fits", "merges", "neighbours")}
    assert {name: len(table) for name, table in tables.items()} == scores.counts
    assert [tables[name].schema.names for name in tables] == [s.names for s in (FITS, MERGES, NEIGHBOURS)]
    fits = tables["fits"].to_pylist()
    assert [(row["identity"]) for row in sorted(fits, key=lambda row: row["identity"])] == [
        f"p{person}" for person in range(4) for _ in range(5)
    ]
    assert all(row["other_identity"] in ("p2", "p3") for row in fits if row["identity"] in ("p3", "p2"))
    assert {row["other_identity"] for row in fits if row["identity"] == "p3"} == {"p2"}
    best = max(tables["merges"].to_pylist(), key=lambda row: row["cosine"])
    assert (best["left"], best["right"]) == ("p2", "p3")


def test_a_reference_is_among_the_neighbours_and_in_no_identity(run: Run, model: Path, faces: Path) -> None:
    held_out = (faces / "p3").rename(faces.parent / "held_out")
    store = run(
        ("ingest", "reference", "embed", "score"),
        embed={"model": str(model)},
        reference={"sources": [{"kind": "folder", "path": str(held_out)}]},
    )
    references = pq.read_table(store / "references" / "reference" / "rows")["image_id"].to_pylist()
    neighbours = pq.read_table(store / "scores" / "score" / "neighbours").to_pylist()
    crossing = [row for row in neighbours if (row["left"] in references) != (row["right"] in references)]
    assert len(crossing) >= 25  # each picture of the same person at least
    fits = pq.read_table(store / "scores" / "score" / "fits")["image_id"].to_pylist()
    assert not set(fits) & set(references)
    assert len(fits) == 15


def test_an_exported_model_goes_before_the_one_of_the_settings(run: Run, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "onnx" / "export-2"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.read_bytes())
    (folder / "embedder.json").write_text(ShowSettings(size_px=SIDE, mirror=False).model_dump_json())
    files = tuple(describe(folder, folder / name) for name in ("model.onnx", "embedder.json"))
    made = Manifest(
        kind="onnx", fingerprint="export-2", parents={}, settings={}, code_version="", counts={}, files=files
    )
    write(folder, made)
    run(("ingest", "embed"), embed={"model": str(model), "mirror": False})
    store = run(("embed",), number=2, embed={"model": "/nowhere.onnx"})
    first, second = (pq.read_table(store / "embeddings" / name / "rows") for name in ("embed", "embed-2"))
    assert first.equals(second)
    assert read(store / "embeddings" / "embed-2").parents["onnx"].fingerprint == "export-2"


def test_a_wrong_model_is_the_users_mistake_before_any_session(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cat.onnx").write_bytes(b"no model")
    run(("ingest",))
    monkeypatch.setattr(embed, "spark_session", None)
    with pytest.raises(AssertionError, match="assert 2 == 0"):
        run(("embed",), embed={"model": str(tmp_path / "cat.onnx")})
    told = json.loads((tmp_path / "runs" / "r" / "logs" / "embed.fault").read_text())["line"]
    assert "cat.onnx is no ONNX model" in told
