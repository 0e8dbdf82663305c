"""Loaders of pairs, one for each kind in the table `settings.PAIRS`."""

from pipelines.settings import UserError
from training.evaluate.pair_pack import load_pack
from training.evaluate.pairs import PairSet, Pictures
from training.evaluate.pairs_txt import load_pairs_txt
from training.feed.location import Location
from training.tasks.settings import PAIRS, ListedPairs, PackedPairs, SetSettings, ValPairs, VerificationSettings


def pictures_outside(settings: SetSettings) -> Pictures | None:
    """The pictures of a set that has files of its own; None where they are part of the dataset.

    Raises:
        UserError: as the loader of its kind.
    """
    if settings.files is None or not isinstance(settings, VerificationSettings):
        return None
    pairs: PairSet = PAIRS.builder(settings)(settings, None)
    return pairs.pictures


def drawn(settings: ValPairs, dataset: Location | None) -> PairSet:
    """Pairs of the val split.

    Raises:
        UserError: there is no dataset, or too few pictures to draw from.
    """
    # Imported here, since it imports torch, which a host of Spark that reads the files of the other kinds may lack.
    from training.evaluate.val_pairs import load_val_pairs

    if dataset is None:
        raise UserError("pairs=val is drawn from a dataset; add dataset=FOLDER, or choose pairs=pairs_txt or pairs=bin")
    return load_val_pairs(dataset, num_pairs=settings.num_pairs, folds=settings.folds, seed=settings.seed)


def listed(settings: ListedPairs, dataset: Location | None) -> PairSet:
    """Pairs of a `pairs.txt`.

    Raises:
        UserError: it is missing or wrong, or a picture is missing.
    """
    return load_pairs_txt(settings.path)


def packed(settings: PackedPairs, dataset: Location | None) -> PairSet:
    """Pairs of a verification pack.

    Raises:
        UserError: it is missing or holds anything else.
    """
    return load_pack(settings.path, folds=settings.folds)
