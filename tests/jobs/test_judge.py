"""A finished model is judged on any set from the command line, without a store; every mistake is one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from jobs import cli
from jobs.judge import question_of_run
from jobs.settings import RunSettings, freeze, load
from pipelines.sources.settings import FolderSettings
from training.comm.local import LocalComm
from training.evaluate.embed import embed
from training.evaluate.pair_pack import load_pack
from training.evaluate.verification import cosines
from training.feed.settings import DecodeSettings
from training.model_file import read_model
from training.tasks.result import Result
from training.tasks.settings import EvaluateSettings

WritePack = Callable[[Path, list[bool]], None]


@pytest.fixture
def pack(tmp_path: Path, write_pack: WritePack) -> Path:
    write_pack(tmp_path / "pairs.bin", [True, False, False, True] * 3)
    return tmp_path / "pairs.bin"


def _judge(*argv: str | Path) -> int:
    return cli.main(["evaluate", *map(str, argv)])


def test_a_model_is_judged_on_a_pack(
    tmp_path: Path, tiny_model: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing but the model: neither a manifest nor a run is needed.
    out = tmp_path / "result.json"
    given = ("pairs=bin", f"path={pack}", "folds=3", "crop=0.5", "fars=[0.5, 0.25]", "batch_size=5")
    assert _judge(tiny_model, *given, "--out", out) == 0
    result = Result.model_validate_json(out.read_bytes())
    pairs = load_pack(pack, folds=3)
    decode = DecodeSettings(size_px=32, crop=0.5)
    features = embed(read_model(tiny_model)[0], pairs.pictures, LocalComm(), decode=decode, batch_size=5)
    wanted = roc_auc_score(pairs.is_same, cosines(features, pairs.left, pairs.right))
    assert result.value("auc") == pytest.approx(wanted)
    assert [name for name in result.figures if name.startswith("tar")] == ["tar_at_far_0.5", "tar_at_far_0.25"]
    shown = capsys.readouterr().out
    assert "12 pairs of pairs.bin, 3 contiguous folds" in shown
    assert result.figures["accuracy"].text in shown


def test_the_val_split_of_a_dataset_is_drawn_from(
    tiny_model: Path, held_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _judge(tiny_model, "pairs=val", f"dataset={held_out}", "num_pairs=40", "folds=4") == 0
    assert "40 pairs drawn from the val split, 4 folds that share no person" in capsys.readouterr().out


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, held_out: Path, pack: Path) -> Path:
    """The runs folder of a run with two sets whose model and dataset are finished."""
    (tmp_path / "store" / "dataset").mkdir()
    held_out.rename(tmp_path / "store" / "dataset" / "held_out")
    sets = {"drawn": {"num_pairs": 40, "folds": 4}, "noise": {"pairs": "bin", "path": str(pack), "folds": 3}}
    settings = RunSettings(
        name="r",
        store=tmp_path / "store",
        runs=tmp_path / "runs",
        source=FolderSettings(path="/faces"),
        evaluate=EvaluateSettings.model_validate({"sets": sets}),
        fingerprints={"shard": "held_out", "train": "m"},
    )
    freeze(settings, settings.folder / "run.yaml")
    return tmp_path / "runs"


def test_a_set_of_a_run_is_judged_with_the_model_and_the_dataset_of_the_run(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _judge("--run", "r", "--set", "drawn", "--runs", run) == 0
    assert "40 pairs drawn from the val split, 4 folds" in capsys.readouterr().out
    assert _judge("--run", "r", "--set", "noise", "folds=2", "--runs", run) == 0
    assert "12 pairs of pairs.bin, 2 contiguous folds" in capsys.readouterr().out


def test_the_newest_model_of_a_run_in_rounds_is_judged(run: Path, tiny_model: Path) -> None:
    settings = load(run / "r" / "run.yaml")
    again = {"curate": settings.curate.model_copy(update={"rounds": 2})}
    newest = {**settings.fingerprints, "shard-2": "held_out", "train-2": "better"}
    freeze(settings.model_copy(update={**again, "fingerprints": newest}), run / "r" / "run.yaml")
    assert question_of_run(run / "r", "drawn").model == tiny_model.with_name("better")
    freeze(settings.model_copy(update=again), run / "r" / "run.yaml")
    assert question_of_run(run / "r", "drawn").model == tiny_model


def test_another_model_is_judged_on_a_set_of_a_run(
    run: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tiny_model.rename(tmp_path / "elsewhere")
    assert _judge("--run", "r", "--set", "noise", "--runs", run) == 2
    assert _judge(moved, "--run", "r", "--set", "noise", "--runs", run) == 0
    assert "12 pairs of pairs.bin" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("MODEL", "pairs=bin"), "path is not given; add path=VALUE"),
        (("MODEL", "pairs=bn"), "pairs=bn: choose 'val', 'pairs_txt' or 'bin'"),
        (
            ("MODEL", "pairs=bin", "path=nowhere.bin"),
            "path=nowhere.bin cannot be read (No such file or directory); name",
        ),
        (("MODEL", "pairs=bin", "path=PACK", "fold=3"), "there is no setting fold; did you mean folds?"),
        (("MODEL", "pairs=bin", "path=PACK", "folds=13"), "has 12 pairs for 13 folds; set folds to at most 12"),
        (("MODEL", "pairs=bin", "path=PACK", "batch_size=0"), "batch_size=0: must be at least 1"),
        (("MODEL", "pairs=bin", "path=PACK", "fars=[0.1"), "fars=[0.1 is no list; write such as fars='[0.1, 0.01]'"),
        (("MODEL", "pairs=bin", "PACK"), "is no setting; write key=value, such as pairs=bin path=lfw.bin"),
        (("MODEL",), "pairs=val is drawn from a dataset; add dataset=FOLDER, or choose pairs=pairs_txt or pairs=bin"),
        (("MODEL", "dataset=nowhere"), "nowhere has no manifest.json, so it is no finished artefact"),
        (("nowhere", "pairs=bin", "path=PACK"), "nowhere holds no model that can be built"),
        (("pairs=bin", "path=PACK"), "name the folder of a model, or a run by --run and one of its sets by --set"),
        (("--set", "drawn"), "name the folder of a model, or a run by --run"),
        (("--run", "r", "--runs", "RUNS"), "--set=: the run r has the sets drawn, noise; name one"),
        (("--run", "r", "--runs", "RUNS", "--set", "lfw"), "--set=lfw: the run r has the sets drawn, noise; name one"),
        (("--run", "never", "--runs", "RUNS"), "never/run.yaml does not exist; `ringmill run` writes it"),
        (
            ("MODEL", "pairs=bin", "path=PACK", "folds=3", "--out", "nowhere/x.json"),
            "nowhere/x.json cannot be written (No such file or directory); name a file in a folder that exists",
        ),
    ],
)
def test_a_mistake_is_one_line(
    argv: tuple[str, ...],
    line: str,
    run: Path,
    tiny_model: Path,
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, path in {"MODEL": tiny_model, "PACK": pack, "RUNS": run}.items():
        argv = tuple(one.replace(name, str(path)) for one in argv)
    assert _judge(*argv) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1
