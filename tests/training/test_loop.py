"""Training by the loop: any number of ranks, interrupted anywhere, ends where one process at one go would."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pipelines.run_folder import METRICS_NAME
from pipelines.settings import UserError
from training.build import Builder
from training.checkpoint import MODEL_NAME, latest
from training.comm.local import LocalComm
from training.comm.topology import Topology
from training.feed.batch import Batch
from training.loop import step_seed, train
from training.models.backbones import normalise
from training.models.settings import ModelSettings
from training.objectives.head_settings import SoftmaxSettings
from training.objectives.loss import Loss
from training.objectives.objective import Objective
from training.parts import Hooks
from training.schedule import learning_rate
from training.settings import CosineSettings, RecipeSettings, SgdSettings, TrainingSettings
from training.strategies.settings import AllReduceSettings
from training.strategies.strategy import StepResult, Strategy
from training.testing.threads import run_threads

GLOBAL_BATCH_SIZE = 12
STEPS_PER_EPOCH = 4
RECIPE = RecipeSettings(
    epochs=2,
    batch_size=GLOBAL_BATCH_SIZE,
    optimiser=SgdSettings(momentum=0.9, weight_decay=0.01, clip_norm=None),
    schedule=CosineSettings(base_lr=0.5, reference_batch_size=GLOBAL_BATCH_SIZE, warmup_epochs=0.5),
    log_every_steps=1,
    checkpoint_every_steps=3,
    precision="fp32",
)
NUM_CLASSES = 5


class MemoryFeed:
    """Images drawn from the step alone; rank r of n has the r-th part of each global batch."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(self, comm):
        self.bad_rows = comm.rank + 1
        self._part = slice(comm.rank * GLOBAL_BATCH_SIZE // comm.size, (comm.rank + 1) * GLOBAL_BATCH_SIZE // comm.size)

    def epoch(self, epoch, *, start_step=0, has_next_epoch=False):
        for step in range(start_step, STEPS_PER_EPOCH):
            images, labels = global_batch(epoch, step)
            ids = [""] * len(labels[self._part])
            yield Batch(images=images[self._part], labels=labels[self._part], image_ids=ids)


def global_batch(epoch, step):
    drawn = torch.Generator().manual_seed(1000 * epoch + step)
    images = torch.randint(0, 256, (GLOBAL_BATCH_SIZE, 3, 4, 4), dtype=torch.uint8, generator=drawn)
    return images, torch.randint(0, 5, (GLOBAL_BATCH_SIZE,), generator=drawn)


class Double(nn.Module):
    def forward(self, images):
        return images.double()


class CrossEntropy(Objective):
    """A stand-in for an objective, whose loss a test can spoil by a factor."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Linear(6, 5)
        self.factor = 1.0

    def forward(self, features, labels):
        return nn.functional.cross_entropy(self.centres(features), labels) * self.factor

    def loss(self, features, labels):
        return Loss(self(features, labels), {"size": features.square().mean()})


def modules(*, has_batch_norm=False, dropout=0.0):
    torch.manual_seed(7)
    middle = [nn.BatchNorm1d(8)] if has_batch_norm else []
    backbone = nn.Sequential(
        Double(), nn.Flatten(), nn.Linear(48, 8), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 6)
    )
    return backbone.double(), CrossEntropy().double()


def builder_for(comm, *, recipe=RECIPE, seed=3, **sections):
    settings = TrainingSettings(seed=seed, recipe=recipe, strategy=AllReduceSettings(bucket_mib=0.0005), **sections)
    return Builder(settings, Topology.of(comm), torch.device("cpu"), NUM_CLASSES)


def parts_for(comm, backbone, objective, **settings):
    return builder_for(comm, **settings).assemble(backbone, objective, MemoryFeed(comm))


def rate(step):
    return learning_rate(
        RECIPE.schedule,
        step=step,
        steps_per_epoch=STEPS_PER_EPOCH,
        epochs=RECIPE.epochs,
        global_batch_size=GLOBAL_BATCH_SIZE,
    )


class KilledError(Exception):
    pass


def run(folder, *, size=1, recipe=RECIPE, kill_at=None, seed=3, **net):
    """Train from fresh modules and return the backbone's state and the loss of every step, from rank 0."""

    def work(comm):
        backbone, objective = copy.deepcopy(made)

        def progress(done, total, text):
            if done == kill_at:
                raise KilledError

        parts = parts_for(comm, backbone, objective, recipe=recipe, seed=seed)
        train(parts, folder, hooks=Hooks(progress=progress))
        return backbone.state_dict()

    made = modules(**net)
    states = run_threads(size, work)
    rows = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return states, [(row["step"], row["loss"]) for row in rows]


def assert_equal_states(state, expected, *, tolerance):
    for name, tensor in expected.items():
        torch.testing.assert_close(state[name], tensor, rtol=tolerance, atol=tolerance, msg=name)


def train_by_hand():
    """The same training without anything of ours: one process, whole batches."""
    backbone, objective = modules()
    decaying = [p for p in (*backbone.parameters(), *objective.parameters()) if p.ndim > 1]
    others = [p for p in (*backbone.parameters(), *objective.parameters()) if p.ndim == 1]
    optimiser = torch.optim.SGD([{"params": decaying, "weight_decay": 0.01}, {"params": others}], momentum=0.9)
    losses = []
    for step in range(RECIPE.epochs * STEPS_PER_EPOCH):
        images, labels = global_batch(*divmod(step, STEPS_PER_EPOCH))
        loss = objective(backbone(normalise(images)), labels)
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        optimiser.step()
        losses.append(loss.item())
    return backbone.state_dict(), losses


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_any_number_of_ranks_trains_as_one_process_on_whole_batches(tmp_path, size):
    states, losses = run(tmp_path, size=size)
    expected, expected_losses = train_by_hand()
    for state in states:
        assert_equal_states(state, expected, tolerance=1e-12)
    assert [step for step, _ in losses] == list(range(1, 9))
    torch.testing.assert_close([loss for _, loss in losses], expected_losses, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "net"),
    [(1, {"dropout": 0.5, "has_batch_norm": True}), (3, {"has_batch_norm": True})],  # threads share the dice
)
@pytest.mark.parametrize("kill_at", [1, 5, 8])
def test_an_interrupted_run_ends_on_the_same_bits(tmp_path, size, net, kill_at):
    expected = run(tmp_path / "straight", size=size, **net)
    with pytest.raises(KilledError):
        run(tmp_path / "broken", size=size, kill_at=kill_at, **net)
    states, losses = run(tmp_path / "broken", size=size, **net)
    for state, expected_state in zip(states, expected[0], strict=True):
        assert_equal_states(state, expected_state, tolerance=0.0)
    assert losses == expected[1]


@pytest.mark.parametrize(("first", "then"), [(1, 4), (4, 2), (3, 1)])
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path, first, then):
    with pytest.raises(KilledError):
        run(tmp_path, size=first, kill_at=5)
    states, losses = run(tmp_path, size=then)
    expected, expected_losses = train_by_hand()
    for state in states:
        assert_equal_states(state, expected, tolerance=1e-12)
    torch.testing.assert_close([loss for _, loss in losses], expected_losses, rtol=1e-12, atol=1e-12)


def test_the_feed_begins_an_epoch_ahead_only_where_one_follows(tmp_path):
    asked = []

    class Told(MemoryFeed):
        def epoch(self, epoch, *, start_step=0, has_next_epoch=False):
            asked.append((epoch, start_step, has_next_epoch))
            return super().epoch(epoch, start_step=start_step)

    def work(comm, kill_at=None):
        def progress(done, total, text):
            if done == kill_at:
                raise KilledError

        recipe = RECIPE.model_copy(update={"epochs": 3})
        parts = replace(parts_for(comm, *modules(), recipe=recipe), feed=Told(comm))
        train(parts, tmp_path, hooks=Hooks(progress=progress))

    with pytest.raises(KilledError):
        work(LocalComm(), kill_at=6)
    work(LocalComm())
    assert asked == [(0, 0, True), (1, 0, True), (1, 2, True), (2, 0, False)]


def test_a_damaged_checkpoint_costs_steps_but_changes_nothing(tmp_path):
    expected = run(tmp_path / "straight", dropout=0.3)
    with pytest.raises(KilledError):
        run(tmp_path / "broken", kill_at=5, dropout=0.3)
    damaged = latest(tmp_path / "broken")
    assert damaged.name == "checkpoint-4"
    (damaged / MODEL_NAME).write_bytes((damaged / MODEL_NAME).read_bytes()[:100])
    states, losses = run(tmp_path / "broken", dropout=0.3)
    assert_equal_states(states[0], expected[0][0], tolerance=0.0)
    assert losses == expected[1]


def test_a_finished_run_does_no_step_more(tmp_path):
    first = run(tmp_path)
    metrics = (tmp_path / METRICS_NAME).read_bytes()
    again = run(tmp_path, kill_at=8)
    assert_equal_states(again[0][0], first[0][0], tolerance=0.0)
    assert (tmp_path / METRICS_NAME).read_bytes() == metrics


def test_one_ranks_bad_loss_is_one_line_on_all_ranks_and_no_weight_is_touched(tmp_path):
    made = modules()

    def work(comm):
        backbone, objective = copy.deepcopy(made)
        objective.factor = math.nan if comm.rank == 1 else 1.0
        with pytest.raises(
            UserError, match=r"the loss is nan at step 1, learning rate 0\.25; lower .*base_lr"
        ) as caught:
            train(parts_for(comm, backbone, objective), tmp_path, hooks=Hooks())
        assert "\n" not in str(caught.value)
        assert_equal_states(backbone.state_dict(), made[0].state_dict(), tolerance=0.0)
        return True

    assert run_threads(3, work) == [True, True, True]
    assert latest(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "begun with seed=3, not 4"),
        ({"recipe": RECIPE.model_copy(update={"batch_size": 24})}, "begun with recipe.batch_size=12, not 24"),
        ({"has_batch_norm": True}, "does not fit these settings"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_in_one_line(tmp_path, change, message):
    run(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        run(tmp_path, **change)
    assert "\n" not in str(caught.value)


def test_rows_say_where_the_time_went_and_validation_has_rows_of_its_own(tmp_path):
    seen = []

    def work(comm):
        backbone, objective = modules()

        def validate():
            backbone.eval()
            return {"val_accuracy": 0.5}

        hooks = Hooks(progress=lambda *step: seen.append((*step, backbone.training)), validate=validate)
        return train(parts_for(comm, backbone, objective), tmp_path, hooks=hooks)

    assert run_threads(2, work) == [8, 8]
    rows = [json.loads(line) for line in (tmp_path / METRICS_NAME).read_text().splitlines()]
    assert [row for row in rows if "val_accuracy" in row] == [
        {"step": 4, "val_accuracy": 0.5},
        {"step": 8, "val_accuracy": 0.5},
    ]
    steps = [row for row in rows if "loss" in row]
    assert [(row["step"], row["epoch"], row["lr"]) for row in steps] == [(i + 1, i // 4, rate(i)) for i in range(8)]
    assert [row.get("bad_rows") for row in steps] == [None, None, None, 3, None, None, None, 3]  # of 1 and 2
    assert all(row["loss_size"] > 0 for row in steps)
    assert all(0 <= row["feed_wait_seconds"] <= row["step_seconds"] for row in steps)
    assert all(row["images_per_second"] * row["step_seconds"] == pytest.approx(GLOBAL_BATCH_SIZE) for row in steps[:3])
    assert [(done, total, is_training) for done, total, _, is_training in seen] == [(i, 8, True) for i in range(1, 9)]
    assert f"loss {steps[0]['loss']:.4f}, size {steps[0]['loss_size']:.4f}, " in seen[0][2]
    assert "images/s" in seen[0][2]


def test_every_update_of_every_rank_draws_from_a_seed_of_its_own(tmp_path, monkeypatch):
    made, seeded = modules(), []
    monkeypatch.setattr(torch, "manual_seed", seeded.append)

    def work(comm):
        return train(parts_for(comm, *copy.deepcopy(made)), tmp_path, hooks=Hooks())

    assert run_threads(2, work) == [8, 8]
    assert sorted(seeded) == sorted(step_seed(3, step=step, rank=rank) for step in range(8) for rank in range(2))


class Normed(CrossEntropy):
    """An objective with statistics of the features that this rank has seen."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, features, labels):
        return super().forward(self.norm(features), labels)


def test_the_running_statistics_of_backbone_and_objective_are_the_same_on_all_ranks(tmp_path):
    backbone, _ = modules(has_batch_norm=True)
    made = backbone, Normed().double()

    def work(comm):
        own = copy.deepcopy(made)
        train(parts_for(comm, *own), tmp_path, hooks=Hooks())
        return [module.state_dict() for module in own]

    first, second = run_threads(2, work)
    for state, expected in zip(second, first, strict=True):
        assert any("running_mean" in name for name in state)
        assert_equal_states(state, expected, tolerance=0.0)


class TwoBatches(Strategy):
    """A strategy that takes two batches for an update, which loss scaling skips."""

    is_lock_step = True

    def __init__(self):
        self.rates = []

    def advance(self, next_batch, compute_loss, learning_rate):
        self.rates.append(learning_rate)
        losses = [compute_loss(next_batch()).total.item() for _ in range(2)]
        return StepResult(loss=sum(losses) / 2, grad_norm=math.inf)

    def state_dict(self):
        return {}


def test_the_rate_follows_the_batches_and_the_rows_of_metrics_the_updates(tmp_path):
    recipe = RECIPE.model_copy(update={"log_every_steps": 3, "checkpoint_every_steps": None, "keep_checkpoints": 1})
    parts = replace(parts_for(LocalComm(), *modules(), recipe=recipe), strategy=TwoBatches())
    assert train(parts, tmp_path, hooks=Hooks()) == 4
    assert parts.strategy.rates == [rate(0), rate(2), rate(4), rate(6)]
    rows = [json.loads(line) for line in (tmp_path / METRICS_NAME).read_text().splitlines()]
    # The third by log_every_steps, the second and the fourth as the ends of the epochs; the norm is not finite.
    assert [(row["step"], row["epoch"], row["grad_norm"]) for row in rows] == [(2, 0, None), (3, 1, None), (4, 1, None)]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]


def test_step_seeds_differ_in_everything_they_are_made_of():
    seeds = {step_seed(seed, step=step, rank=rank) for seed in range(5) for step in range(20) for rank in range(5)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)


def sharded_run(folder, *, size, kill_at=None):
    """Training whose centres the ranks share out: the weights of the backbone and the loss of every step."""

    def work(comm):
        backbone = copy.deepcopy(made)
        sharded = SoftmaxSettings.model_validate({"centres": {"kind": "sharded"}})
        builder = builder_for(comm, objective=sharded, model=ModelSettings(embedding_dim=6))
        objective = builder.build_objective(backbone)

        def progress(done, total, text):
            if done == kill_at:
                raise KilledError

        train(builder.assemble(backbone, objective, MemoryFeed(comm)), folder, hooks=Hooks(progress=progress))
        return backbone.state_dict()

    made, _ = modules()
    states = run_threads(size, work)
    rows = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
    return states[0], [row["loss"] for row in rows]


@pytest.mark.parametrize(("first", "then"), [(4, 3), (2, 2), (3, 1)])
def test_shared_out_centres_go_on_with_another_number_of_ranks(tmp_path, first, then):
    expected, expected_losses = sharded_run(tmp_path / "straight", size=1)
    with pytest.raises(KilledError):
        sharded_run(tmp_path / "broken", size=first, kill_at=5)
    state, losses = sharded_run(tmp_path / "broken", size=then)
    assert_equal_states(state, expected, tolerance=1e-5)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    assert losses[0] != losses[-1]


def test_a_checkpoint_of_whole_centres_does_not_fit_shared_out_ones(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="does not fit these settings") as caught:
        sharded_run(tmp_path, size=2)
    assert "\n" not in str(caught.value)


class Kept:
    """A listener that keeps its rows as the file does."""

    def __init__(self):
        self.rows = []

    def truncate(self, step):
        self.rows = [row for row in self.rows if row["step"] <= step]

    def append(self, row):
        self.rows.append(row)


def test_a_listener_gets_the_rows_of_the_file_from_rank_0_alone_also_after_an_interruption(tmp_path):
    listeners = [Kept(), Kept()]

    def work(comm, *, stop_at=None):
        def progress(done, total, text):
            if done == stop_at:
                raise KilledError

        hooks = Hooks(progress=progress, listeners=(listeners[comm.rank],))
        return train(parts_for(comm, *modules()), tmp_path, hooks=hooks)

    with pytest.raises(KilledError):
        run_threads(2, lambda comm: work(comm, stop_at=5))
    assert listeners[0].rows[-1]["step"] == 5
    run_threads(2, work)
    rows = [json.loads(line) for line in (tmp_path / METRICS_NAME).read_text().splitlines()]
    assert listeners[0].rows == rows
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert listeners[1].rows == []
