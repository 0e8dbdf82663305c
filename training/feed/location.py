"""The location of a dataset: a folder, a bucket, or any address that fsspec knows.

Everything that the feed reads goes through here: the manifest, the labels and the shards. `s3://` goes through Arrow's
own client, whose time-outs can be set and which reads without the GIL; what else has a scheme, through fsspec.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
from pyarrow import fs

from pipelines.settings import UserError
from training.feed.retry import first_line, is_passing, with_retries
from training.feed.settings import FeedSettings, RemoteSettings

S3 = "s3://"


class Location:
    """The folder of a dataset, wherever it is."""

    def __init__(self, place: Path | str, remote: RemoteSettings | None = None) -> None:
        """Resolve the address; nothing is read yet.

        Args:
            place: a path, or an address such as s3://bucket/prefix.

        Raises:
            UserError: nothing here can read such an address.
        """
        self.remote = remote or RemoteSettings()
        self._name = str(place).rstrip("/")
        self.filesystem, root = _open(self._name, self.remote)
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self._name

    def path_of(self, file: str) -> str:
        """The path of a file of the dataset in the file system."""
        return f"{self._root}/{file}"

    def name_of(self, file: str) -> str:
        """The path or address of a file of the dataset, for messages."""
        return f"{self._name}/{file}"

    @property
    def is_remote(self) -> bool:
        return not isinstance(self.filesystem, fs.LocalFileSystem)

    def open(self, file: str) -> pa.NativeFile:
        """A file, to be read at random."""
        return self.filesystem.open_input_file(self.path_of(file))

    def has(self, file: str) -> bool:
        return bool(self.filesystem.get_file_info(self.path_of(file)).type == fs.FileType.File)

    def read(self, file: str) -> bytes:
        """All of a small file.

        Raises:
            FileNotFoundError: there is none.
            UserError: it cannot be read, also not in several tries.
        """

        def work() -> bytes:
            with self.open(file) as stream:
                return bytes(stream.read())

        with self._access(file):
            return with_retries(work, name=self.name_of(file), settings=self.remote)

    def sizes(self, folder: str) -> dict[str, int]:
        """The size in bytes of each file of a folder of the dataset; a folder that is not there has none.

        Raises:
            UserError: the folder cannot be listed, also not in several tries.
        """
        selector = fs.FileSelector(self.path_of(folder), allow_not_found=True)
        with self._access(folder):
            found = with_retries(
                lambda: self.filesystem.get_file_info(selector), name=self.name_of(folder), settings=self.remote
            )
        return {f"{folder}/{info.base_name}": info.size for info in found if info.type == fs.FileType.File}

    @contextlib.contextmanager
    def _access(self, file: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{self.name_of(file)} cannot be read ({first_line(error)}); "
                "check feed.location, feed.remote and the credentials"
            ) from None


def dataset_location(settings: FeedSettings, dataset: Path) -> Location:
    """The location from which a feed reads the dataset that the store has in this folder."""
    return Location(dataset if settings.location is None else settings.location, settings.remote)


@contextlib.contextmanager
def named_faults(location: Location, file: str, part: str, *, remedy: str) -> Iterator[None]:
    """Turn the errors of Arrow on a missing or damaged file into one line with its name; transient faults pass through.

    Raises:
        UserError: the file is not there, or not whole.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if is_passing(error):
            raise
        name = location.name_of(file)
        try:
            is_there = location.has(file)
        except OSError as again:
            if is_passing(again):
                raise
            is_there, remedy = True, "check the credentials and feed.remote"  # the store does not say
        if not is_there:
            raise UserError(f"{name} is missing, though the manifest names it; {remedy}") from None
        raise UserError(f"{name}: its {part} cannot be read ({first_line(error)}); {remedy}") from None


def _open(name: str, remote: RemoteSettings) -> tuple[fs.FileSystem, str]:
    """The file system of an address, and the path in it."""
    if "://" not in name:
        return fs.LocalFileSystem(), name
    if name.startswith(S3):
        return fs.S3FileSystem(**_s3_options(remote)), name.removeprefix(S3)
    try:
        filesystem, root = fsspec.core.url_to_fs(name)
    except (ValueError, ImportError, OSError) as error:
        raise UserError(
            f"feed.location={name}: nothing here reads such an address ({first_line(error)}); "
            "install the fsspec driver that it names, or copy the dataset to where one reads"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), root


def _s3_options(remote: RemoteSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "connect_timeout": remote.connect_timeout_seconds,
        "request_timeout": remote.request_timeout_seconds,
        # The tries are counted once, in `retry`.
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=1),
        "background_writes": False,
    }
    if remote.s3_region is not None:
        options["region"] = remote.s3_region
    if remote.s3_endpoint is not None:
        endpoint = urlsplit(remote.s3_endpoint)
        options |= {"scheme": endpoint.scheme, "endpoint_override": endpoint.netloc}
    return options
