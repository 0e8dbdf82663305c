"""The contract of artefacts: a folder is one only when its manifest says so, and the manifest is written last.

A manifest holds no time and no host, so that the same work gives the same bytes.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipelines.settings import Settings, UserError

MANIFEST_NAME = "manifest.json"


class RowGroup(Settings):
    """One row group of a Parquet file: the unit of reading."""

    rows: int = Field(ge=0)
    num_bytes: int = Field(ge=0)


class File(Settings):
    """One file of an artefact, its path relative to the artefact's folder."""

    path: str
    num_bytes: int = Field(ge=0)
    sha256: str
    rows: int = Field(default=0, ge=0)
    row_groups: tuple[RowGroup, ...] = ()


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
    counts: dict[str, int]
    files: tuple[File, ...]
    facts: dict[str, Any] = Field(default={})


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


def describe(folder: Path, path: Path, *, rows: int = 0, row_groups: tuple[RowGroup, ...] = ()) -> File:
    """The manifest entry of a file that lies in an artefact's folder."""
    return File(
        path=path.relative_to(folder).as_posix(),
        num_bytes=path.stat().st_size,
        sha256=sha256_of(path),
        rows=rows,
        row_groups=row_groups,
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_done(folder: Path) -> bool:
    """True for the folder of a finished artefact."""
    return (folder / MANIFEST_NAME).is_file()


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest atomically: from this moment the folder is an artefact."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(folder / MANIFEST_NAME, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old content or the new, never a part."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with staged.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)


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
        return Manifest.model_validate_json(read_file(MANIFEST_NAME))
    except FileNotFoundError:
        raise UserError(f"{place} has no {MANIFEST_NAME}, so it is no finished artefact; run its stage again") from None
    except ValidationError as error:
        raise UserError(
            f"{place}/{MANIFEST_NAME} is no manifest ({error.errors()[0]['msg']}); "
            f"remove {place} and run its stage again"
        ) from None


def verify(folder: Path) -> Manifest:
    """Compare every file with its digest, and return the manifest.

    Raises:
        UserError: a file is missing or altered.
    """
    manifest = read(folder)
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.num_bytes or sha256_of(path) != file.sha256:
            raise UserError(
                f"{path} is missing or was altered since it was written; remove {folder} and run its stage again"
            )
    return manifest


@contextlib.contextmanager
def exclusive(folder: Path, *, on_wait: Callable[[], None], timeout_seconds: float = 3600.0) -> Iterator[None]:
    """Hold the lock for building an artefact; the kernel releases it when the process ends for any reason.

    Raises:
        UserError: another process has held it for longer than the timeout.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f".{folder.name}.lock")
    with lock.open("w") as stream:
        deadline = time.monotonic() + timeout_seconds
        announced = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{folder} has been under work by another process for {timeout_seconds:.0f} s; "
                        "stop that run, or wait"
                    ) from None
                if not announced:
                    on_wait()
                    announced = True
                time.sleep(0.2)
        yield


def clear(folder: Path) -> None:
    """Create an empty folder for an artefact, removing the rest of an interrupted run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def remove(folder: Path) -> None:
    """Remove an artefact; its manifest first, so that an incomplete folder is never taken for an artefact."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder)
