"""What is missing at the place is told before the work, in one line."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.places.place import open_place
from jobs.places.settings import LocalSettings, SingleSettings
from jobs.planning import plan
from jobs.preflight import check_batch, check_faces, check_objective, check_run
from jobs.settings import RunSettings
from pipelines.settings import UserError

Change = Callable[..., RunSettings]


def test_a_rule_on_faces_that_nobody_looks_for_is_refused(real_settings: RunSettings, change: Change) -> None:
    limited = change(real_settings, curate={"num_faces": {"min": 1}})
    with pytest.raises(UserError, match=r"curate.num_faces has a limit .*; set faces.detector=haar"):
        check_faces(limited)
    check_faces(change(limited, faces={"detector": "haar"}))


def test_a_batch_that_does_not_split_names_the_nearest_that_does(real_settings: RunSettings) -> None:
    settings = real_settings.model_copy(update={"place": LocalSettings(hosts="localhost:3")})
    with pytest.raises(UserError, match=r"^recipe\.batch_size=256 does not split over 3 ranks; 255 would$"):
        check_batch(settings)


POOL = {"name": "class_pool", "margin": 0.4, "scale": 64.0, "pool": {"slots": 22}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"objective": POOL}, r"^the objective needs the dataset's layout 'identity', and shard.layout=instance; set"),
        ({"feed": {"photos_per_identity": 3}}, r"^feed.photos_per_identity=3 needs .*=instance; set shard.layout="),
        (
            {"objective": POOL, "shard": {"layout": "identity"}},
            r"^objective.pool.slots=22 cannot hold the 23 pictures of a half-step of all ranks; set it to at least 23",
        ),
        (
            {"objective": POOL, "shard": {"layout": "identity"}, "feed": {"photos_per_identity": 2}},
            r"^feed.photos_per_identity=2, and .* 'dual', which chooses photos by itself; set it to null$",
        ),
        (
            {"objective": POOL, "shard": {"layout": "identity"}, "feed": {"where": {"share": 0.5}}},
            r'^feed.where=\{"share":0.5\}, and the objective takes whole identities; drop feed.where$',
        ),
        (
            {
                "objective": {"name": "cosface", "centres": {"kind": "sharded"}},
                "recipe": {"batch_size": 15, "optimiser": {"name": "adamw"}},
            },
            r"^objective.centres.kind=sharded and recipe.optimiser.name=adamw: .* updated by sgd; choose it, or set",
        ),
    ],
)
def test_an_objective_that_the_other_stages_do_not_suit_is_refused_before_they_run(
    real_settings: RunSettings, change: Change, sections: dict[str, dict[str, object]], message: str
) -> None:
    place = {"hosts": "localhost:1"}
    settings = change(change(real_settings, place=place, recipe={"batch_size": 15}), **sections)
    with pytest.raises(UserError, match=message):
        check_objective(settings)


def test_an_objective_that_the_other_stages_suit_is_taken(real_settings: RunSettings, change: Change) -> None:
    place = {"hosts": "localhost:1"}
    sections = {"objective": {**POOL, "pool": {"slots": 23}}, "shard": {"layout": "identity"}}
    check_objective(change(real_settings, place=place, recipe={"batch_size": 15}, **sections))


def test_nothing_is_asked_for_that_no_stage_needs(real_settings: RunSettings, tmp_path: Path) -> None:
    report = [plan(real_settings)[-1]]
    nowhere = open_place(real_settings.place, python=tmp_path / "no python")
    assert check_run(real_settings, report, nowhere, env={"PATH": ""}) == []


def test_more_threads_than_cores_are_noted(real_settings: RunSettings, tmp_path: Path) -> None:
    place = SingleSettings(threads_per_rank=1024)
    settings = real_settings.model_copy(update={"place": place})
    train = [one for one in plan(settings) if one.name == "train"]
    notes = check_run(settings, train, open_place(place, python=Path(sys.executable)), env={})
    assert len(notes) == 1
    assert notes[0].startswith("1024 threads of 1 ranks share the")
