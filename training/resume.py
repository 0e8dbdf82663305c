"""A run to and from its checkpoints: the same numbers whether it was interrupted or not, on any number of ranks."""

import logging
from pathlib import Path

from pipelines.settings import UserError
from training import checkpoint
from training.checkpoint import Contents, Position
from training.parts import Parts
from training.row_shards import load_rows

_LOG = logging.getLogger(__name__)


def save(parts: Parts, folder: Path, position: Position, *, keep: int) -> None:
    """Write a checkpoint of the run; every rank calls it, once the running statistics are the same on all."""
    contents = Contents(
        model=parts.backbone.state_dict(),
        objective=parts.objective.state_dict(),
        optimiser=parts.strategy.state_dict(),
        rows=parts.objective.local_rows,
    )
    checkpoint.save(folder, position, contents, parts.comm, keep=keep)


def resume(parts: Parts, folder: Path, start: Position) -> Position:
    """Load the newest checkpoint of the folder into the parts; a collective.

    Args:
        start: the beginning of this run, for the folder that holds no checkpoint yet.

    Returns:
        Where the run goes on.

    Raises:
        UserError: the checkpoint was written with another seed, batch size, model, objective or optimiser.
    """
    found = checkpoint.restore(folder, parts.comm)
    if found is None:
        return start
    position, contents, path = found
    for name, setting in {"seed": "seed", "global_batch_size": "recipe.batch_size"}.items():
        then, now = getattr(position, name), getattr(start, name)
        if then != now:
            raise UserError(f"{folder} was begun with {setting}={then}, not {now}: set it back, or remove {path}")
    try:
        parts.backbone.load_state_dict(contents.model)
        parts.objective.load_state_dict(contents.objective)
        parts.strategy.load_state_dict(contents.optimiser)
        if parts.objective.local_rows is not None:
            load_rows(path, parts.objective.local_rows)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"checkpoint-{position.step} in {folder} does not fit these settings ({reason}): "
            f"set them back, or remove {path}"
        ) from error
    _LOG.info("resumed at step %s, written by %d ranks", f"{position.step:,}", position.world_size)
    return position
