"""The identity of a picture by its name: from a list, from a pattern, or from the folder that it is in."""

import functools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipelines.settings import UserError
from pipelines.sources.entry import PassedOver, as_bytes, printable, text
from pipelines.sources.headings import IDENTITY_COLUMNS, find_column
from pipelines.sources.identities import identity_of
from pipelines.sources.lists.read import read_list
from pipelines.sources.names import bare, comparable
from pipelines.sources.partitions import partition_values
from pipelines.sources.passed_over import PassedOverTally
from pipelines.sources.settings import NamedSettings

_MOST_KEPT = 3  # examples of names with two identities


@dataclass
class Listed:
    """The content of an identity list."""

    identities: dict[str, str | None] = field(default_factory=dict)  # by comparable name; None for two identities
    example: str = ""  # the first name
    num_conflicts: int = 0
    conflicts: list[tuple[str, str, str]] = field(default_factory=list)  # first names, each with two identities
    passed_over: PassedOverTally = field(default_factory=PassedOverTally)


def naming(settings: NamedSettings) -> Callable[[bytes], str | None]:
    """The function that maps a picture's name below its source to its identity; a list is read once per process.

    Raises:
        UserError: the list cannot be read.
    """
    if settings.identity_list is not None:
        identities = listed(settings).identities
        return lambda name: identities.get(comparable(name))
    if settings.identity_pattern is not None:
        pattern = re.compile(unicodedata.normalize("NFC", settings.identity_pattern))
        return lambda name: _first_group(pattern, unicodedata.normalize("NFC", printable(bare(name))))
    return lambda name: _of_folder(bare(name).rpartition(b"/")[0])


@functools.lru_cache(maxsize=4)
def listed(settings: NamedSettings) -> Listed:
    """The content of source.identity_list, read once per process.

    A name may be written relative to the source, or absolute. A picture that is named twice under two identities has
    none.

    Raises:
        UserError: the list cannot be read, or has no identity.
    """
    assert settings.identity_list is not None, "the settings have a list"
    found, twice = Listed(), set[str]()
    root = comparable(as_bytes(settings.path)).rstrip("/") + "/"
    for entry in read_list(settings.identity_list, identity_column=getattr(settings, "identity_column", None)):
        if isinstance(entry, PassedOver):
            found.passed_over.add(entry)
            continue
        name = comparable(as_bytes(entry.name))
        name = name.removeprefix(root) if name.startswith("/") else name
        found.example = found.example or text(entry.name)
        before = found.identities.setdefault(name, entry.identity)
        if before == entry.identity or name in twice:
            continue
        if before is None or entry.identity is None:
            found.identities[name] = before or entry.identity
            continue
        twice.add(name)
        found.identities[name] = None
        found.conflicts += [(text(entry.name), before, entry.identity)][: _MOST_KEPT - len(found.conflicts)]
    found.num_conflicts = len(twice)
    if not twice and not any(found.identities.values()):
        raise UserError(f"source.identity_list={settings.identity_list} gives no identity; call its column `identity`")
    return found


def _first_group(pattern: re.Pattern[str], name: str) -> str | None:
    match = pattern.search(name)
    return identity_of(match[1]) if match else None


@functools.lru_cache(maxsize=4096)
def _of_folder(folder: bytes) -> str | None:
    """The value of a part `identity=alice`, as Spark's partitionBy makes them, else the name of the last folder."""
    path = PurePosixPath(printable(folder))
    values = partition_values(str(path))
    key = find_column(list(values), IDENTITY_COLUMNS)
    return identity_of(path.name if key is None else values[key])
