"""Pairs in the format of Labeled Faces in the Wild: a `pairs.txt` with a folder of pictures, or inside a tar of both.

The format (Huang et al., Labeled Faces in the Wild, UMass Amherst TR 07-49, 2007): a header `folds n`; then for each
fold n lines `name i j`, two pictures of one person, and n lines `name1 i name2 j`, of two. Picture i of a person is
`name/name_000i.jpg`; aligned copies are often PNG, so both endings are taken.
"""

import tarfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.settings import PixelSettings, UserError
from training.evaluate.pairs import MIN_FOLDS, PairSet, Pictures, held

FILE_NAME = "pairs.txt"
SUFFIXES = (".jpg", ".png")


@dataclass(frozen=True)
class Listing:
    """A parsed `pairs.txt`."""

    stems: list[str]  # of the N pictures, `name/name_0001`
    pairs: list[tuple[int, int]]  # P, into the stems
    is_same: list[bool]  # P
    fold: list[int]  # P


def load_pairs_txt(path: Path) -> PairSet:
    """The pairs of a folder (`pairs.txt` in it or beside it) or of a tar (`pairs.txt` anywhere in it).

    Raises:
        UserError: there is no `pairs.txt`, a line of it is wrong, or a picture is missing.
    """
    if path.is_dir():
        listing, pictures = _from_folder(path)
    elif path.is_file() and tarfile.is_tarfile(path):
        listing, pictures = _from_tar(path)
    else:
        raise UserError(f"path={path} is neither a folder nor a tar; name the folder or tar of the pictures")
    left, right = np.array(listing.pairs, dtype=np.int64).T
    return PairSet(
        pictures=pictures,
        left=left,
        right=right,
        is_same=np.array(listing.is_same),
        fold=np.array(listing.fold, dtype=np.int64),
        about=f"{len(left):,} pairs of {path.name}, in the {listing.fold[-1] + 1} folds of its {FILE_NAME}",
    )


def parse(text: str, *, place: str) -> Listing:
    """Read a `pairs.txt`.

    Raises:
        UserError: naming the line.
    """
    # Some lists have names with spaces, and tabs between the fields.
    lines = [line.split("\t") if "\t" in line else line.split() for line in text.splitlines() if line.strip()]
    folds, per_kind = _header(lines[0] if lines else [], place=place)
    if len(lines) - 1 != folds * per_kind * 2:
        raise UserError(
            f"{place} has {len(lines) - 1} pairs; its header promises {folds} x 2 x {per_kind}: fetch it again"
        )
    index: dict[str, int] = {}
    listing = Listing([], [], [], [])
    for number, fields in enumerate(lines[1:]):
        is_same = number // per_kind % 2 == 0
        stems = _stems(fields, is_same=is_same, place=f"{place}, pair {number + 1}")
        left, right = (index.setdefault(stem, len(index)) for stem in stems)
        listing.pairs.append((left, right))
        listing.is_same.append(is_same)
        listing.fold.append(number // (2 * per_kind))
    listing.stems.extend(index)
    return listing


def _header(fields: list[str], *, place: str) -> tuple[int, int]:
    if len(fields) != 2 or not all(field.isdecimal() and int(field) for field in fields):
        raise UserError(f"{place} opens with {' '.join(fields)!r}; its first line must be `folds pairs`, as `10 300`")
    folds, per_kind = map(int, fields)
    if folds < MIN_FOLDS:
        raise UserError(f"{place} has {folds} fold; thresholds are chosen on the others, so give {MIN_FOLDS} or more")
    return folds, per_kind


def _stems(fields: list[str], *, is_same: bool, place: str) -> tuple[str, str]:
    if len(fields) != (3 if is_same else 4):
        form = "name i j" if is_same else "name1 i name2 j"
        raise UserError(f"{place} is {' '.join(fields)!r}; the header puts a line `{form}` here: fetch the list again")
    left, left_number, *right_name, right_number = fields
    return _stem(left, left_number, place=place), _stem(
        right_name[0] if right_name else left, right_number, place=place
    )


def _stem(name: str, number: str, *, place: str) -> str:
    # A name becomes part of a path, which must stay within the folder.
    if not number.isdecimal() or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise UserError(f"{place} names picture {number!r} of {name!r}; expected are a plain folder name and a number")
    return f"{name}/{name}_{int(number):04d}"


def _from_folder(folder: Path) -> tuple[Listing, Pictures]:
    listed = next((file for file in (folder / FILE_NAME, folder.parent / FILE_NAME) if file.is_file()), None)
    if listed is None:
        raise UserError(f"no {FILE_NAME} in {folder} or beside it; put it there, or choose pairs=val")
    listing = parse(listed.read_text(encoding="utf-8", errors="replace"), place=str(listed))
    candidates = ((stem, folder / (stem + suffix)) for stem in listing.stems for suffix in SUFFIXES)
    found = {stem: file for stem, file in candidates if file.is_file()}
    _require_all(listing, found, place=folder)
    files = [found[stem] for stem in listing.stems]
    return listing, Pictures([str(file) for file in files], lambda i, j: [file.read_bytes() for file in files[i:j]])


def _from_tar(path: Path) -> tuple[Listing, Pictures]:
    # The tar is read twice: the list may come after the pictures, and only listed pictures are kept in memory.
    listed = next(_members(path, lambda name: name.name == FILE_NAME), None)
    if listed is None:
        raise UserError(f"no {FILE_NAME} in {path}; add it to the tar, or choose pairs=val")
    member, text = listed
    listing = parse(text.decode("utf-8", errors="replace"), place=f"{path}!/{member}")
    stem_of = {member.parent / (stem + suffix): stem for stem in listing.stems for suffix in SUFFIXES}
    found = {stem_of[name]: data for name, data in _members(path, stem_of.__contains__)}
    _require_all(listing, found, place=path)
    return listing, held([f"{path}!/{stem}" for stem in listing.stems], [found[stem] for stem in listing.stems])


def _members(path: Path, is_wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The chosen files of a tar in its order, streamed: nothing is written anywhere, links are not followed."""
    max_bytes = PixelSettings().max_bytes
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if not member.isreg() or not is_wanted(name):
                    continue
                if member.size > max_bytes:
                    raise UserError(f"{path}!/{name} has {member.size:,} bytes; a picture has at most {max_bytes:,}")
                stream = tar.extractfile(member)
                assert stream is not None, "a regular member has content"
                yield name, stream.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path} cannot be read to its end ({error}); fetch it again") from None


def _require_all(listing: Listing, found: Collection[str], *, place: Path) -> None:
    missing = [stem for stem in listing.stems if stem not in found]
    if missing:
        raise UserError(
            f"{place} lacks {len(missing)} of {len(listing.stems)} listed pictures, first {missing[0]}"
            f" ({' or '.join(SUFFIXES)}); complete it, or shorten {FILE_NAME}"
        )
