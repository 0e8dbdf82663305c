"""Centres of a run that ranks saved in pieces, joined by the command."""

import torch
from safetensors.torch import load_file

from jobs.centres import main
from jobs.settings import RunSettings, freeze
from pipelines.sources.settings import FolderSettings
from pipelines.store import Store
from training import checkpoint
from training.checkpoint import Contents, Position
from training.row_shards import RowShard
from training.testing.threads import run_threads

CENTRES = torch.randn(7, 2)


def run_of(tmp_path, fingerprints):
    settings = RunSettings(
        source=FolderSettings(path="/nowhere"),
        store=tmp_path / "store",
        runs=tmp_path / "runs",
        fingerprints=fingerprints,
    )
    freeze(settings, settings.folder / "run.yaml")
    return settings, settings.folder / "run.yaml"


def save(folder):
    position = Position(step=1, epoch=0, step_in_epoch=1, seed=0, global_batch_size=4, world_size=2)

    def work(comm):
        low, high = (0, 4) if comm.rank == 0 else (4, 7)
        rows = RowShard(low, 7, {"weight": CENTRES[low:high].clone(), "velocity": torch.zeros(high - low, 2)})
        checkpoint.save(folder, position, Contents({}, {}, {}, rows), comm, keep=1)

    run_threads(2, work)


def test_the_pieces_become_one_file(tmp_path, capsys):
    settings, run = run_of(tmp_path, {"train": "0" * 16})
    save(Store(settings.store).folder("model", "0" * 16))
    assert main(["--run", str(run), "--out", str(tmp_path / "centres.safetensors")]) == 0
    assert torch.equal(load_file(tmp_path / "centres.safetensors")["weight"], CENTRES)
    assert "7 centres" in capsys.readouterr().out


def test_a_run_without_a_checkpoint_is_one_line(tmp_path, capsys):
    for fingerprints, message in (({}, "names no artefact of train"), ({"train": "0" * 16}, "holds no checkpoint")):
        _, run = run_of(tmp_path, fingerprints)
        assert main(["--run", str(run), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
