"""The only loop: batches in, updates by the strategy, rows of metrics, checkpoints, and on from the last of them."""

import hashlib
import math
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipelines.run_folder import LOSS_TERM_PREFIX, METRICS_NAME
from pipelines.settings import UserError
from training.batch_norm import average_running_statistics
from training.checkpoint import Position
from training.feed.batch import Batch
from training.metrics import Clock, MetricsLog
from training.models.backbones import normalise
from training.objectives.loss import Loss
from training.parts import Hooks, Parts
from training.precision import autocast
from training.resume import resume, save
from training.strategies.strategy import NotFiniteError


def train(parts: Parts, folder: Path, *, hooks: Hooks) -> int:
    """Train to the end of the last epoch, from the newest checkpoint in the run's folder if there is one.

    Returns:
        The number of updates done since the run began.

    Raises:
        UserError: the loss or the gradient is no finite number, or the checkpoint belongs to other settings.
    """
    run = _Run(parts, folder, hooks)
    recipe = parts.settings.recipe
    total = recipe.epochs * parts.feed.steps_per_epoch
    is_shown = parts.comm.rank == 0 and sys.stderr.isatty()
    bar = tqdm(total=total, initial=run.num_batches, unit="step", disable=not is_shown)
    with bar, closing(run.batches()) as batches:
        while run.num_batches < total:
            text = run.update(batches)
            if run.is_epoch_end() or run.step % (recipe.checkpoint_every_steps or sys.maxsize) == 0:
                run.average_statistics()
                if run.is_epoch_end():
                    run.finish_epoch(hooks.validate)
                run.save()
            bar.set_postfix_str(text, refresh=False)
            bar.update(run.num_batches - bar.n)
            if parts.comm.rank == 0:
                hooks.progress(run.num_batches, total, text)
    return run.step


def step_seed(seed: int, *, step: int, rank: int) -> int:
    """The seed of one step on one rank: nothing of the random state has to be kept between steps."""
    digest = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class _Run:
    """The progress of a run: updates done and batches seen, which differ where a strategy uses several batches for an
    update."""

    def __init__(self, parts: Parts, folder: Path, hooks: Hooks) -> None:
        self._parts, self._folder = parts, folder
        self._recipe, self._seed = parts.settings.recipe, parts.settings.seed
        self._listeners = (MetricsLog(folder / METRICS_NAME), *hooks.listeners)
        self._clock = Clock()
        self._compute_loss = loss_function(parts)
        self.step = self.num_batches = 0
        position = resume(parts, folder, self._position())
        self.step = position.step
        self.num_batches = position.epoch * parts.feed.steps_per_epoch + position.step_in_epoch
        for listener in self._listeners if parts.comm.rank == 0 else ():
            listener.truncate(self.step)
        self._start_training()

    def batches(self) -> Generator[Batch, None, None]:
        """The batches of this rank from here on, epoch after epoch without an end."""
        steps_per_epoch = self._parts.feed.steps_per_epoch
        while True:
            epoch, start_step = divmod(self.num_batches, steps_per_epoch)
            for batch in self._parts.feed.epoch(
                epoch, start_step=start_step, has_next_epoch=epoch + 1 < self._recipe.epochs
            ):
                self.num_batches += 1
                yield batch
            assert self.num_batches == (epoch + 1) * steps_per_epoch, "the feed gave other than steps_per_epoch batches"

    def update(self, batches: Generator[Batch, None, None]) -> str:
        """Do one update; return a line on how it goes."""
        learning_rate = self._parts.learning_rate(self.num_batches)
        epoch = self.num_batches // self._parts.feed.steps_per_epoch
        torch.manual_seed(step_seed(self._seed, step=self.step, rank=self._parts.comm.rank))
        try:
            result = self._parts.strategy.advance(
                lambda: self._clock.next_batch(batches), self._compute_loss, learning_rate
            )
        except NotFiniteError as error:
            raise UserError(
                f"the {error.quantity} is {error.value} at step {self.step + 1}, learning rate {learning_rate:g}; "
                "lower recipe.schedule.base_lr, lengthen its warmup_epochs, or set recipe.optimiser.clip_norm"
            ) from error
        self.step += 1
        self._clock.count_step()
        rates = self._clock.rates(size=self._parts.comm.size)
        if self.step % self._recipe.log_every_steps == 0 or self.is_epoch_end():
            grad_norm = result.grad_norm if math.isfinite(result.grad_norm) else None
            parts = {f"{LOSS_TERM_PREFIX}{name}": value for name, value in result.parts.items()}
            row = {"epoch": epoch, "loss": result.loss, **parts, "grad_norm": grad_norm, "lr": learning_rate, **rates}
            if self.is_epoch_end():
                row["bad_rows"] = self._bad_rows()
            self._log(row)
            self._clock.restart()
        wait = rates["feed_wait_seconds"] / rates["step_seconds"]
        terms = "".join(f", {name} {value:.4f}" for name, value in result.parts.items())
        return f"loss {result.loss:.4f}{terms}, {rates['images_per_second']:,.0f} images/s, feed wait {wait:.0%}"

    def is_epoch_end(self) -> bool:
        return self.num_batches % self._parts.feed.steps_per_epoch == 0

    def average_statistics(self) -> None:
        """Make BatchNorm's running statistics the same on all ranks; left to a strategy that is not lock-step."""
        if self._parts.strategy.is_lock_step:
            for module in (self._parts.backbone, self._parts.objective):
                average_running_statistics(module, self._parts.comm)

    def finish_epoch(self, validate: Callable[[], dict[str, float]]) -> None:
        """Log the figures of the strategy and of the job, which may leave the modules in evaluation mode."""
        strategy = self._parts.strategy
        if values := {**strategy.finish_epoch(), **(validate() if strategy.is_lock_step else {})}:
            self._log(values)
        self._start_training()

    def save(self) -> None:
        save(self._parts, self._folder, self._position(), keep=self._recipe.keep_checkpoints)
        self._clock.restart()

    def _position(self) -> Position:
        epoch, step_in_epoch = divmod(self.num_batches, self._parts.feed.steps_per_epoch)
        return Position(
            step=self.step,
            epoch=epoch,
            step_in_epoch=step_in_epoch,
            seed=self._seed,
            global_batch_size=self._recipe.batch_size,
            world_size=self._parts.comm.size,
        )

    def _start_training(self) -> None:
        self._parts.backbone.train()
        self._parts.objective.train()
        self._clock.restart()

    def _bad_rows(self) -> int:
        """Of all ranks in this epoch; of this one alone where the strategy is not lock-step."""
        bad_rows = self._parts.feed.bad_rows
        if not self._parts.strategy.is_lock_step:
            return bad_rows
        return int(self._parts.comm.allreduce(torch.tensor([bad_rows]), name="bad_rows"))

    def _log(self, values: dict[str, Any]) -> None:
        for listener in self._listeners if self._parts.comm.rank == 0 else ():
            listener.append({"step": self.step, **values})


def loss_function(parts: Parts) -> Callable[[Batch], Loss]:
    """From a batch of bytes to its mean loss, on the device of the parts."""
    device, precision = parts.device, parts.settings.recipe.precision

    def embed(net: nn.Module, images: Tensor) -> Tensor:
        normalised = normalise(images.to(device, non_blocking=True))
        with autocast(precision, device):
            features: Tensor = net(normalised)
        return features

    return lambda batch: parts.objective.compute(batch, parts.backbone, embed)
