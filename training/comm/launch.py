"""The communicator of this launch, by the kind of its launcher."""

from importlib import import_module
from typing import Literal

from training.comm.protocol import Comm

CommKind = Literal["horovod", "torch", "local"]

# kind -> module:callable; each module loads its library, so it is imported only when it is asked for.
COMMS: dict[str, str] = {
    "horovod": "training.comm.horovod:join",
    "torch": "training.comm.torchrun:join",
    "local": "training.comm.local:LocalComm",
}


def open_comm(kind: CommKind) -> Comm:
    """Join the other ranks of this launch.

    Args:
        kind: "horovod" under horovodrun, "torch" under torchrun, "local" for one process alone.

    Raises:
        UserError: the library is missing, was built for another torch, or the launcher is not the right one.
    """
    module, name = COMMS[kind].split(":")
    comm: Comm = getattr(import_module(module), name)()
    return comm
