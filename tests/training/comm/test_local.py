"""One process alone passes the checks that hold for many."""

import runpy
from pathlib import Path

import pytest
import torch

from training.comm.launch import open_comm
from training.comm.local import LocalComm

CHECKS = runpy.run_path(str(Path(__file__).parents[1] / "collectives_check.py"))


def test_collectives_are_those_of_numpy():
    CHECKS["check_all"](open_comm("local"))


def test_the_only_group_is_that_of_the_only_rank():
    comm = LocalComm()
    CHECKS["check_collectives"](comm.group([0]))
    with pytest.raises(AssertionError, match=r"no group of ranks \[0, 1\]"):
        comm.group([0, 1])


def test_there_is_nobody_to_send_to_or_receive_from():
    with pytest.raises(AssertionError, match="'x': the only rank has no other to send to"):
        LocalComm().send(torch.ones(1), to=0, name="x")
    with pytest.raises(AssertionError, match="'x': the only rank has no other to receive from"):
        LocalComm().recv(source=0, name="x")
    with pytest.raises(AssertionError, match="'x': the only rank has no other to receive from"):
        LocalComm().recv_any(name="x")
