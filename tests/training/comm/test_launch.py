"""The kinds of communicator are a table, and a new kind is a line in it."""

from typing import get_args

from training.comm import launch
from training.comm.launch import COMMS, CommKind, open_comm
from training.comm.local import LocalComm


def test_every_kind_that_settings_may_name_is_in_the_table():
    assert set(COMMS) == set(get_args(CommKind))


def test_a_new_kind_is_one_line(monkeypatch):
    monkeypatch.setitem(launch.COMMS, "toy", "training.comm.local:LocalComm")
    assert isinstance(open_comm("toy"), LocalComm)
