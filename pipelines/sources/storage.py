"""The files that a path names, local or in an object store; the only module that imports fsspec."""

import functools
import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

from pipelines.paths import ADDRESS
from pipelines.settings import UserError
from pipelines.sources.entry import Container

_BRACES = re.compile(r"\{([^{}]*)\}")
# The names of modification times and ETags in different file systems.
_MARKS = ("ETag", "etag", "LastModified", "mtime", "created")
_MAX_NAMES = 1_000_000


def is_remote(path: str) -> bool:
    """True for a URI, which fsspec opens."""
    return bool(ADDRESS.match(path))


def find(path: str, suffixes: Sequence[str]) -> Iterator[Container]:
    """The files that a path names: a file, a glob, a set in braces, or a folder's files with a suffix.

    Raises:
        UserError: the path, or a name of the set, does not exist.
    """
    seen: set[str] = set()  # a set in braces may name a file twice
    for pattern in expand_braces(path):
        found = list(_find_remote(pattern, suffixes) if is_remote(pattern) else _find_local(pattern, suffixes))
        if not found:
            kinds, which = " or ".join(suffixes), "" if pattern == path else f": {pattern}"
            raise UserError(
                f"source.path={path} names no file that exists{which}; name a {kinds}, a folder or a glob of them"
            )
        yield from (container for container in found if container.path not in seen)
        seen.update(container.path for container in found)


def open_binary(path: str) -> BinaryIO:
    """Open for reading at any position; local files without a buffer, since readers ask for whole images.

    Raises:
        OSError: it cannot be opened.
    """
    if not is_remote(path):
        return cast(BinaryIO, open(path, "rb", buffering=0))
    filesystem, inner = _filesystem(path)
    return cast(BinaryIO, filesystem.open(inner, "rb"))


def size_of(path: str) -> int:
    """Bytes of a file.

    Raises:
        OSError: it does not exist or is not accessible.
    """
    if not is_remote(path):
        return os.stat(path).st_size
    filesystem, inner = _filesystem(path)
    return int(filesystem.size(inner) or 0)


def expand_braces(path: str) -> Iterator[str]:
    """Expand `a-{000..002}.tar` and `a-{x,y}.tar` to the list of names, as shells and WebDataset do."""
    parts = _BRACES.split(path)
    choices = [[part] if place % 2 == 0 else _choices(part, path) for place, part in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def _choices(inside: str, path: str) -> list[str]:
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not span:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last = int(span[1]), int(span[2])
    if last < first or last - first >= _MAX_NAMES:
        raise UserError(f"source.path={path}: {{{inside}}} is no range of up to {_MAX_NAMES:,} numbers")
    return [f"{number:0{len(span[1])}d}" for number in range(first, last + 1)]


def _find_local(pattern: str, suffixes: Sequence[str]) -> Iterator[Container]:
    if os.path.isdir(pattern):
        names = [os.path.join(folder, name) for folder, _, files in os.walk(pattern) for name in files]
        paths = sorted(name for name in names if name.endswith(tuple(suffixes)))
    else:
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    for path in paths:
        if os.path.isfile(path):
            stat = os.stat(path)
            yield Container(path, stat.st_size, str(stat.st_mtime_ns))


def _find_remote(pattern: str, suffixes: Sequence[str]) -> Iterator[Container]:
    scheme, _, outer = _split(pattern)
    try:
        filesystem, inner = _filesystem(pattern)
        if filesystem.isdir(inner):
            names = [name for name in filesystem.find(inner) if name.endswith(tuple(suffixes))]
        else:
            names = [inner] if filesystem.exists(inner) else filesystem.glob(inner)
        for name in sorted(names):
            fact = filesystem.info(name)
            mark = next((fact[key] for key in _MARKS if fact.get(key)), "")
            yield Container(f"{scheme}://{name}{outer}", int(fact["size"] or 0), str(mark))
    except OSError as error:
        raise UserError(f"source.path={pattern} cannot be listed ({error}); check the address and the rights") from None


def _split(uri: str) -> tuple[str, str, str]:
    """Split a URI into scheme, path, and container: `zip`, `a.jpg`, `::/faces.zip`."""
    scheme, _, rest = uri.partition("://")
    path, chained, outer = rest.partition("::")
    return scheme, path, chained + outer


def _filesystem(uri: str) -> tuple[Any, str]:
    """The file system of a URI and the path inside it; one per process, with its connections.

    Raises:
        UserError: fsspec does not know the scheme, or lacks the package for it.
        OSError: the container around the path cannot be opened.
    """
    scheme, path, outer = _split(uri)
    try:
        if outer:
            return _container(f"{scheme}://{outer}"), path
        from fsspec.core import url_to_fs

        return cast("tuple[Any, str]", url_to_fs(uri))
    except (ValueError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{uri} cannot be opened ({reason}); install the package that fsspec names") from None
    except OSError:
        raise
    # File systems raise errors of many classes, such as BadZipFile.
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=4)
def _container(uri: str) -> Any:
    """The file system of an archive, cached: fsspec would read its directory each time, and close it while in use."""
    from fsspec.core import url_to_fs

    return url_to_fs(uri)[0]
