"""What is missing at the place is told before the work, in one line."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.place import PlaceSettings
from jobs.planning import plan
from jobs.preflight import (
    check_batch,
    check_faces,
    check_horovod,
    check_java,
    check_libraries,
    check_objective,
    check_place,
    check_writable,
)
from jobs.settings import RunSettings
from pipelines.settings import UserError

Change = Callable[..., RunSettings]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_path_without_java_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none on the PATH; .*openjdk-17-jre-headless$"):
        check_java({"PATH": str(tmp_path)})


def test_java_home_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none JAVA_HOME=.*nowhere"):
        check_java({"PATH": os.environ["PATH"], "JAVA_HOME": str(tmp_path / "nowhere")})


def test_an_old_java_is_refused(tmp_path: Path) -> None:
    java = script(tmp_path / "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(UserError, match=rf"^{java} is openjdk version .11.*cannot use; install Java 17"):
        check_java({"PATH": str(tmp_path)})


def test_a_new_java_is_taken(tmp_path: Path) -> None:
    script(tmp_path / "java", "echo 'openjdk version \"21\" 2023-09-19' >&2")
    check_java({"PATH": str(tmp_path)})


def test_a_store_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^store: .*file/store cannot be written .*; allow it, or set store to another"
    ):
        check_writable(tmp_path / "file" / "store", setting="store")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        check_writable(tmp_path, setting="store")


def test_the_probe_of_a_store_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "store", setting="store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_horovod_that_does_not_load_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "horovod").mkdir()
    (tmp_path / "horovod" / "__init__.py").touch()
    (tmp_path / "horovod" / "torch.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    with pytest.raises(UserError, match=r"ImportError: undefined symbol: _ZN3c10\); run `ringmill install`"):
        check_horovod(Path(sys.executable), {**os.environ, "PYTHONPATH": str(tmp_path)})


def test_a_library_that_is_not_installed_is_named_before_a_stage_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "petastorm", None)
    with pytest.raises(UserError, match=r"^petastorm is not installed; run `ringmill install`$"):
        check_libraries(("six", "petastorm"))
    check_libraries(("six", "torch"))


def test_a_rule_on_faces_that_nobody_looks_for_is_refused(real_settings: RunSettings, change: Change) -> None:
    limited = change(real_settings, curate={"num_faces": {"min": 1}})
    with pytest.raises(UserError, match=r"curate.num_faces has a limit .*; set faces.detector=haar"):
        check_faces(limited)
    check_faces(change(limited, faces={"detector": "haar"}))


def test_a_batch_that_does_not_split_names_the_nearest_that_does(real_settings: RunSettings) -> None:
    settings = real_settings.model_copy(update={"place": PlaceSettings(hosts="localhost:3")})
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
    place = {"comm": "local", "hosts": "localhost:1"}
    settings = change(change(real_settings, place=place, recipe={"batch_size": 15}), **sections)
    with pytest.raises(UserError, match=message):
        check_objective(settings)


def test_an_objective_that_the_other_stages_suit_is_taken(real_settings: RunSettings, change: Change) -> None:
    place = {"comm": "local", "hosts": "localhost:1"}
    sections = {"objective": {**POOL, "pool": {"slots": 23}}, "shard": {"layout": "identity"}}
    check_objective(change(real_settings, place=place, recipe={"batch_size": 15}, **sections))


def test_nothing_is_asked_for_that_no_stage_needs(real_settings: RunSettings, tmp_path: Path) -> None:
    report = [plan(real_settings)[-1]]
    assert check_place(real_settings, report, python=tmp_path / "no python", env={"PATH": ""}) == []


def test_more_threads_than_cores_are_noted(real_settings: RunSettings, tmp_path: Path) -> None:
    place = PlaceSettings(comm="local", hosts="localhost:1", threads_per_rank=1024)
    settings = real_settings.model_copy(update={"place": place})
    train = [one for one in plan(settings) if one.name == "train"]
    notes = check_place(settings, train, python=Path(sys.executable), env={})
    assert len(notes) == 1
    assert notes[0].startswith("1024 threads of 1 ranks share the")
