"""Hard and symbolic links of a tar: names for members whose bytes are stored once.

A link to a member is taken in under its own name. Names are compared as paths below the archive, so that `./a.jpg` is
`a.jpg`; nothing outside the archive is ever read.
"""

import posixpath
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO

from pipelines.sources.tar_headers import Entry, Folder, Link, Member, Other, walk

_LISTED = struct.Struct("<QQ")  # the first headers of a link and of the member that it stands for
_MOST_LINKS = 64  # between a link and its member

Origins = Mapping[int, Member | str]  # header of a link -> the member with its bytes, or the reason that there is none


class Links:
    """The links of one archive, looked up when the first of them is met: archives without links are walked once."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._origins: Origins | None = None

    def followed(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, each link as the member that it stands for or as what is passed over."""
        for entry in entries:
            yield self._member(entry) if isinstance(entry, Link) else entry

    def _member(self, link: Link) -> Member | Other:
        if self._origins is None:
            self._origins = _origins(self._stream, self._size)
        origin = self._origins[link.header]
        return Other(link.name, origin) if isinstance(origin, str) else _standing_for(link, origin)


def listed(members: Iterable[Member]) -> bytes:
    """The table that `relinked` needs of the members that are links; empty if none is."""
    pairs = [_LISTED.pack(member.header, member.origin) for member in members if member.origin >= 0]
    return zlib.compress(b"".join(pairs), 1) if pairs else b""


def relinked(entries: Iterable[Entry], stream: BinaryIO, size: int, pairs: bytes) -> Iterator[Entry]:
    """The entries of a part of an archive, with the links that a scan has followed.

    Args:
        pairs: of `listed`.
    """
    origins = dict(_LISTED.iter_unpack(zlib.decompress(pairs))) if pairs else {}
    for entry in entries:
        if not isinstance(entry, Link):
            yield entry
        elif entry.header in origins:
            start = origins[entry.header]
            found = next(walk(stream, start, start + 1, size), None)
            if isinstance(found, Member):  # else the archive has changed
                yield _standing_for(entry, found)


def _standing_for(link: Link, origin: Member) -> Member:
    return replace(origin, name=link.name, header=link.header, origin=origin.header)


def _origins(stream: BinaryIO, size: int) -> Origins:
    """Follow every link; two passes over the headers, in memory that grows with the number of links alone."""
    links = [entry for entry in walk(stream, 0, size, size) if isinstance(entry, Link)]
    by_path: dict[bytes, list[Link]] = {}
    for link in links:
        by_path.setdefault(_path(link.name), []).append(link)
    members, folders = _find({_target(link) for link in links}, stream, size)
    return {link.header: _follow(link, by_path, members, folders) for link in links}


def _find(wanted: set[bytes], stream: BinaryIO, size: int) -> tuple[dict[bytes, list[Member]], set[bytes]]:
    """The members and the folders among the wanted paths."""
    members: dict[bytes, list[Member]] = {}
    folders: set[bytes] = set()
    last_parent = b""
    for entry in walk(stream, 0, size, size):
        if not isinstance(entry, Member | Folder):
            continue
        path = _path(entry.name)
        if path in wanted and isinstance(entry, Member):
            members.setdefault(path, []).append(entry)
        elif path in wanted:
            folders.add(path)
        parent = posixpath.dirname(path)
        if parent != last_parent:
            folders |= wanted.intersection(_with_parents(parent))
            last_parent = parent
    return members, folders


def _with_parents(path: bytes) -> Iterator[bytes]:
    while path and path != posixpath.dirname(path):
        yield path
        path = posixpath.dirname(path)
    yield b"."


def _follow(
    link: Link, links: Mapping[bytes, list[Link]], members: Mapping[bytes, list[Member]], folders: set[bytes]
) -> Member | str:
    """The member at the end of a chain of links, or the reason that there is none."""
    for _ in range(_MOST_LINKS):
        target = _target(link)
        if target in members:
            # A member that was stored again replaces the one before; a hard link is to what lay before it.
            earlier = [member for member in members[target] if member.header < link.header and link.is_hard]
            return (earlier or members[target])[-1]
        if target in folders:
            return "links_to_folders"
        if target not in links:
            leads_out = target.startswith((b"/", b"../")) or target == b".."
            return "links_out_of_the_archive" if leads_out else "links_to_nothing"
        link = links[target][-1]
    return "links_in_a_loop"


def _target(link: Link) -> bytes:
    return _path(link.target if link.is_hard else posixpath.join(posixpath.dirname(link.name), link.target))


def _path(name: bytes) -> bytes:
    return posixpath.normpath(name) if name else b"."
