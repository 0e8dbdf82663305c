"""Every entry of a local folder tree, each accounted for: a file, or what is passed over and why.

A link to a file is that file, under the link's name. A real folder is taken once, under its own name: a link to a
folder of the same tree would repeat it, or never end. Links that lead out of the tree are followed only where that is
asked for, since whoever fills a folder should not choose what of the machine is read.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.sources.entry import Break, PassedOver, as_bytes, printable

LINKS_OUT = "links_out_of_the_source"
LINKS_TO_FOLDERS = "links_to_folders"
FOLDERS_TAKEN = "folders_taken_under_another_name"
NO_FILES = "devices_pipes_and_sockets"

UNREACHED = -1  # the time of a file that cannot be reached: it is listed, and will be unreadable


class FoundFile(NamedTuple):
    """A file below a root."""

    name: bytes  # below the root
    num_bytes: int
    mtime_ns: int  # or UNREACHED


def walk(root: str, *, follows_out: bool) -> Iterator[FoundFile | Break | PassedOver]:
    """Every file below a folder, sorted by name within each.

    Args:
        follows_out: follow links that lead out of the folder.
    """
    tree = Tree(root, follows_out=follows_out)
    # A stack and no recursion: an unpacked archive may be deeper than Python's limit.
    waiting = [b""]
    while waiting:
        name = waiting.pop()
        path = os.path.join(tree.root, name)
        try:
            found = tree.entry(name) if name else None
        except FileNotFoundError:  # removed since it was listed
            continue
        if found is None and tree.was_taken(path):
            found = PassedOver(printable(path), "", FOLDERS_TAKEN)
        if found is not None:
            yield found
            continue
        try:
            children = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            yield Break(printable(path), 0, 0, f"the folder cannot be listed ({error.strerror})")
            continue
        waiting += [os.path.join(name, child) for child in children]


class Tree:
    """The rules of what is taken from one folder tree."""

    def __init__(self, root: str, *, follows_out: bool) -> None:
        self.root = as_bytes(root)
        self.real_root = os.path.realpath(self.root)
        self._follows_out = follows_out
        self._taken: set[tuple[int, int]] = set()  # device and inode of the folders that were entered

    def entry(self, name: bytes) -> FoundFile | PassedOver | None:
        """The file of a name below the root, or the reason that it is none; None for a folder to enter.

        Raises:
            FileNotFoundError: it has been removed.
        """
        path = os.path.join(self.root, name)
        try:
            facts = os.lstat(path)
        except FileNotFoundError:
            raise
        except OSError:  # of a folder that may be listed and not entered
            return FoundFile(name, 0, UNREACHED)
        if stat.S_ISLNK(facts.st_mode):
            return self._link(name, path, facts)
        return None if stat.S_ISDIR(facts.st_mode) else _file(name, path, facts)

    def may_enter(self, name: bytes) -> bool:
        """False for a name that leads out by a folder on its way, where that is refused."""
        parent = os.path.realpath(os.path.join(self.root, os.path.dirname(name)))
        return self._follows_out or is_below(parent, self.real_root)

    def was_taken(self, path: bytes) -> bool:
        """Enter a folder; True where another name has led to it already."""
        if not self._follows_out:  # then every folder has one name only
            return False
        try:
            facts = os.stat(path)
        except OSError:
            return False
        key = (facts.st_dev, facts.st_ino)
        is_again = key in self._taken
        self._taken.add(key)
        return is_again

    def _link(self, name: bytes, path: bytes, own: os.stat_result) -> FoundFile | PassedOver | None:
        try:
            facts = os.stat(path)
        except OSError:  # its target is missing
            return FoundFile(name, own.st_size, UNREACHED)
        is_inside = is_below(os.path.realpath(path), self.real_root)
        if not is_inside and not self._follows_out:
            return PassedOver(printable(path), "", LINKS_OUT)
        if not stat.S_ISDIR(facts.st_mode):
            return _file(name, path, facts)
        return PassedOver(printable(path), "", LINKS_TO_FOLDERS) if is_inside else None


def is_below(path: bytes, root: bytes) -> bool:
    """True for a real path that is a real folder's own or lies below it."""
    return path == root or path.startswith(root.rstrip(b"/") + b"/")


def _file(name: bytes, path: bytes, facts: os.stat_result) -> FoundFile | PassedOver:
    if stat.S_ISREG(facts.st_mode):
        return FoundFile(name, facts.st_size, facts.st_mtime_ns)
    return PassedOver(printable(path), "", NO_FILES)
