"""The seam between ranks: read protocol.py first, then the implementation you run (Horovod is the default)."""

from typing import Literal, assert_never

from training.comm.protocol import Comm

CommKind = Literal["horovod", "torch", "local"]


def open_comm(kind: CommKind) -> Comm:
    """Join the other ranks of this launch; each kind loads its library only when it is asked for.

    Args:
        kind: "horovod" under horovodrun, "torch" under torchrun, "local" for one process alone.

    Raises:
        UserError: the library is missing, was built for another torch, or the launcher is not the right one.
    """
    if kind == "horovod":
        from training.comm.horovod import HorovodComm

        return HorovodComm()
    if kind == "torch":
        from training.comm.torchrun import TorchComm

        return TorchComm()
    if kind == "local":
        from training.comm.local import LocalComm

        return LocalComm()
    assert_never(kind)
