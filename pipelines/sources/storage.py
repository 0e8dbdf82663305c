"""Files that are opened, local or in an object store; the only module that imports fsspec."""

import errno
import functools
import os
import stat
from typing import Any, BinaryIO, cast

from pipelines.paths import ADDRESS
from pipelines.settings import UserError
from pipelines.sources.entry import Container
from pipelines.sources.tree import is_below

# The names of modification times and ETags in different file systems.
_MARKS = ("ETag", "etag", "LastModified", "mtime", "created")
_NEVER_WAITS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LOCAL = ("file://", "local://")


def is_remote(path: str) -> bool:
    """True for a URI, which fsspec opens."""
    return bool(ADDRESS.match(path))


def local_path(path: str) -> str | None:
    """The path on this machine of a path or URI; None for one of another file system."""
    if path.startswith(_LOCAL) and "::" not in path:
        return path.partition("://")[2]
    return None if is_remote(path) else path


def open_binary(path: str) -> BinaryIO:
    """Open for reading at any position; local files without a buffer, since readers ask for whole images.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """
    if (local := local_path(path)) is not None:
        return open_local(local)
    filesystem, inner = _filesystem(path)
    return cast(BinaryIO, filesystem.open(inner, "rb"))


def open_local(path: str | bytes, *, below: bytes | None = None) -> BinaryIO:
    """Open a plain file of this machine; a pipe in its place makes nobody wait, and no device is touched.

    Args:
        below: the real path of a folder that the file must lie in, whatever links lead to it.

    Raises:
        OSError: it cannot be opened, is no plain file, or lies elsewhere.
    """
    _require_plain(os.stat(path))
    return _open_plain(path, _NEVER_WAITS, below)


def open_own(path: bytes, *, below: bytes) -> BinaryIO:
    """Open a plain file of a folder by its own name, in fewer calls of the system; a link as `open_local` does.

    Raises:
        OSError: it cannot be opened, is no plain file, or is a link that leads elsewhere.
    """
    try:
        return _open_plain(path, _NEVER_WAITS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    return open_local(path, below=below)


def size_of(path: str) -> int:
    """Bytes of a file.

    Raises:
        OSError: it does not exist or is not accessible.
    """
    if (local := local_path(path)) is not None:
        return os.stat(local).st_size
    filesystem, inner = _filesystem(path)
    return int(filesystem.size(inner) or 0)


def list_remote(pattern: str) -> tuple[list[Container], bool]:
    """The files of a URI, which may be a glob, and whether it is a folder.

    Raises:
        UserError: it cannot be listed.
    """
    scheme, _, outer = _split(pattern)
    try:
        filesystem, inner = _filesystem(pattern)
        is_folder = filesystem.isdir(inner)
        names = filesystem.find(inner) if is_folder else []
        if not is_folder:
            names = [inner] if filesystem.exists(inner) else filesystem.glob(inner)
        found = []
        for name in sorted(names):
            fact = filesystem.info(name)
            mark = next((fact[key] for key in _MARKS if fact.get(key)), "")
            found.append(Container(f"{scheme}://{name}{outer}", int(fact["size"] or 0), str(mark)))
    except OSError as error:
        raise UserError(f"source.path={pattern} cannot be listed ({error}); check the address and the rights") from None
    return found, is_folder


def _open_plain(path: str | bytes, flags: int, below: bytes | None = None) -> BinaryIO:
    descriptor = os.open(path, flags)
    try:
        _require_plain(os.fstat(descriptor))
        if below is not None and not is_below(os.readlink(b"/proc/self/fd/%d" % descriptor), below):
            raise OSError(errno.EPERM, "it lies outside the source")
        return cast(BinaryIO, open(descriptor, "rb", buffering=0))
    except OSError:
        os.close(descriptor)
        raise


def _require_plain(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")


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

    nearest = uri.partition("::")[2]
    if (local := local_path(nearest)) is not None:
        _require_plain(os.stat(local))  # the archive's reader would wait for a pipe
    return url_to_fs(uri)[0]
