"""Heads for many identities, by how good the models are: ArcFace over all centres, Partial FC, and F2C's pool.

    python tests/bench/heads_quality.py --cfp cfp.tar --lfw lfw_folds1to5.tar    # CFP, judged on LFW
    python tests/bench/heads_quality.py                                          # drawn people, and wrong names

Every training is a run of the project: the same backbone, epochs, augmentation, margin and scale (AdaCos's for that
many identities, arXiv 1905.00292, section 4.1: a larger one costs points in trainings as short as these); only the head
differs. Partial FC samples 30 % of the identities, the pool holds as many or what --pools says. An epoch of F2C shows
two photos of an identity besides each picture of all, so it sees three times as many (`pictures`). Drawn people (5,000)
are judged on others, of whom nobody was trained on; then 40 % of the names are made wrong, and the heads that can do so
leave out other classes with a cosine above 0.4. A run that was stopped goes on where it was (--work). The last line is
one JSON object.
"""

import argparse
import csv
import json
import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RINGMILL = [sys.executable, "-c", "import sys; from jobs.cli import main; sys.exit(main())"]
SHARE = 0.3  # of the identities, in Partial FC's sample and in the pool
WRONG = 0.4  # of the names
TAR = "tar_at_far_"  # how the names of such figures begin
THRESHOLD = 0.4  # the filter of the second version of Partial FC (arXiv 2203.15565)
FOLDS, PAIRS_OF_A_KIND = 10, 150  # of the held-out drawn people, each fold with so many pairs of one and of two people

Photo = tuple[Path, str]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Set:
    """The training set and the judging set."""

    name: str
    num_identities: int
    settings: tuple[str, ...]


def main() -> None:
    options = _options()
    work = options.work or Path(tempfile.mkdtemp(prefix="heads-"))
    figures: dict[str, Figures] = {}
    for one in _sets(work.absolute(), options):
        for seed in options.seeds:
            for name, told in _heads(one, options).items():
                key = f"{one.name} {name} seed {seed}"
                figures[key] = _train(work.absolute(), one, name, told, seed)
                print(f"{key}: {figures[key]}", file=sys.stderr)
    print(json.dumps(figures))
    if options.work is None:
        shutil.rmtree(work)


def _sets(work: Path, options: argparse.Namespace) -> list[Set]:
    found = []
    if options.cfp is not None:
        found.append(_cfp(options))
    if options.identities:
        train, held = _drawn(work / "drawn", options)
        pairs = work / "held"
        if not (pairs / "pairs.txt").is_file():
            write_pairs(pairs, held)
        for name, photos in (("drawn", train), ("wrong", with_wrong_names(train, WRONG))):
            found.append(_listed(work / f"{name}.csv", photos, pairs, options))
    return found


def _cfp(options: argparse.Namespace) -> Set:
    settings = (
        "system=cfp",
        "source=tar",
        f"source.path={options.cfp.absolute()}",
        "evaluate.sets.lfw.pairs=pairs_txt",
        f"evaluate.sets.lfw.path={options.lfw.absolute()}",
        f"recipe.epochs={options.cfp_epochs}",
        f"model.input_size_px={options.cfp_px}",
    )
    listed = subprocess.run(["tar", "tf", str(options.cfp)], check=True, capture_output=True, text=True).stdout
    people = {Path(line).parent for line in listed.splitlines() if line.endswith(".jpg")}
    return Set("cfp", len(people), settings)


def _listed(path: Path, photos: list[Photo], pairs: Path, options: argparse.Namespace) -> Set:
    if not path.is_file():  # else it would be another source
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([("path", "identity"), *photos])
    settings = (
        "system=demo",
        "source=list",
        f"source.path={path}",
        "evaluate.sets.drawn.pairs=pairs_txt",
        f"evaluate.sets.drawn.path={pairs}",
        f"recipe.epochs={options.drawn_epochs}",
        f"model.input_size_px={options.drawn_px}",
    )
    return Set(path.stem, len({name for _, name in photos}), settings)


def _heads(one: Set, options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    scale = math.sqrt(2) * math.log(one.num_identities - 1)
    shape = (f"objective.margin={options.margin}", f"objective.scale={scale:.1f}")
    partial = ("objective=partial_fc", "objective.name=arcface", f"objective.centres.sample_rate={SHARE}", *shape)
    heads = {"arcface": ("objective=arcface", *shape), "partial_fc": partial}
    pool = ("objective=f2c", "objective.pool.margin=arcface", f"objective.pool.momentum={options.momentum}", *shape)
    for share in options.pools:
        heads[f"f2c {share:g}"] = (*pool, f"objective.pool.slots={round(share * one.num_identities)}")
    if one.name == "wrong":
        filtered = f"objective.filter_threshold={THRESHOLD}"
        heads |= {"arcface filtered": (*heads["arcface"], filtered), "partial_fc filtered": (*partial, filtered)}
    return {name: (*told, *_common(options)) for name, told in heads.items()}


def _common(options: argparse.Namespace) -> tuple[str, ...]:
    return (
        f"model.width={options.width}",
        "model.embedding_dim=128",
        f"recipe.batch_size={options.batch}",
        "shard.layout=identity",
        "curate.split.val_fraction=0",
        *options.set,
    )


def _train(work: Path, one: Set, head: str, told: tuple[str, ...], seed: int) -> Figures:
    """Run the project; what came of it."""
    name = f"{one.name}-{head}-{seed}".replace(" ", "-")
    where = (f"name={name}", f"seed={seed}", f"store={work / 'store'}", f"runs={work / 'runs'}")
    subprocess.run([*RINGMILL, "run", *where, *one.settings, *told], check=True, stdout=sys.stderr)
    stages = json.loads((work / "runs" / name / "run.json").read_text())["stages"]
    (evaluation,) = (stage for stage in stages if stage.startswith("evaluate."))
    judged = json.loads((Path(stages[evaluation]["folder"]) / "result.json").read_text())["figures"]
    trained = json.loads((Path(stages["train"]["folder"]) / "manifest.json").read_text())
    batch = trained["settings"]["recipe"]["batch_size"]
    figures = {"accuracy": judged["accuracy"]["value"], "accuracy_std": judged["accuracy"]["spread"]}
    figures = {key: round(value, 4) for key, value in {**figures, "auc": judged["auc"]["value"]}.items()}
    tars = {name.removeprefix(TAR): one["value"] for name, one in judged.items() if name.startswith(TAR)}
    figures |= {"tar_at_far": tars, "train_seconds": round(stages["train"]["seconds"])}
    figures |= {"identities": trained["counts"]["classes"], "steps": trained["counts"]["steps"]}
    figures["pictures"] = trained["counts"]["steps"] * batch * (3 if head.startswith("f2c") else 1)
    return figures


def _drawn(folder: Path, options: argparse.Namespace) -> tuple[list[Photo], list[Photo]]:
    """Photos without a planted fault: of the people to train on, and of those to judge by."""
    if not (folder / "truth.csv").is_file():
        size = ("--identities", str(options.identities + options.held), "--photos", str(options.photos))
        subprocess.run([*RINGMILL, "sample", str(folder), *size, "--processes", "2"], check=True, stdout=sys.stderr)
    with (folder / "truth.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["expected"] == "kept" and row["fault"] == ""]
    photos = [(folder / "images" / row["path"], row["identity"]) for row in rows]
    held = set(np.random.default_rng(0).permutation(sorted({name for _, name in photos}))[: options.held].tolist())
    return [photo for photo in photos if photo[1] not in held], [photo for photo in photos if photo[1] in held]


def with_wrong_names(photos: list[Photo], share: float) -> list[Photo]:
    """So large a share of the photos under the name of somebody else."""
    rng = np.random.default_rng(1)
    people, wrong = sorted({name for _, name in photos}), list(photos)
    for place in rng.permutation(len(photos))[: round(share * len(photos))]:
        path, name = photos[place]
        others = len(people) - 1
        wrong[place] = (path, people[(people.index(name) + 1 + int(rng.integers(others))) % len(people)])
    return wrong


def write_pairs(folder: Path, photos: list[Photo]) -> None:
    """The photos as LFW has them, with a list of pairs in folds."""
    rng = np.random.default_rng(2)
    of: dict[str, int] = {}
    for path, name in photos:
        of[name] = of.get(name, 0) + 1
        copy = folder / name / f"{name}_{of[name]:04d}{path.suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    several, people = [name for name, count in of.items() if count > 1], list(of)
    lines = [f"{FOLDS}\t{PAIRS_OF_A_KIND}"]
    for _ in range(FOLDS):
        for name in rng.choice(several, PAIRS_OF_A_KIND).tolist():
            one, other = (1 + rng.permutation(of[name])[:2]).tolist()
            lines.append(f"{name}\t{one}\t{other}")
        for _ in range(PAIRS_OF_A_KIND):
            left, right = rng.choice(people, 2, replace=False).tolist()
            lines.append(f"{left}\t{1 + rng.integers(of[left])}\t{right}\t{1 + rng.integers(of[right])}")
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cfp", type=Path, help="tar of CFP, one folder per person; needs --lfw")
    parser.add_argument("--lfw", type=Path, help="tar of LFW with pairs.txt")
    parser.add_argument("--identities", type=int, default=5000, help="drawn people to train on; 0 = none")
    parser.add_argument("--held", type=int, default=200, help="drawn people to judge by")
    parser.add_argument("--photos", type=int, default=5, help="of each of them")
    parser.add_argument("--cfp-epochs", type=int, default=20)
    parser.add_argument("--cfp-px", type=int, default=48, help="side of the model's input")
    parser.add_argument("--drawn-epochs", type=int, default=5)
    parser.add_argument("--drawn-px", type=int, default=32)
    parser.add_argument("--width", type=float, default=0.25, help="factor on the channels of iresnet10")
    parser.add_argument("--batch", type=int, default=64, help="pictures of all ranks in a step")
    parser.add_argument("--margin", type=float, default=0.1, help="radians")
    parser.add_argument("--pools", type=float, nargs="+", default=[SHARE], help="shares of the identities")
    parser.add_argument("--momentum", type=float, default=0.5, help="of the gallery net; see objective.pool.momentum")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of every run")
    parser.add_argument("--work", type=Path, help="folder that is kept; without it everything is removed in the end")
    options = parser.parse_args()
    if (options.cfp is None) != (options.lfw is None):
        parser.error("--cfp and --lfw go together")
    return options


if __name__ == "__main__":
    main()
