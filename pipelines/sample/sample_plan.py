"""The plan of a sample set: the photo and the fault of every file, before anything is drawn.

Every identity has `photos` clean photos, and the faults are additional files. File names are numbers in random order,
without information.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from pipelines.records import CONFLICT, KEPT
from pipelines.sample.planted_faults import CONFLICTS, COPIES, OWN_PHOTO, PLANTED_FAULTS, PlantedFault
from pipelines.sample.settings import SampleSettings
from pipelines.settings import UserError

_PLAN_STREAM = 2**32 - 1  # no identity has this number


@dataclass(frozen=True)
class PlannedFile:
    """One file of the set and its row in truth.csv; paths are relative to the folder of images."""

    path: str
    identity: str
    fault: str  # "" for a clean photo
    of: str  # path of the original of a copy
    expected: str
    photo: int  # index of the photo in the album of the drawn identity


def plan_sample(settings: SampleSettings) -> list[list[PlannedFile]]:
    """The files of the set, one list per drawn identity; clean photos come first in each list.

    Raises:
        UserError: the set is too small for its copies, or min_side_px is above max_side_px.
    """
    _check(settings)
    rng = np.random.default_rng([settings.seed, _PLAN_STREAM])
    albums = [
        [_file(settings, i, "", KEPT, photo) for photo in range(settings.photos)] for i in range(settings.identities)
    ]
    _plan_copies(albums, settings, rng)
    _plan_own_photos(albums, settings, rng)
    return _with_names(albums, rng)


def _check(settings: SampleSettings) -> None:
    clean, copies = settings.identities * settings.photos, sum(_count(settings, fault) for fault in COPIES + CONFLICTS)
    if copies > clean:
        raise UserError(
            f"--identities={settings.identities} with --photos={settings.photos} are {clean} clean photos, which "
            f"cannot carry {copies} copies, one each; raise one of the two so that they are at least {copies}"
        )
    if settings.min_side_px > settings.max_side_px:
        raise UserError(f"min_side_px={settings.min_side_px} is above max_side_px={settings.max_side_px}; swap the two")


def _count(settings: SampleSettings, fault: PlantedFault) -> int:
    share = settings.fault_share if fault in OWN_PHOTO else settings.copy_share
    return max(settings.min_faults, round(share * settings.identities * settings.photos))


def _plan_copies(albums: list[list[PlannedFile]], settings: SampleSettings, rng: np.random.Generator) -> None:
    originals = iter(rng.permutation(settings.identities * settings.photos).tolist())
    for fault in COPIES + CONFLICTS:
        for _ in range(_count(settings, fault)):
            owner, photo = divmod(next(originals), settings.photos)
            holder = owner
            if fault in CONFLICTS:
                holder = (owner + int(rng.integers(1, settings.identities))) % settings.identities
                albums[owner][photo] = replace(albums[owner][photo], expected=CONFLICT)
            albums[owner].append(_file(settings, holder, fault.name, fault.expected, photo))


def _plan_own_photos(albums: list[list[PlannedFile]], settings: SampleSettings, rng: np.random.Generator) -> None:
    next_photo = [settings.photos] * settings.identities
    # In turn over the identities, so that none gets many of them.
    owners = rng.permutation(settings.identities).tolist()
    faults = [fault for fault in OWN_PHOTO for _ in range(_count(settings, fault))]
    for turn, fault in enumerate(faults):
        owner = owners[turn % len(owners)]
        albums[owner].append(_file(settings, owner, fault.name, fault.expected, next_photo[owner]))
        next_photo[owner] += 1


def _file(settings: SampleSettings, identity: int, fault: str, expected: str, photo: int) -> PlannedFile:
    name = f"person_{identity:0{len(str(settings.identities - 1))}d}"
    return PlannedFile(path="", identity=name, fault=fault, of="", expected=expected, photo=photo)


def _with_names(albums: list[list[PlannedFile]], rng: np.random.Generator) -> list[list[PlannedFile]]:
    sizes: dict[str, int] = defaultdict(int)
    for file in (file for album in albums for file in album):
        sizes[file.identity] += 1
    numbers = {identity: iter(rng.permutation(size).tolist()) for identity, size in sizes.items()}
    named = []
    for album in albums:
        paths = [f"{file.identity}/{next(numbers[file.identity]):04d}.{_extension(file)}" for file in album]
        is_copy = [bool(file.fault) and PLANTED_FAULTS[file.fault] not in OWN_PHOTO for file in album]
        named.append(
            [
                replace(file, path=path, of=paths[file.photo] if copied else "")
                for file, path, copied in zip(album, paths, is_copy, strict=True)
            ]
        )
    return named


def _extension(file: PlannedFile) -> str:
    return PLANTED_FAULTS[file.fault].extension if file.fault else "jpg"
