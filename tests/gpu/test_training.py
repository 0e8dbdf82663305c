"""Short trainings by the job itself, from shards to a model: every backbone, every objective, and one cut off.

On a GPU the backbones have their real size and half precision; on a CPU they are narrow and see small pictures.
"""

import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.entry import JobContext
from jobs.settings import RunSettings
from jobs.stages import STAGES
from jobs.train import train_model
from pipelines.run_folder import METRICS_NAME
from training.build import device_of
from training.checkpoint import latest
from training.comm.local import LocalComm
from training.model_file import read_model

CONF = Path(__file__).parents[2] / "conf"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


EASY = ("objective=softmax", "recipe=demo", "recipe.log_every_steps=1", "feed.keep=decoded", "feed.augment.flip=0.0")
SMALLEST = ("model=iresnet10", "recipe.epochs=2", "recipe.precision=fp16")
POOL = ("objective.pool.slots=256",)  # at least the pictures of a half-step
OF_OBJECTIVE = {"f2c": POOL, "triplet": ("feed.photos_per_identity=2",)}
CHECKPOINTS = "recipe.checkpoint_every_steps=3"
# Those of which a CPU makes a dozen steps in a second.
QUICK = ("iresnet10", "mobilefacenet", "resnet18")
BACKBONES_TRIED = [name for name in options("model") if torch.cuda.is_available() or name in QUICK]
Train = Callable[..., JobContext]


class StoppedError(Exception):
    """The end that a test puts to a training."""


@pytest.fixture
def context_of(
    device: torch.device, write_faces: Callable[..., Path], run_settings: Callable[..., RunSettings], tmp_path: Path
) -> Train:
    """What the driver would give to the job; later settings go before earlier ones."""
    if device.type == "cuda":
        dataset = write_faces(identities=64, photos=32, side_px=112)
        sizes: tuple[str, ...] = ("recipe.batch_size=128", "feed.threads=12", "recipe.precision=bf16")
    else:
        dataset = write_faces(identities=6, photos=8, side_px=32)
        small = ("model.width=0.25", "model.input_size_px=32", "model.embedding_dim=32")
        sizes = ("recipe.batch_size=12", "feed.threads=1", *small)

    def build(*overrides: str, name: str = "run") -> JobContext:
        settings = run_settings(*EASY, *sizes, *overrides)
        prints = {"train": name}
        return JobContext(
            settings=settings.model_copy(update={"fingerprints": prints, "store": tmp_path, "runs": tmp_path}),
            stage=next(stage for stage in STAGES if stage.verb == "train"),
            folder=tmp_path / name,
            parents={"dataset": dataset},
            earlier=[],
            run_folder=tmp_path,
            rank=0,
            progress=lambda done, total, text: None,
            log=logging.getLogger(__name__),
        )

    return build


def metrics(context: JobContext) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (context.folder / METRICS_NAME).read_text().splitlines()]


def by_epoch(context: JobContext, name: str) -> list[list[float]]:
    rows = metrics(context)
    return [[row[name] for row in rows if row["epoch"] == epoch] for epoch in range(rows[-1]["epoch"] + 1)]


@pytest.mark.parametrize("name", BACKBONES_TRIED)
def test_a_short_training_of_every_backbone_lowers_the_loss(
    name: str, context_of: Train, device: torch.device, figures: dict[str, Any]
) -> None:
    context = context_of(f"model={name}", "recipe.epochs=4", "recipe.keep_checkpoints=1")
    train_model(context)
    losses, rates = by_epoch(context, "loss"), by_epoch(context, "images_per_second")
    assert statistics.mean(losses[-1]) < 0.7 * losses[0][0]
    settings = context.settings
    figures.setdefault("training", {})[name] = {
        "images_per_second": round(statistics.median(rates[-1])),
        "batch": settings.recipe.batch_size,
        "side_px": settings.model.input_size_px,
        "precision": settings.recipe.precision if device.type == "cuda" else "fp32",
        "loss": [round(losses[0][0], 3), round(statistics.mean(losses[-1]), 3)],
    }
    backbone, card = read_model(context.folder)
    assert card.num_steps == sum(map(len, losses))
    assert all(bool(tensor.isfinite().all()) for tensor in backbone.state_dict().values())


@pytest.mark.parametrize("name", options("objective"))
def test_every_objective_trains_from_the_feed_to_a_model(name: str, context_of: Train) -> None:
    context = context_of(f"objective={name}", *OF_OBJECTIVE.get(name, ()), *SMALLEST)
    train_model(context)
    steps = [row["step"] for row in metrics(context) if "loss" in row]
    assert steps == list(range(1, read_model(context.folder)[1].num_steps + 1))
    assert len({row["loss"] for row in metrics(context) if "loss" in row}) == len(steps)


@pytest.mark.parametrize(
    "told", [["partial_fc", "objective.centres.bank=host"], ["f2c", *POOL]], ids=lambda told: told[0]
)
def test_a_training_that_was_cut_off_goes_on_to_the_same_model(
    told: list[str], context_of: Train, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    settings = (f"objective={told[0]}", *told[1:], *SMALLEST)
    whole, cut = context_of(*settings, name="whole"), context_of(*settings, CHECKPOINTS, name="cut")
    train_model(whole)

    def stop(done: int, total: int, text: str) -> None:
        if done == total // 2 + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_model(replace(cut, progress=stop))
    assert latest(cut.folder) is not None
    train_model(cut)
    assert [row["step"] for row in metrics(cut)] == [row["step"] for row in metrics(whole)]
    one, other = (weights(read_model(context.folder)[0]) for context in (whole, cut))
    # A GPU may add up in another order the next time; what a checkpoint forgets changes the tenth part and more.
    assert float((other - one).norm() / one.norm()) < (0.01 if device.type == "cuda" else 1e-5)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in net.state_dict().values() if tensor.is_floating_point()])


def test_ranks_beyond_the_number_of_gpus_share_them(device: torch.device) -> None:
    comm = LocalComm()
    comm.local_rank = torch.cuda.device_count()
    assert torch.zeros(1, device=device_of(comm)).device == torch.zeros(1, device=device).device
