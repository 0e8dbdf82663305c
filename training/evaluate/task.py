"""The evaluation of a backbone as its settings ask for it: pairs, embeddings, figures."""

from torch import nn

from training.comm.protocol import Comm
from training.evaluate.embed import embed
from training.evaluate.pair_pack import load_pack
from training.evaluate.pairs import PairSet
from training.evaluate.pairs_txt import load_pairs_txt
from training.evaluate.settings import EvaluateSettings
from training.evaluate.val_pairs import load_val_pairs
from training.evaluate.verification import VerificationResult, verify
from training.feed.location import Location
from training.feed.settings import DecodeSettings


def evaluate(
    backbone: nn.Module, settings: EvaluateSettings, comm: Comm, *, dataset: Location, size_px: int
) -> VerificationResult:
    """Judge a backbone on the settings' pairs; every rank calls it and gets the result.

    Args:
        dataset: where the dataset lies, for the val split.
        size_px: side of the backbone's square input.

    Raises:
        UserError: the pairs are missing, wrong or too few, or a picture cannot be decoded.
    """
    pairs = load_pairs(settings, dataset=dataset)
    decode = DecodeSettings(size_px=size_px, crop=settings.crop, fit=settings.fit)
    embeddings = embed(backbone, pairs.pictures, comm, decode=decode, batch_size=settings.batch_size)
    return verify(pairs, embeddings, fars=settings.fars)


def load_pairs(settings: EvaluateSettings, *, dataset: Location) -> PairSet:
    """The pairs that the settings name.

    Raises:
        UserError: they are missing, wrong or too few.
    """
    if settings.pairs == "val":
        return load_val_pairs(dataset, num_pairs=settings.num_pairs, folds=settings.folds, seed=settings.seed)
    assert settings.path is not None, "the settings see to it"
    if settings.pairs == "bin":
        return load_pack(settings.path, folds=settings.folds)
    return load_pairs_txt(settings.path)
