"""The archives that source.path names, and an account of what lies beside them."""

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from pipelines.settings import UserError
from pipelines.sources import storage
from pipelines.sources.entry import Break, Container, PassedOver, as_bytes, text
from pipelines.sources.settings import SourceSettings
from pipelines.sources.tree import LINKS_OUT, NO_FILES, FoundFile, Tree, walk

OTHER_KIND, COMPRESSED, FOLDERS_MATCHED = "files_of_another_kind", "compressed_files", "folders_that_a_pattern_matches"

_BRACES = re.compile(r"\{([^{}]*)\}")
_MAX_NAMES = 1_000_000
_COMPRESSED = re.compile(r"\.(gz|bz2|xz|zst|lz4|lzma|z|tgz|tbz2?|txz|tzst|zip|7z|rar)$")

Found = Container | Break | PassedOver


def find(settings: SourceSettings, suffixes: Sequence[str], *, companions: Sequence[str] = ()) -> Iterator[Found]:
    """The files that a path names: a file, a glob, a set in braces, or a folder's files with a suffix of any case.

    Args:
        companions: suffixes of files that belong to the archive of the same name.

    Raises:
        UserError: the path, or a name of the set, does not exist.
    """
    seen: set[str] = set()  # a set in braces may name a file twice
    fixed, rest = _fixed(settings.path)
    for pattern in dict.fromkeys(fixed + tail for tail in expand_braces(rest)):
        is_empty = True
        for one in _find(pattern, settings, suffixes, companions):
            is_empty = False
            if not isinstance(one, Container):
                yield one
            elif one.path not in seen:
                seen.add(one.path)
                yield one
        if is_empty:
            kinds, which = " or ".join(suffixes), "" if pattern == settings.path else f": {pattern}"
            raise UserError(
                f"source.path={settings.path} names no file that exists{which}; "
                f"name a {kinds}, a folder or a glob of them"
            )


def _fixed(path: str) -> tuple[str, str]:
    """The longest beginning of a path that exists as it is written, and the rest, in which patterns are read.

    So a folder called `data[1]` or `{a,b}` is that folder, also in front of a pattern. Nothing is fixed of an address
    of an object store.
    """
    local = storage.local_path(path)
    if local is None:
        return "", path
    fixed = local
    while fixed and not os.path.lexists(fixed):
        fixed = os.path.dirname(fixed)
    return path.removesuffix(local) + fixed, local[len(fixed) :]


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


def _find(
    pattern: str, settings: SourceSettings, suffixes: Sequence[str], companions: Sequence[str]
) -> Iterator[Found]:
    local = storage.local_path(pattern)
    if local is None:
        named, is_folder = storage.list_remote(pattern)
        yield from _of_kind(named, suffixes, companions) if is_folder else named
        return
    scheme = pattern.removesuffix(local)  # file:// or nothing
    if os.path.isdir(local):
        found = walk(local, follows_out=settings.follows_links_out)
        yield from _of_kind(_containers(scheme + local, found), suffixes, companions)
    elif os.path.isfile(local):
        facts = os.stat(local)
        yield Container(pattern, facts.st_size, str(facts.st_mtime_ns))
    elif os.path.exists(local):
        yield PassedOver(text(pattern), "", NO_FILES)
    else:
        # What is fixed of a pattern is the folder that its links must not leave.
        root, rest = _fixed(local)
        matched = _matched(glob.escape(root) + rest, root or ".", follows_out=settings.follows_links_out)
        yield from _containers(scheme + (root or "."), matched)


def _own_path(path: str) -> str:
    """A path without the archive around it, which a chained URI names behind it."""
    return path.partition("::")[0] if storage.is_remote(path) else path


def _matched(pattern: str, root: str, *, follows_out: bool) -> Iterator[FoundFile | PassedOver]:
    tree = Tree(root, follows_out=follows_out)
    for path in sorted(glob.glob(pattern, recursive=True)):
        name = as_bytes(os.path.relpath(path, root))
        if not tree.may_enter(name):
            yield PassedOver(text(path), "", LINKS_OUT)
        elif (found := tree.entry(name)) is not None:
            yield found
        elif "**" not in pattern:  # which matches what is in the folder as well
            yield PassedOver(text(path), "", FOLDERS_MATCHED)


def _containers(root: str, entries: Iterable[FoundFile | Break | PassedOver]) -> Iterator[Found]:
    for entry in entries:
        if isinstance(entry, FoundFile):
            path = os.path.join(root, os.fsdecode(entry.name))
            yield Container(path, entry.num_bytes, str(entry.mtime_ns))
        else:
            yield entry


def _of_kind(found: Iterable[Found], suffixes: Sequence[str], companions: Sequence[str]) -> Iterator[Found]:
    """The archives of a folder in order, and all else as passed over; companions of an archive are part of it."""
    archives: list[Container] = []
    beside: list[str] = []
    for one in found:
        name = _own_path(one.path).lower() if isinstance(one, Container) else ""
        if not isinstance(one, Container):
            yield one
        elif name.endswith(tuple(suffixes)):
            archives.append(one)
        elif name.endswith(tuple(companions)):
            beside.append(one.path)
        else:
            yield PassedOver(text(one.path), "", COMPRESSED if _COMPRESSED.search(name) else OTHER_KIND)
    stems = {os.path.splitext(one.path)[0] for one in archives}
    yield from (PassedOver(text(path), "", OTHER_KIND) for path in beside if os.path.splitext(path)[0] not in stems)
    yield from sorted(archives, key=lambda one: one.path)
