"""Spellings of a picture's name: for comparison, and to find its file."""

import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipelines.sources.lists.text import decoded


def slashed(name: bytes) -> bytes:
    r"""A name with the separators of POSIX: archives and lists from Windows have `alice\1.jpg`."""
    if b"\\" not in name:
        return name
    try:
        name.decode()
    except UnicodeDecodeError:
        return name  # in Shift JIS and Big5 the byte may be half of a letter
    return name.replace(b"\\", b"/")


def bare(name: bytes) -> bytes:
    """A name with POSIX separators and without `./`, with which archives of a folder's content begin every name."""
    return slashed(name).removeprefix(b"./")


def comparable(name: bytes) -> str:
    """The form in which names are compared: composed Unicode, single slashes, no `./`, no blanks around it."""
    plain = decoded(name.decode("utf-8", "surrogateescape")).replace("\\", "/").strip()
    if "//" in plain or "/." in plain or plain.startswith("./") or plain.endswith("/"):
        plain = str(PurePosixPath(plain))
    return plain if plain.isascii() else unicodedata.normalize("NFC", plain)


def spellings(name: str) -> Iterator[str]:
    """A name of a list as it is written, then the others under which its file may lie, each once.

    Args:
        name: with surrogates for bytes that are not UTF-8.
    """
    seen = {name}
    yield name
    for text in (name.replace("\\", "/"), decoded(name).replace("\\", "/")):
        for spelling in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
            if spelling not in seen:
                seen.add(spelling)
                yield spelling
