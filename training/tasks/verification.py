"""Verification: two pictures show one person or two; the protocol is that of `training.evaluate.verification`."""

from torch import nn

from training.comm.protocol import Comm
from training.evaluate.embed import embed
from training.evaluate.pairs import PairSet
from training.evaluate.verification import FoldResult, Roc, VerificationResult, verify
from training.feed.settings import DecodeSettings
from training.tasks.result import ChartData, Column, Figure, Result, Series, Table
from training.tasks.settings import PAIRS, VerificationSettings
from training.tasks.task import TaskContext


class Verification:
    """Judges a backbone by pairs of pictures."""

    def __init__(self, settings: VerificationSettings, context: TaskContext) -> None:
        self._settings, self._context = settings, context

    def run(self, model: nn.Module, comm: Comm) -> Result:
        """Accuracy over the folds, area under the ROC, and true accepts at given shares of false ones.

        Raises:
            UserError: the pairs are missing, wrong or too few, a picture cannot be decoded, or the model diverged.
        """
        settings, context = self._settings, self._context
        pairs: PairSet = PAIRS.builder(settings)(settings, context.dataset)
        decode = DecodeSettings(size_px=context.size_px, crop=settings.crop, fit=settings.fit)
        embeddings = embed(model, pairs.pictures, comm, decode=decode, batch_size=context.batch_size)
        return as_result(verify(pairs, embeddings, fars=settings.fars))


def as_result(judged: VerificationResult) -> Result:
    """The figures of a verification as a result, which names and describes them."""
    num_different = judged.num_pairs - judged.num_same
    return Result(
        kind="verification",
        about=f"{judged.pairs}; {judged.num_same:,} show one person, {num_different:,} show two",
        figures=_figures(judged),
        headline=("accuracy", "auc"),
        charts=_roc_chart(judged.roc),
        details=(_fold_table(judged.folds),),
    )


def _figures(judged: VerificationResult) -> dict[str, Figure]:
    one_kind = "" if judged.auc is not None else "all pairs are of one kind"
    figures = {
        "accuracy": Figure(
            label="accuracy",
            value=judged.accuracy,
            format="share",
            spread=judged.accuracy_std,
            note=f"{len(judged.folds)} folds",
        ),
        "auc": Figure(
            label="area under ROC", value=judged.auc, format="number", note=one_kind or f"{judged.num_pairs:,} pairs"
        ),
    }
    for far, tar in judged.tar_at_far.items():
        note = "" if tar is not None else one_kind or "too few pairs"
        figures[f"tar_at_far_{far}"] = Figure(
            label=f"true accepts at {far} false", value=tar, format="share", note=note
        )
    figures["threshold"] = Figure(label="best threshold", value=judged.threshold, format="number", note="cosine")
    figures["pairs"] = Figure(label="pairs", value=judged.num_pairs, format="count")
    figures["same_pairs"] = Figure(label="pairs of one person", value=judged.num_same, format="count")
    return figures


def _roc_chart(roc: Roc) -> tuple[ChartData, ...]:
    if not roc.far:
        return ()
    curve = Series(label="true accepts", x=roc.far, y=roc.tar)
    labels = {"x_label": "share of false accepts", "y_label": "share of true accepts"}
    return (ChartData(title="ROC", **labels, x_axis="log", y_top=1.0, series=(curve,)),)


def _fold_table(folds: tuple[FoldResult, ...]) -> Table:
    return Table(
        title="Folds, each judged by the threshold of the others",
        columns=(
            Column(label="fold", format="count"),
            Column(label="accuracy", format="share"),
            Column(label="threshold", format="number"),
            Column(label="pairs", format="count"),
        ),
        rows=tuple(
            (number, fold.accuracy, fold.threshold, fold.num_pairs) for number, fold in enumerate(folds, start=1)
        ),
    )
