"""The contract of artefacts: a folder is one only when its manifest says so, and the manifest is written last.

A manifest holds no time and no host, so that the same work gives the same bytes. Files that hold times all the same
are described beside it, in measured.json. Both end with their own digest, so an artefact can be compared with them from
the first byte to the last.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipelines.durable import sync, sync_files, write_atomically
from pipelines.sealed import seal, unseal
from pipelines.settings import Settings, UserError

MANIFEST_NAME = "manifest.json"
MEASURED_NAME = "measured.json"
_FOOTER_END_BYTES = 8  # of a Parquet file: the length of its footer, and the magic number


class RowGroup(Settings):
    """One row group of a Parquet file: the unit of reading."""

    rows: int = Field(ge=0)
    num_bytes: int = Field(ge=0)
    digests: tuple[tuple[str, int], ...] = ()  # columns, each with the CRC-32 of its values, see `column_digest`


class File(Settings):
    """One file of an artefact, its path relative to the artefact's folder."""

    path: str
    num_bytes: int = Field(ge=0)
    sha256: str
    rows: int = Field(default=0, ge=0)
    row_groups: tuple[RowGroup, ...] = ()
    footer: str | None = None  # sha256 of the footer of a Parquet file


class Parent(Settings):
    """An artefact that another one was made from."""

    kind: str
    fingerprint: str
    content: str | None = None  # digest of the table that alone was read of it; None = it was read as a whole


class Manifest(Settings):
    """The description of an artefact: its settings, its parents, its files."""

    kind: str
    fingerprint: str
    parents: dict[str, Parent]  # by the name under which the stage reads them: a kind, or the verb of a stage
    settings: dict[str, Any]
    code_version: str
    code: dict[str, str] = Field(default={})  # part of the code that made it -> its digest
    counts: dict[str, int]
    files: tuple[File, ...]
    facts: dict[str, Any] = Field(default={})
    measured: tuple[str, ...] = ()  # further files, which hold times and so are described in measured.json


class _Measured(Settings):
    """The content of measured.json."""

    files: tuple[File, ...]


def fingerprint(kind: str, *, version: int, settings: Any, parents: dict[str, str]) -> str:
    """16 hex digits that change when and only when the artefact would."""
    work = {"kind": kind, "version": version, "settings": settings, "parents": parents}
    return hashlib.sha256(canonical_json(work).encode()).hexdigest()[:16]


def content_digest(manifest: Manifest, table: str) -> str:
    """16 hex digits over the files of one table: equal for artefacts whose tables are equal byte for byte."""
    files = [[file.path, file.sha256] for file in manifest.files if file.path.startswith(f"{table}/")]
    return hashlib.sha256(canonical_json(sorted(files)).encode()).hexdigest()[:16]


def code_version(package_folder: Path) -> str:
    """12 hex digits over the Python sources below a folder: the version of the code."""
    digest = hashlib.sha256()
    for path in sorted(package_folder.rglob("*.py")):
        digest.update(path.relative_to(package_folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def describe(
    folder: Path, path: Path, *, rows: int = 0, row_groups: tuple[RowGroup, ...] = (), footer: str | None = None
) -> File:
    """The manifest entry of a file that lies in an artefact's folder."""
    return File(
        path=path.relative_to(folder).as_posix(),
        num_bytes=path.stat().st_size,
        sha256=sha256_of(path),
        rows=rows,
        row_groups=row_groups,
        footer=footer,
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def footer_sha256_of(path: Path) -> str:
    """The digest of the footer of a Parquet file, its length and the magic number (Parquet's specification, "File
    Format").

    Raises:
        OSError: the file is shorter than its footer.
    """
    with path.open("rb") as stream:
        stream.seek(-_FOOTER_END_BYTES, os.SEEK_END)
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(-_FOOTER_END_BYTES - length, os.SEEK_END)
        return hashlib.sha256(stream.read()).hexdigest()


def is_done(folder: Path) -> bool:
    """True for the folder of a finished artefact."""
    return (folder / MANIFEST_NAME).is_file()


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, the last of all: from this moment the folder is an artefact, also after a loss of power."""
    names = [file.path for file in manifest.files]
    if manifest.measured:
        measured = _Measured(files=tuple(describe(folder, folder / name) for name in manifest.measured))
        (folder / MEASURED_NAME).write_bytes(seal(measured.model_dump(mode="json")))
        names += [*manifest.measured, MEASURED_NAME]
    sync_files(folder, [folder / name for name in names])
    write_atomically(folder / MANIFEST_NAME, seal(manifest.model_dump(mode="json")))


def read(folder: Path) -> Manifest:
    """The manifest of an artefact.

    Raises:
        UserError: the folder is no artefact, or its manifest is not one of ours.
    """
    return read_from(folder, lambda name: (folder / name).read_bytes())


def read_from(place: object, read_file: Callable[[str], bytes]) -> Manifest:
    """The manifest of an artefact that may be in a bucket instead of a folder.

    Args:
        place: its name in error messages.
        read_file: returns the content of one of the artefact's files, or raises FileNotFoundError.
    """
    try:
        return Manifest.model_validate(unseal(read_file(MANIFEST_NAME)))
    except FileNotFoundError:
        raise UserError(f"{place} has no {MANIFEST_NAME}, so it is no finished artefact; run its stage again") from None
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(
            f"{place}/{MANIFEST_NAME} is no manifest, or was altered since it was written ({reason}); "
            f"remove {place} and run its stage again"
        ) from None


def verify(folder: Path, *, names: Collection[str] | None = None, most_bytes: int | None = None) -> Manifest:
    """Compare the files of an artefact with its manifest, and return that.

    Args:
        names: of the files that are compared; None = all.
        most_bytes: of an artefact with more bytes, Parquet files are compared by their sizes and footers alone: their
            pages have checksums, which readers verify. None = every byte of every file is compared.

    Raises:
        UserError: a file is missing or altered, or cannot be read.
    """
    manifest = read(folder)
    is_large = most_bytes is not None and sum(file.num_bytes for file in manifest.files) > most_bytes
    measured = _measured_files(folder, manifest) if names is None else ()
    for file in (*manifest.files, *measured):
        is_asked = names is None or file.path in names
        if is_asked and not is_as_written(folder / file.path, file, by_footer=is_large):
            raise damaged(folder, file.path)
    return manifest


def is_as_written(path: Path, file: File, *, by_footer: bool = False) -> bool:
    """True for a file that is what its description says, as far as it is compared.

    Args:
        by_footer: for a Parquet file its size and its footer suffice.
    """
    try:
        if path.stat().st_size != file.num_bytes:
            return False
        if by_footer and file.footer is not None:
            return footer_sha256_of(path) == file.footer
        return sha256_of(path) == file.sha256
    except OSError:  # not there, or the disk does not give it back
        return False


def damaged(folder: Path, name: str) -> UserError:
    """The error of a file of an artefact that is not what was written."""
    return UserError(
        f"{folder / name} is missing or was altered since it was written; remove {folder}, "
        "and the next run makes it again"
    )


def _measured_files(folder: Path, manifest: Manifest) -> tuple[File, ...]:
    if not manifest.measured:
        return ()
    try:
        files = _Measured.model_validate(unseal((folder / MEASURED_NAME).read_bytes())).files
    except (OSError, ValueError):
        raise damaged(folder, MEASURED_NAME) from None
    if tuple(file.path for file in files) != manifest.measured:
        raise damaged(folder, MEASURED_NAME)
    return files


def clear(folder: Path) -> None:
    """Create an empty folder for an artefact, removing the rest of an interrupted run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def remove(folder: Path) -> None:
    """Remove an artefact; its manifest first, so that an incomplete folder is never taken for an artefact."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    sync(folder)
    shutil.rmtree(folder)
