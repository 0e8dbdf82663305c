"""Images as samples of WebDataset shards: tar members with one key, a picture and its metadata.

The key is the member's name up to the first dot of its last part; the rest is the type of the member. A sample's
identity is its member `cls`, or the one that source.identity_column names: another member, or a key in `json`.

The members of a sample are neighbours in a shard as WebDataset writes it. In a tar that was packed in another order the
member that identifies a picture may lie anywhere; `far_members` finds it.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from pipelines.sources import tar
from pipelines.sources.entry import Container, Part, Portion, RawImage
from pipelines.sources.far_members import Lonely, attach, attached
from pipelines.sources.headings import find_column
from pipelines.sources.identities import identity_of
from pipelines.sources.names import slashed
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
_JSON = "json"
_MAX_SIDECAR_BYTES = 1 << 20
# Extended attributes of macOS, views of its and of Windows' folders, pax headers that an old tar unpacked as files.
_OF_SYSTEMS = re.compile(
    rb"(?:^|/)(?:\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX/.*|PaxHeaders?(?:\.\d+)?/.*)$"
)


def scan(container: Container, settings: WebDatasetSettings) -> Iterator[Part]:
    """Cut one shard into portions."""
    grouping = _grouping(settings)
    if settings.identity_list or settings.identity_pattern:
        yield from tar.cut(container, settings, grouping)
        return
    column = _column(settings)
    lonely = Lonely(_key_of, partial(_identifying, column=column))
    # Portions are yielded as they come while every picture has what identifies it: a listing stops after some.
    held: list[Portion] = []
    for part in tar.cut(container, settings, partial(_watched, grouping=grouping, lonely=lonely)):
        if isinstance(part, Portion) and lonely.starts:
            held.append(part)
        else:
            yield part
    if not lonely.starts or not lonely.num_identifying:
        yield from held
        return
    whole = Portion(container.path, 0, container.num_bytes, 0, 0)
    joined, num_twice = lonely.join(sample for _, sample in tar.samples(whole, grouping))
    yield from (attach(portion, joined) for portion in held)
    yield from lonely.breaks(container.path, num_twice)


def read(portion: Portion, settings: WebDatasetSettings, *, max_bytes: int) -> Iterator[RawImage]:
    """The pictures of one portion."""
    by_name = naming(settings) if settings.identity_list or settings.identity_pattern else None
    far = attached(portion)
    for stream, sample in tar.samples(portion, _grouping(settings)):
        members = _identifying(sample, column=_column(settings)) or far.get(sample.header, {})
        own = None if by_name else _identity(stream, members, settings.identity_column or _DEFAULT_SIDECAR)
        for member in sample.pictures:
            identity = by_name(member.name) if by_name else own
            yield tar.picture(portion, stream, member, identity=identity, max_bytes=max_bytes)


def _column(settings: WebDatasetSettings) -> str:
    """The type of the member that identifies; types are compared in small letters."""
    return (settings.identity_column or _DEFAULT_SIDECAR).lower()


def _grouping(settings: WebDatasetSettings) -> tar.Grouping:
    return partial(_by_key, column=_column(settings))


def _watched(entries: Iterator[Entry], *, grouping: tar.Grouping, lonely: Lonely) -> Iterator[Sample | Other | Gap]:
    for sample in grouping(entries):
        if isinstance(sample, Sample):
            lonely.see(sample)
        yield sample


def _by_key(entries: Iterator[Entry], *, column: str) -> Iterator[Sample | Other | Gap]:
    """Neighbours with one key as samples."""
    sample, key = Sample(0), b""
    for member in entries:
        if isinstance(member, Other | Gap):
            yield member
        if not isinstance(member, Member):
            continue
        if _OF_SYSTEMS.search(slashed(member.name)):
            yield Other(member.name, "files_of_an_operating_system")
            continue
        its_key, extension = _split(member.name)
        if its_key != key and (sample.pictures or sample.sidecars):
            yield sample
        if its_key != key or not (sample.pictures or sample.sidecars):
            sample, key = Sample(member.header), its_key
        if extension == column or extension.rpartition(".")[2] in _SIDECARS:
            sample.sidecars[extension] = member
        else:
            sample.pictures.append(member)
    if sample.pictures or sample.sidecars:
        yield sample


def _split(name: bytes) -> tuple[bytes, str]:
    folder, slash, last = slashed(name).rpartition(b"/")
    stem, _, extension = last.partition(b".")
    return folder + slash + stem, extension.decode("utf-8", "replace").lower()


def _key_of(sample: Sample) -> bytes:
    return _split((sample.pictures or list(sample.sidecars.values()))[0].name)[0]


def _identifying(sample: Sample, *, column: str) -> dict[str, Member]:
    """The members of a sample that may hold its identity."""
    return {kind: sample.sidecars[kind] for kind in (column, _JSON) if kind in sample.sidecars}


def _identity(stream: BinaryIO, members: dict[str, Member], column: str) -> str | None:
    """The identity by the member of that type, else by that key of `json`."""
    if column.lower() in members:
        return identity_of(_content(stream, members[column.lower()]))
    if _JSON not in members:
        return None
    try:
        metadata: Any = json.loads(_content(stream, members[_JSON]))
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict):
        return None
    key = find_column(list(metadata), (column,))
    return None if key is None else identity_of(metadata[key])


def _content(stream: BinaryIO, member: Member) -> bytes:
    stream.seek(member.data)
    return stream.read(min(member.num_bytes, _MAX_SIDECAR_BYTES))
