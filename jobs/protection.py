"""The proof that a reference protects: its pictures were read, and those that a model is judged on are among them."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipelines.decode_faults import EMPTY, NOT_AN_IMAGE
from pipelines.ingest import Survey
from pipelines.manifest import File
from pipelines.records import DECODE_OK, HASH, IMAGE_ID, SOURCE
from pipelines.settings import UserError
from pipelines.sources.lists.parts import COMMENTS
from pipelines.sources.locate import FOLDERS_MATCHED, OTHER_KIND
from pipelines.sources.passed_over import PassedOverTally, in_words
from pipelines.sources.settings import SourceSettings
from pipelines.sources.tree import FOLDERS_TAKEN, LINKS_TO_FOLDERS, NO_FILES
from training.evaluate.pairs import Pictures

# Files that lie beside pictures and are known to be none; any other name may be that of a damaged picture.
_BESIDE_PICTURES = re.compile(
    r"\.(txt|csv|tsv|lst|json|jsonl|xml|ya?ml|toml|md|rst|html?|pdf|py|sh|m|mat|npy|npz|log|ini|md5|sha1|sha256|DS_Store)$"
    r"|(^|/)(README|LICENSE|COPYING|CHANGELOG|Thumbs\.db|desktop\.ini|\._[^/]*)$",
    re.IGNORECASE,
)
_NO_HASH = "no_hash"  # decoded, and without what it is compared by
_MAX_NAMED = 3
# What a source passes over and no picture is lost by; any other reason may stand for one.
_HARMLESS = frozenset(
    {
        *(LINKS_TO_FOLDERS, FOLDERS_TAKEN, NO_FILES),  # what such a link leads to is taken under its own name
        *(OTHER_KIND, FOLDERS_MATCHED, COMMENTS),
        "headings_that_are_repeated",
    }
)


@dataclass(frozen=True)
class Unread:
    """The rows of a reference that protect nothing, and the files beside its pictures."""

    faults: dict[str, int]  # fault -> number of rows
    first: str  # name of the first of them; "" where there is none
    beside: tuple[str, ...]  # names of files that are no pictures
    passed_over: dict[str, int] = field(default_factory=dict)  # reason -> number of what is no row and may be a picture

    @property
    def num_rows(self) -> int:
        return sum(self.faults.values())

    @property
    def count(self) -> int:
        """The rows, and what is no row."""
        return self.num_rows + sum(self.passed_over.values())

    @property
    def kinds(self) -> str:
        """The numbers by reason, for people."""
        both = {**self.faults, **{in_words(reason): count for reason, count in self.passed_over.items()}}
        return ", ".join(f"{count:,} {reason}" for reason, count in both.items())


def find_unread(
    folder: Path, files: Sequence[File], source: SourceSettings, tally: PassedOverTally | None = None
) -> Unread:
    """The rows of a reference's records whose pictures were not read, or cannot be compared.

    Args:
        tally: what the source passed over.
    """
    paths = [folder / file.path for file in files]
    passed_over = {
        reason: count for reason, count in (tally.counts if tally else {}).items() if reason not in _HARMLESS
    }
    first_passed = next((tally.named[reason][0] for reason in passed_over if tally), "")
    if not paths:
        return Unread({}, first_passed, (), passed_over)
    is_bad = (pc.field("decode") != DECODE_OK) | pc.field(HASH).is_null()
    rows = ds.dataset(paths).to_table(columns=[SOURCE, "decode"], filter=is_bad).to_pylist()
    # A list or a table names pictures only; in a folder or an archive other files lie beside them.
    are_beside = [source.holds_other_files and _is_beside(row[SOURCE], row["decode"]) for row in rows]
    lost = [row for row, is_beside in zip(rows, are_beside, strict=True) if not is_beside]
    faults = Counter(_NO_HASH if row["decode"] == DECODE_OK else str(row["decode"]) for row in lost)
    beside = sorted(row[SOURCE] for row, is_beside in zip(rows, are_beside, strict=True) if is_beside)
    first = min((row[SOURCE] for row in lost), default=first_passed)
    return Unread(dict(sorted(faults.items())), first, tuple(beside), passed_over)


def require_readable(setting: str, source: SourceSettings, found: Survey, unread: Unread, *, allowed: float) -> None:
    """Refuse a reference of which a larger share than allowed, or all, was not read.

    Args:
        setting: the name of the setting that names it, for the message.
        allowed: `reference.max_unreadable_fraction`.

    Raises:
        UserError: its pictures cannot be kept out of training.
    """
    num_pictures = found.num_images - len(unread.beside) + sum(unread.passed_over.values())
    share = found.broken_fraction(num_unreadable=unread.count)
    if unread.count >= num_pictures:
        share = 1.0
    elif share <= allowed:
        return
    kinds = unread.kinds
    faults = [f"{unread.count:,} of {num_pictures:,} pictures ({kinds}), the first {unread.first}"] if kinds else []
    breaks = [f"{len(found.breaks):,} parts of it, the first {found.breaks[0]}"] if found.breaks else []
    reason = " and ".join([*faults, *breaks]) or "any picture, since it holds none"
    remedy = "mend the set, or correct its path"
    if share < 1.0:
        remedy += f", or allow it by reference.max_unreadable_fraction={min(1.0, share + 0.01):.2f} (now {allowed:g})"
    raise UserError(f"{setting}={source.path} cannot be kept out of training: ingest could not read {reason}; {remedy}")


def notes_on(setting: str, source: SourceSettings, found: Survey, unread: Unread) -> list[str]:
    """Lines on what of a reference is not kept out of training, as far as that is allowed."""
    notes = [f"{part}; its pictures cannot be kept out of training" for part in found.breaks]
    if unread.count:
        notes.append(
            f"{setting}={source.path}: {unread.count:,} pictures cannot be kept out of training ({unread.kinds}), "
            f"the first {unread.first}"
        )
    if found.passed_over.total:
        notes.append(f"{setting}={source.path}: {found.passed_over.note()}")
    if unread.beside:
        named = ", ".join(unread.beside[:_MAX_NAMED])
        notes.append(f"{setting}={source.path}: {len(unread.beside):,} files are no pictures, such as {named}")
    return notes


def require_all_judged(setting: str, judged: Pictures, folder: Path, files: Sequence[File]) -> None:
    """Refuse records that lack a picture on which a model will be judged, such as one behind a link.

    Args:
        judged: the pictures of an evaluation set as its task reads them.
        files: of the records of that set.

    Raises:
        UserError: a picture is not among the records, or cannot be read.
    """
    paths = [folder / file.path for file in files]
    known = set(ds.dataset(paths).to_table(columns=[IMAGE_ID])[IMAGE_ID].to_pylist()) if paths else set()
    missing = []
    for place, name in enumerate(judged.names):
        try:
            (data,) = judged.read(place, place + 1)
        except OSError as error:
            raise UserError(f"{setting}: {name} cannot be read ({error.strerror}); mend it") from None
        if hashlib.sha256(data).hexdigest() not in known:
            missing.append(name)
    if missing:
        raise UserError(
            f"{setting}: {len(missing):,} of the {len(judged):,} pictures that it judges by were passed over by "
            f"ingestion and cannot be kept out of training, the first {missing[0]}; put copies in the place of links"
        )


def _is_beside(name: str, fault: str) -> bool:
    return fault in (NOT_AN_IMAGE, EMPTY) and _BESIDE_PICTURES.search(name) is not None
