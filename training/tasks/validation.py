"""Verification on pairs of held-out identities, while a model is trained."""

from collections.abc import Callable

from torch import nn

from pipelines import manifest
from training.comm.protocol import Comm
from training.feed.location import Location
from training.feed.settings import DecodeSettings
from training.tasks.settings import EvaluateSettings, ValPairs
from training.tasks.task import TaskContext, build_task

NUM_PAIRS, FOLDS = 1000, 2  # few, since it is done after every epoch
_MIN_CLASSES = 2


def build_validation(dataset: Location, decode: DecodeSettings) -> Callable[[nn.Module, Comm], dict[str, float]]:
    """A function (backbone, comm) -> figures for the log of the training; every rank calls it.

    The figures are `val_accuracy`, or none where fewer than two identities are held out.

    Args:
        decode: how pictures are shown in training.

    Raises:
        UserError: the dataset cannot be read; also raised by the function, as by `Task.run`.
    """
    held_out = manifest.read_from(dataset, dataset.read).facts["splits"].get("val", {"classes": 0})
    if held_out["classes"] < _MIN_CLASSES:
        return lambda backbone, comm: {}
    settings = ValPairs(crop=decode.crop, fit=decode.fit, num_pairs=NUM_PAIRS, folds=FOLDS)
    context = TaskContext(size_px=decode.size_px, batch_size=EvaluateSettings().batch_size, dataset=dataset)
    task = build_task(settings, context)

    def validate(backbone: nn.Module, comm: Comm) -> dict[str, float]:
        accuracy = task.run(backbone, comm).value("accuracy")
        assert accuracy is not None, "an accuracy can always be measured"
        return {"val_accuracy": accuracy}

    return validate
