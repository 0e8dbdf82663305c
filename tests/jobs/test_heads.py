"""What a plan says of heads: the settings of the run, and usual values where they are silent."""

from collections.abc import Callable

import pytest

from jobs import cli, heads
from jobs.heads import head_size, identities_of
from jobs.places.settings import LocalSettings
from jobs.planning import PlannedStage, plan
from jobs.settings import RunSettings
from pipelines import manifest
from training.objectives.capacity import head_costs

Change = Callable[..., RunSettings]


@pytest.fixture
def settings(real_settings: RunSettings, change: Change) -> RunSettings:
    objective = {"name": "arcface"}
    changed = change(real_settings, objective=objective, model={"embedding_dim": 128}, recipe={"batch_size": 64})
    return changed.model_copy(update={"place": LocalSettings(hosts="localhost:4")})


def test_what_the_run_leaves_open_has_usual_values(settings: RunSettings) -> None:
    size = head_size(settings, 1_000_000)
    assert (size.ranks, size.batch, size.embedding_dim) == (4, 16, 128)
    assert (size.sample_rate, size.slots) == (0.1, 10_000)
    assert (size.feature_bytes, size.gradient_bytes) == (2, 4)
    assert head_size(settings, 100).slots == 4 * 24  # no fewer than a half-step shows


def test_what_the_run_says_is_taken(settings: RunSettings, change: Change) -> None:
    pool = {"name": "class_pool", "pool": {"slots": 500}}
    size = head_size(change(settings, objective=pool, strategy={"wire": "fp16"}), 1_000_000)
    assert (size.slots, size.gradient_bytes) == (500, 2)
    sampled = {"name": "cosface", "centres": {"kind": "sharded", "sample_rate": 0.3}}
    assert head_size(change(settings, objective=sampled), 1_000_000).sample_rate == 0.3


def test_identities_are_those_of_the_dataset_once_it_is_there(
    settings: RunSettings, plan_through: Callable[..., list[PlannedStage]]
) -> None:
    assert identities_of(plan(settings)) is None
    planned = plan_through(settings)
    assert identities_of(planned) is None
    shard = next(one for one in planned if one.name == "shard")
    facts = {"splits": {"train": {"classes": 77}}}
    shard.folder.mkdir(parents=True)
    manifest.write(
        shard.folder,
        manifest.Manifest(
            kind="dataset", fingerprint=shard.fingerprint, parents={}, settings={}, code_version="", counts={},
            files=(), facts=facts,
        ),
    )  # fmt: skip
    assert identities_of(plan(settings)) == 77


@pytest.mark.parametrize(("gib", "fitting"), [(None, 0), (0.75, 3), (1000.0, 6)])
def test_a_plan_says_which_heads_fit(
    gib: float | None,
    fitting: int,
    settings: RunSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "compose", lambda overrides: settings)
    monkeypatch.setattr(cli, "device_gib", lambda: None)
    monkeypatch.setenv("COLUMNS", "160")
    told = ["plan", "--identities", "2e6", *([] if gib is None else ["--device-gib", str(gib)])]
    assert cli.main(told) == 0
    shown = capsys.readouterr().out
    names = tuple(cost.way for cost in head_costs(head_size(settings, 2_000_000)))
    ways = [line for line in shown.splitlines() if line.startswith(names)]
    assert len(ways) == 6
    assert sum(line.rstrip().endswith("yes") for line in ways) == fitting
    assert ("no device is known" in shown) == (gib is None)


def test_a_plan_whose_identities_nobody_knows_has_no_heads(
    settings: RunSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "compose", lambda overrides: settings)
    assert cli.main(["plan"]) == 0
    assert "head" not in capsys.readouterr().out


def test_a_device_is_asked_of_torch() -> None:
    import torch

    found = heads.device_gib()
    assert (found is None) != torch.cuda.is_available()
