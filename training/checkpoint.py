"""Checkpoints: everything a run needs to go on, whole or not there, readable by any number of ranks.

``checkpoint-<step>/`` holds model.safetensors (the backbone), objective.safetensors, optimiser.pt (read with
weights_only=True, so that no file can run code) and, named last, state.json with the digests of the others and
of itself. Rows of
tables that the ranks share out lie in a file of each rank (``row_shards``), and every rank must see the folder then.
"""

import io
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor

from pipelines.durable import sync, sync_files, sync_names
from pipelines.manifest import sha256_of
from pipelines.sealed import seal, unseal
from pipelines.settings import Settings, UserError
from training.comm.protocol import Comm
from training.row_shards import RowShard, is_row_file, write_rows

MODEL_NAME = "model.safetensors"
OBJECTIVE_NAME = "objective.safetensors"
OPTIMISER_NAME = "optimiser.pt"
STATE_NAME = "state.json"

_FOLDER = re.compile(r"checkpoint-(\d+)")
_LOG = logging.getLogger(__name__)


class Position(Settings):
    """The progress of a run, and the settings that must not change when it resumes."""

    step: int = Field(ge=0)  # updates done
    epoch: int = Field(ge=0)  # of the next batch
    step_in_epoch: int = Field(ge=0)  # of the next batch
    seed: int
    global_batch_size: int = Field(ge=1)
    world_size: int = Field(ge=1)  # of the run that wrote it; another may read it


class _State(Position):
    format_version: Literal[1] = 1
    digests: dict[str, str]  # file name -> sha256


@dataclass(frozen=True)
class Contents:
    """The tensors of a checkpoint, as the state_dict of each part gives them."""

    model: dict[str, Tensor]
    objective: dict[str, Tensor]
    optimiser: dict[str, Any]  # tensors, numbers, strings, lists and dicts of them
    rows: RowShard | None = None  # what this rank alone holds; on all ranks or on none; to be saved only


def save(folder: Path, position: Position, contents: Contents, comm: Comm, *, keep: int) -> Path:
    """Write ``checkpoint-<step>`` and remove all but the newest ``keep``; every rank calls it.

    Rank 0 writes all but the rows of the other ranks; it returns when the checkpoint is there, the others earlier.
    """
    final = folder / f"checkpoint-{position.step}"
    staged = folder / f".{final.name}.{os.getpid()}"
    if comm.rank == 0:
        staged.mkdir(parents=True)
    digests = _save_rows(staged, contents.rows, comm) if contents.rows is not None else {}
    if comm.rank == 0:
        _save_rest(staged, position, contents, digests)
        shutil.rmtree(final, ignore_errors=True)  # a damaged one of the same step
        staged.rename(final)
        sync_names(folder)
        _prune(folder, newest=position.step, keep=keep)
    return final


def _save_rows(staged: Path, rows: RowShard, comm: Comm) -> dict[str, str]:
    """Write every rank's rows; the digests of their files, by name."""
    staged = staged.with_name(comm.broadcast_object(staged.name, name="checkpoint.staged"))
    if not staged.is_dir():
        raise UserError(
            f"rank {comm.rank} does not see {staged.parent}; sharded centres need a store that all hosts see"
        )
    path = write_rows(staged, rows, rank=comm.rank, size=comm.size)
    sync(path)
    return dict(comm.allgather_object([path.name, sha256_of(path)], name="checkpoint.rows"))


def _save_rest(staged: Path, position: Position, contents: Contents, digests: dict[str, str]) -> None:
    """Write what is the same on all ranks, and the state that makes the files a checkpoint."""
    safetensors.torch.save_file(_storable(contents.model), staged / MODEL_NAME)
    safetensors.torch.save_file(_storable(contents.objective), staged / OBJECTIVE_NAME)
    torch.save(contents.optimiser, staged / OPTIMISER_NAME)
    digests = digests | {name: sha256_of(staged / name) for name in (MODEL_NAME, OBJECTIVE_NAME, OPTIMISER_NAME)}
    state = _State(**position.model_dump(), digests=digests)
    (staged / STATE_NAME).write_bytes(seal(state.model_dump(mode="json")))
    sync_files(staged, staged.iterdir())


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint; one that is incomplete or damaged is passed over with a warning."""
    for _, path in reversed(_checkpoints(folder)):
        if _read_state(path) is not None:
            return path
        _LOG.warning("%s is incomplete or damaged and is passed over", path)
    return None


def restore(folder: Path, comm: Comm) -> tuple[Position, Contents, Path] | None:
    """The newest whole checkpoint and its folder, or None where there is none, on every rank.

    Rank 0 reads and sends, so that the ranks agree and only its host needs the folder; shared-out rows are left to
    whoever needs them (``row_shards.load_rows``).
    """
    path = latest(folder) if comm.rank == 0 else None
    state = _read_state(path) if path is not None else None
    sent = comm.broadcast_object(state.model_dump() if state is not None else None, name="checkpoint")
    if sent is None:
        return None
    files = {name: _share(path / name if path else None, comm) for name in sent.pop("digests") if not is_row_file(name)}
    del sent["format_version"]
    contents = Contents(
        model=safetensors.torch.load(files[MODEL_NAME]),
        objective=safetensors.torch.load(files[OBJECTIVE_NAME]),
        optimiser=torch.load(io.BytesIO(files[OPTIMISER_NAME]), map_location="cpu", weights_only=True),
    )
    position = Position(**sent)
    return position, contents, folder / f"checkpoint-{position.step}"


def _share(path: Path | None, comm: Comm) -> bytes:
    """The bytes of a file that rank 0 has."""
    content = torch.zeros(0, dtype=torch.uint8)
    if path is not None:
        content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    size = int(comm.broadcast(torch.tensor([len(content)]), name="checkpoint.size"))
    if path is None:
        content = torch.zeros(size, dtype=torch.uint8)
    return comm.broadcast(content, name="checkpoint.bytes").numpy().tobytes()


def _read_state(path: Path) -> _State | None:
    """The state of a whole checkpoint, None where anything is missing or altered."""
    try:
        state = _State.model_validate(unseal((path / STATE_NAME).read_bytes()))
        is_whole = all(sha256_of(path / name) == digest for name, digest in state.digests.items())
    except (OSError, ValueError):
        return None
    return state if is_whole else None


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Plain copies: safetensors refuses shared memory, and any layout but the plain one (channels_last is another)."""
    plain = torch.contiguous_format
    return {name: tensor.detach().cpu().clone(memory_format=plain) for name, tensor in tensors.items()}


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Folders named like checkpoints, oldest first."""
    matches = [(_FOLDER.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), path) for match, path in matches if match)


def _prune(folder: Path, *, newest: int, keep: int) -> None:
    """Remove old checkpoints, damaged ones from beyond the newest step, and what killed runs left half-written."""
    current = [path for step, path in _checkpoints(folder) if step <= newest][-keep:]
    for path in [*(path for _, path in _checkpoints(folder)), *folder.glob(".checkpoint-*")]:
        if path not in current:
            shutil.rmtree(path, ignore_errors=True)
