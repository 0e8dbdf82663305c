"""Places that cannot work are refused, with the way out."""

from typing import Any

import pytest
from pydantic import ValidationError

from jobs.place import PlaceSettings


def test_one_rank_per_slot_unless_told_otherwise() -> None:
    assert PlaceSettings(hosts="a:4,b:3").num_ranks == 7
    assert PlaceSettings(hosts="a:4,b:3", ranks=2).num_ranks == 2


def test_slots_of_other_hosts_are_not_local() -> None:
    assert PlaceSettings(hosts="localhost:3,b:4,127.0.0.1:1").num_local_slots == 4


@pytest.mark.parametrize("master", ["local", "local[2]", "local[*]", "local[2,4]"])
def test_local_masters_are_told_apart(master: str) -> None:
    assert PlaceSettings(master=master).is_local_spark


@pytest.mark.parametrize("master", ["yarn", "spark://h:7077", "k8s://https://h:443"])
def test_cluster_masters_are_not_local(master: str) -> None:
    assert not PlaceSettings(master=master).is_local_spark


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"master": "localhost:7077"}, "write local"),
        ({"hosts": "a:4 b:4"}, "HOST:SLOTS"),
        ({"hosts": "a:0"}, "HOST:SLOTS"),
        ({"hosts": "localhost:2", "ranks": 3}, "ranks=3 is more than the 2 slots"),
        ({"comm": "torch", "hosts": "a:1,b:1"}, "choose comm=horovod"),
        ({"comm": "local"}, "set ranks=1"),
    ],
)
def test_an_impossible_place_is_refused_with_the_remedy(wrong: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        PlaceSettings(**wrong)
