"""Planted faults of identities on CFP: which of them embeddings find, and whether a second round on less is the better.

    python tests/bench/identities.py --cfp cfp.tar                  # a model of half the people looks at the others
    python tests/bench/identities.py --cfp cfp.tar --pairs lfw.tar  # and two rounds on 20 % wrong names

The model that judges is trained by the project itself, on people that it does not judge, and its embeddings are scored
by the stage's own code; only the faults are made here. Each kind of fault is planted alone, under several seeds. A run
that was stopped goes on where it was (--work). The last line is one JSON object.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from pipelines.align import aligner_of
from pipelines.embedder import read_embedder
from pipelines.pixels import decode
from pipelines.records import EMBEDDINGS, IDENTITY, IMAGE_ID
from pipelines.score.score import score
from pipelines.score.settings import ScoreSettings
from pipelines.settings import EmbedSettings, PixelSettings, ShardSettings
from pipelines.tables.arrow import to_lists
from training.export import export_onnx
from training.model_file import read_model
from training.tasks.result import Result

ALIGN_PX = 80  # of the stored squares: large enough for every crop of an input of 48 px, and quick to decode
SEEDS = (3, 4, 5, 6)
WRONG = 0.2  # of the names, in the two rounds
RECALLS = (0.3, 0.5, 0.7, 0.9)
MARGINS = (-0.5, -0.4, -0.3, -0.2, -0.1, 0.0)
PROMINENCES = (2.5, 2.75, 3.0, 3.25, 3.5)

Names = NDArray[np.str_]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """The tables of the scores, by row."""

    own: NDArray[np.float64]  # cosine of each picture to its identity
    margin: NDArray[np.float64]  # by which that is above the one to the nearest other
    merges: dict[tuple[str, str], tuple[float, float]]  # cosine and prominence


def main() -> None:
    options = _options()
    work = options.work or Path(tempfile.mkdtemp(prefix="identities-"))
    photos = _unpack(options.cfp, work / "pictures")
    people = sorted({name for _, name in photos})
    known = set(people[: len(people) // 2])
    run = _train(work, "half", [photo for photo in photos if photo[1] in known], options)
    judged = [photo for photo in photos if photo[1] not in known]
    vectors = _embed(work, run, [path for path, _ in judged])
    figures = _faults(vectors, np.array([name for _, name in judged]))
    if options.pairs is not None:
        figures["rounds"] = _rounds(work, photos, options)
    print(json.dumps(figures))
    if options.work is None:
        shutil.rmtree(work)


def _faults(vectors: NDArray[np.float32], truth: Names) -> Figures:
    spark = session()
    figures: Figures = {"pictures": len(truth), "people": len(set(truth))}
    for share in (0.05, 0.2, 0.4):
        found = []
        for seed in SEEDS:
            names = flipped(truth, share, seed)
            said = _score(spark, vectors, names)
            found.append(_pictures_found(said, names != truth))
        figures[f"flipped_{share:.0%}"] = _tell(f"{share:.0%} wrong names, found by margin", found)
    for kind in ("random", "by pose"):
        found = []
        for seed in SEEDS:
            names, planted = split(truth, seed, by_pose=kind == "by pose")
            found.append(_pairs_found(_score(spark, vectors, names), planted))
        figures[f"split_{kind}"] = _tell(f"a quarter of the people as two each, {kind}, found by prominence", found)
    found = []
    for seed in SEEDS:
        names, guests = merged(truth, seed)
        found.append(_pictures_found(_score(spark, vectors, names), guests))
    figures["merged"] = _tell("ten pairs of people as one each, the second found by margin", found)
    spark.stop()
    return figures


def session() -> SparkSession:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[1]").appName("identities")
    told = {"ui.enabled": "false", "ui.showConsoleProgress": "false", "sql.shuffle.partitions": "1"}
    told |= {"python.daemon.module": "pipelines.spark_daemon", "sql.adaptive.enabled": "false"}
    for key, value in told.items():
        builder = builder.config(f"spark.{key}", value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def flipped(truth: Names, share: float, seed: int) -> Names:
    """So large a share of the pictures under the name of somebody else."""
    rng = np.random.default_rng(seed)
    people, names = np.unique(truth), truth.copy()
    for place in rng.permutation(len(truth))[: round(share * len(truth))]:
        names[place] = rng.choice(people[people != truth[place]])
    return names


def split(truth: Names, seed: int, *, by_pose: bool) -> tuple[Names, set[tuple[str, str]]]:
    """A quarter of the people as two of half the pictures, and who; by pose = one of them has all the profiles."""
    rng = np.random.default_rng(seed)
    people, names = np.unique(truth), truth.astype(object)
    chosen = rng.permutation(people)[: len(people) // 4]
    for person in chosen:
        places = np.flatnonzero(truth == person)  # the frontal ones first
        order = places if by_pose else rng.permutation(places)
        names[order[: len(order) // 2]] = f"{person}b"
    return names.astype(str), {(person, f"{person}b") for person in chosen}


def merged(truth: Names, seed: int) -> tuple[Names, NDArray[np.bool_]]:
    """Ten pairs of people under the name of the first, and which pictures are the second's."""
    pairs = np.random.default_rng(seed).permutation(np.unique(truth))[:20].reshape(-1, 2)
    names = truth.copy()
    for host, guest in pairs:
        names[truth == guest] = host
    return names, np.isin(truth, pairs[:, 1])


def _score(spark: SparkSession, vectors: NDArray[np.float32], names: Names) -> Said:
    ids = [hashlib.sha256(str(place).encode()).hexdigest() for place in range(len(names))]
    columns = [pa.array(ids), to_lists(vectors)]
    embeddings = spark.createDataFrame(pa.Table.from_arrays(columns, schema=EMBEDDINGS))
    named = spark.createDataFrame(pa.table({IMAGE_ID: ids, IDENTITY: [str(name) for name in names]}))
    scores = score(embeddings, named, ScoreSettings(min_neighbour_cosine=1.0))
    fits = {row[IMAGE_ID]: row for row in scores.fits.collect()}
    merges = {(row["left"], row["right"]): (row["cosine"], row["prominence"]) for row in scores.merges.collect()}
    spark.catalog.clearCache()
    own = np.array([fits[one]["own_cosine"] for one in ids])
    return Said(own, own - np.array([fits[one]["other_cosine"] for one in ids]), merges)


def _pictures_found(said: Said, wrong: NDArray[np.bool_]) -> Figures:
    figures = {
        "auc_own_cosine": roc_auc_score(wrong, -said.own),
        "auc_margin": roc_auc_score(wrong, -said.margin),
        "average_precision": average_precision_score(wrong, -said.margin),
    }
    figures |= _at_recalls(wrong, -said.margin)
    for limit in MARGINS:
        out = said.margin < limit
        figures[f"margin<{limit}: precision"] = _share(wrong & out, out)
        figures[f"margin<{limit}: recall"] = _share(wrong & out, wrong)
        figures[f"margin<{limit}: right ones lost"] = _share(~wrong & out, ~wrong)
    return figures


def _pairs_found(said: Said, planted: set[tuple[str, str]]) -> Figures:
    is_one = np.array([pair in planted for pair in said.merges])
    cosine, prominence = np.array(list(said.merges.values())).T
    # A planted pair that is no row is not found, wherever the threshold lies.
    missing = len(planted) - int(is_one.sum())
    truth = np.concatenate([is_one, np.ones(missing, bool)])
    worst = np.full(missing, -1e6)
    ranked = np.concatenate([prominence, worst])
    figures = {
        "average_precision_cosine": average_precision_score(truth, np.concatenate([cosine, worst])),
        "average_precision": average_precision_score(truth, ranked),
    }
    precision, recall, _ = precision_recall_curve(truth, ranked)
    figures["recall at precision 0.9"] = float(recall[precision >= 0.9].max())
    figures |= _at_recalls(truth, ranked)
    for limit in PROMINENCES:
        figures[f"prominence>={limit}: precision"] = _share(truth & (ranked >= limit), ranked >= limit)
        figures[f"prominence>={limit}: recall"] = _share(truth & (ranked >= limit), truth)
    return figures


def _at_recalls(truth: NDArray[np.bool_], ranked: NDArray[np.float64]) -> Figures:
    precision, recall, _ = precision_recall_curve(truth, ranked)
    return {f"precision at recall {least}": float(precision[recall >= least].max()) for least in RECALLS}


def _share(some: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(some.sum() / whole.sum()) if whole.any() else float("nan")


def _tell(title: str, found: list[Figures]) -> Figures:
    """Print the means over the seeds, and return them; a threshold that nothing reaches under any seed has none."""
    rows = {key: [one[key] for one in found if not np.isnan(one[key])] for key in found[0]}
    means = {key: round(float(np.mean(values)), 3) if values else None for key, values in rows.items()}
    print(f"\n{title}")
    for key, value in means.items():
        print(f"  {key:40} {'-' if value is None else f'{value:.3f}'}")
    return means


def _rounds(work: Path, photos: list[tuple[str, str]], options: argparse.Namespace) -> Figures:
    """Accuracy of a model of wrong names, and of the next, on what its margins leave."""
    truth = np.array([name for _, name in photos])
    names = flipped(truth, WRONG, 1)
    noisy = [(path, str(name)) for (path, _), name in zip(photos, names, strict=True)]
    limit = f"curate.identities.min_margin={options.margin}"
    judged = ["curate.split.val_fraction=0", "evaluate.sets.lfw.pairs=pairs_txt"]
    judged.append(f"evaluate.sets.lfw.path={options.pairs.absolute()}")
    run = _train(work, "rounds", noisy, options, "curate.rounds=2", limit, *judged)
    stages = {"first": "evaluate.lfw", "second": "evaluate.lfw-2"}
    found = {
        name: Result.model_validate_json((_artefact(run, stage) / "result.json").read_bytes())
        for name, stage in stages.items()
    }
    for name, result in found.items():
        print(f"{name} round: {result.summary()}")
    return {name: _headline(result) for name, result in found.items()}


def _headline(result: Result) -> Figures:
    accuracy = result.figures["accuracy"]
    return {"accuracy": accuracy.value, "accuracy_std": accuracy.spread, "auc": result.value("auc")}


def _embed(work: Path, run: Path, paths: Iterable[str]) -> NDArray[np.float32]:
    backbone, card = read_model(_artefact(run, "train"))
    model = work / "half.onnx"
    model.write_bytes(export_onnx(backbone, size_px=card.model.input_size_px).onnx)
    embedder = read_embedder(EmbedSettings(model=model))
    limits = PixelSettings()
    align = aligner_of(ShardSettings(align_px=ALIGN_PX), limits)
    assert align is not None
    stored = (align(Path(path).read_bytes(), None, None) for path in paths)
    return embedder.embed([embedder.show(decode(data, limits).rgb) for data in stored])


def _train(work: Path, name: str, rows: list[tuple[str, str]], options: argparse.Namespace, *overrides: str) -> Path:
    """Run the project on named pictures; the folder of the run."""
    listed = work / f"{name}.csv"
    if not listed.is_file():  # else it would be another source
        with listed.open("w", newline="") as stream:
            csv.writer(stream).writerows([("path", "identity"), *rows])
    told = [
        "system=cfp",
        f"name={name}",
        "source=list",
        f"source.path={listed.absolute()}",
        f"store={work.absolute() / 'store'}",
        f"runs={work.absolute() / 'runs'}",
        f"shard.align_px={ALIGN_PX}",
        f"recipe.epochs={options.epochs}",
        f"model.width={options.width}",
        "curate.split.val_fraction=0.02",
        *overrides,
    ]
    command = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())", "run", *told]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return work / "runs" / name


def _artefact(run: Path, stage: str) -> Path:
    """The folder of what a stage of a run made."""
    return Path(json.loads((run / "run.json").read_text())["stages"][stage]["folder"])


def _unpack(archive: Path, folder: Path) -> list[tuple[str, str]]:
    """Path and person of every picture, in order of the names."""
    with tarfile.open(archive) as members:
        for member in members:
            path = folder / Path(member.name).parent.name / Path(member.name).name
            if member.isfile() and path.suffix == ".jpg" and not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(members.extractfile(member).read())
    return [(str(path.absolute()), path.parent.name) for path in sorted(folder.rglob("*.jpg"))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cfp", type=Path, required=True, help="tar of CFP, one folder per person")
    parser.add_argument("--pairs", type=Path, help="tar of LFW with pairs.txt: also train twice on wrong names")
    parser.add_argument("--work", type=Path, help="folder that is kept; without it everything is removed in the end")
    parser.add_argument("--epochs", type=int, default=30, help="of each training")
    parser.add_argument("--width", type=float, default=0.5, help="factor on the channels of iresnet10")
    parser.add_argument("--margin", type=float, default=-0.3, help="below which the second round drops a picture")
    return parser.parse_args()


if __name__ == "__main__":
    main()
