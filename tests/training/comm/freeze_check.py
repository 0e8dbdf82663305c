"""Rank 1 stops in the middle of a launch of two; rank 0 says what it got. Started by test_comm.py."""

import os
import signal
import sys
from datetime import timedelta

import torch

from training.comm import torchrun
from training.comm.launch import open_comm
from training.comm.protocol import CollectiveError

# Gloo's limit for torch.distributed; that of Horovod comes from the environment.
torchrun._TIMEOUT = timedelta(seconds=3)

if __name__ == "__main__":
    comm = open_comm(sys.argv[1])
    comm.barrier()
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        comm.allreduce(torch.ones(10), name="gradients")
    except CollectiveError as error:
        print(f"rank 0 got an error: {error}", flush=True)
    os._exit(1)
