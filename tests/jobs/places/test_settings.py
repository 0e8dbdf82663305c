"""Places that cannot work are refused, with the way out."""

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jobs.places import settings as module
from jobs.places.place import Command, open_place
from jobs.places.settings import (
    PLACES,
    ChosenPlace,
    ClusterSettings,
    CommKind,
    LocalSettings,
    PlaceSettings,
    SingleSettings,
    TorchrunSettings,
)
from pipelines.kinds import Kind


def chosen(**values: Any) -> PlaceSettings:
    place: PlaceSettings = TypeAdapter(ChosenPlace).validate_python(values)
    return place


def test_the_kind_chooses_the_settings_and_without_one_it_is_this_machine() -> None:
    assert chosen() == LocalSettings()
    assert chosen(kind="single") == SingleSettings()
    assert chosen(kind="torchrun", hosts="localhost:8") == TorchrunSettings(hosts="localhost:8")
    cluster = chosen(kind="cluster", master="yarn", hosts="a:4,b:4", executor_memory="16g")
    assert cluster == ClusterSettings(master="yarn", hosts="a:4,b:4", executor_memory="16g")


def test_one_rank_per_slot_unless_told_otherwise() -> None:
    assert LocalSettings(hosts="a:4,b:3").num_ranks == 7
    assert LocalSettings(hosts="a:4,b:3", ranks=2).num_ranks == 2
    assert SingleSettings().num_ranks == 1


def test_slots_of_other_hosts_are_not_local() -> None:
    assert LocalSettings(hosts="localhost:3,b:4,127.0.0.1:1").num_local_slots == 4


@pytest.mark.parametrize(("master", "cores"), [("local", 1), ("local[3]", 3), ("local[2,4]", 2)])
def test_the_cores_of_a_local_spark_are_those_of_its_master(master: str, cores: int) -> None:
    assert LocalSettings(master=master).num_cores == cores
    assert LocalSettings(master=master, cores=64).num_cores == 64


@pytest.mark.parametrize(("master", "cores"), [("yarn", 1), ("spark://h:7077", 1), ("local-cluster[2,3,1024]", 6)])
def test_the_cores_of_a_cluster_are_known_where_they_are_given(master: str, cores: int) -> None:
    assert ClusterSettings(master=master, hosts="a:1").num_cores == cores
    assert ClusterSettings(master=master, hosts="a:1", cores=64).num_cores == 64


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"master": "localhost:7077"}, r"write such as local\[2\]"),
        ({"master": "spark://head:7077"}, "choose place=cluster"),
        ({"kind": "cluster", "hosts": "a:1", "master": "local[2]"}, "write spark://HOST:7077"),
        ({"kind": "cluster", "hosts": "a:1"}, "(?s)master.*Field required"),
        ({"hosts": "a:4 b:4"}, "HOST:SLOTS"),
        ({"hosts": "a:0"}, "HOST:SLOTS"),
        ({"hosts": "localhost:2", "ranks": 3}, "ranks=3 is more than the 2 slots"),
        ({"comm": "torch"}, "choose place=torchrun"),
        ({"kind": "torchrun", "hosts": "a:1,b:1"}, "choose comm=horovod"),
        ({"kind": "cluster", "master": "yarn", "hosts": "a:1,b:1", "comm": "torch"}, "choose comm=horovod"),
        ({"kind": "cluster", "master": "yarn", "hosts": "a:2", "comm": "local"}, "set ranks=1"),
        ({"executor_memory": "4g"}, "belongs to cluster, and kind is local"),
        ({"kind": "single", "hosts": "localhost:2"}, "belongs to local, torchrun or cluster, and kind is single"),
        ({"kind": "moon"}, "choose 'local', 'single', 'torchrun' or 'cluster'"),
    ],
)
def test_an_impossible_place_is_refused_with_the_remedy(wrong: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        chosen(**wrong)


class MoonSettings(PlaceSettings):
    """A place that nobody knew."""

    kind: str = "moon"
    master: str = "local"
    comm: CommKind = "local"
    crater: str


class MoonPlace:
    """Starts everything by one script."""

    def __init__(self, settings: MoonSettings, python: Path) -> None:
        self._crater = settings.crater

    def ring_command(self, module: str, arguments: list[str]) -> Command:
        return Command(("lunar-lander", self._crater, module, *arguments), {})


def test_a_place_that_nobody_knew_registers_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = f"{Path(__file__).stem}:MoonPlace"
    monkeypatch.setitem(PLACES, "moon", Kind(MoonSettings, builder))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    place = open_place(chosen(kind="moon", crater="tycho"), python=Path("/python"))
    assert place.ring_command("jobs.train", ["--run", "x"]).argv == (
        "lunar-lander",
        "tycho",
        "jobs.train",
        "--run",
        "x",
    )


def test_the_settings_of_places_import_nothing_heavy() -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"typing", "pydantic", "pipelines.kinds", "pipelines.settings"}
