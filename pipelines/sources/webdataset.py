"""Images as samples of WebDataset shards: neighbouring tar members with one key, a picture and its metadata.

The key is the member's name up to the first dot of its last part; the rest is the type of the member. A sample's
identity is its member `cls`, or the one that source.identity_column names: another member, or a key in `json`.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from pipelines.sources import tar
from pipelines.sources.entry import Container, Part, Portion, RawImage, text
from pipelines.sources.naming import naming
from pipelines.sources.settings import WebDatasetSettings
from pipelines.sources.tar import Sample, containers
from pipelines.sources.tar_headers import Entry, Gap, Member, Other

__all__ = ["containers", "read", "scan"]

# The types that WebDataset decodes to labels, texts and arrays; all others may be pictures.
_SIDECARS = frozenset(
    {"cls", "id", "index", "json", "jsn", "txt", "text", "caption", "npy", "npz", "pth", "pkl", "pyd"}
)
_DEFAULT_SIDECAR = "cls"
_MAX_SIDECAR_BYTES = 1 << 20


def scan(container: Container, settings: WebDatasetSettings) -> Iterator[Part]:
    """Cut one shard into portions."""
    return tar.cut(container, settings, _grouping(settings))


def read(portion: Portion, settings: WebDatasetSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The pictures of one portion."""
    by_name = naming(settings) if settings.identity_list or settings.identity_pattern else None
    for stream, sample in tar.samples(portion, _grouping(settings)):
        own = None if by_name else _identity(stream, sample, settings.identity_column or _DEFAULT_SIDECAR)
        for member in sample.pictures:
            identity = by_name(member.name) if by_name else own
            yield tar.picture(portion, stream, member, identity=identity, max_bytes=max_bytes)


def _grouping(settings: WebDatasetSettings) -> tar.Grouping:
    return partial(_by_key, identity_column=settings.identity_column)


def _by_key(entries: Iterator[Entry], *, identity_column: str | None) -> Iterator[Sample | Other | Gap]:
    sample, key = Sample(0), b""
    for member in entries:
        if isinstance(member, Other | Gap):
            yield member
        if not isinstance(member, Member):
            continue
        its_key, extension = _split(member.name)
        if its_key != key and (sample.pictures or sample.sidecars):
            yield sample
        if its_key != key or not (sample.pictures or sample.sidecars):
            sample, key = Sample(member.header), its_key
        if extension == identity_column or extension.rpartition(".")[2] in _SIDECARS:
            sample.sidecars[extension] = member
        else:
            sample.pictures.append(member)
    if sample.pictures or sample.sidecars:
        yield sample


def _split(name: bytes) -> tuple[bytes, str]:
    folder, slash, last = name.rpartition(b"/")
    stem, _, extension = last.partition(b".")
    return folder + slash + stem, extension.decode("utf-8", "replace").lower()


def _identity(stream: BinaryIO, sample: Sample, column: str) -> str | None:
    if column in sample.sidecars:
        return _content(stream, sample.sidecars[column]).decode("utf-8", "backslashreplace").strip() or None
    if "json" in sample.sidecars:
        try:
            metadata: Any = json.loads(_content(stream, sample.sidecars["json"]))
        except (ValueError, RecursionError):
            return None
        value = metadata.get(column) if isinstance(metadata, dict) else None
        return None if value is None else text(str(value))
    return None


def _content(stream: BinaryIO, member: Member) -> bytes:
    stream.seek(member.data)
    return stream.read(min(member.num_bytes, _MAX_SIDECAR_BYTES))
