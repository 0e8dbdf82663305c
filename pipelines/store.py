"""The store of artefacts: their folders, their parents and their descendants."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import manifest
from pipelines.locks import exclusive
from pipelines.manifest import Manifest
from pipelines.settings import UserError

# An artefact of so many bytes is compared whole in the blink of an eye before it is read.
_WHOLE_BYTES = 64 << 20
_LOCK_SECONDS = 1.0  # a stage and its driver hold the locks of its artefact while they work


@dataclass(frozen=True, order=True)
class Artefact:
    """The name of an artefact, finished or yet to be made."""

    kind: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.fingerprint}"


Artefacts = list[Artefact]  # in the class below `list` is a method


class Store:
    """A folder of artefacts, each at ``<root>/<kind>/<fingerprint>``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, fingerprint: str) -> Path:
        """The folder of an artefact, whether or not it exists."""
        return self.root / kind / fingerprint

    def is_done(self, kind: str, fingerprint: str) -> bool:
        """True for a finished artefact."""
        return manifest.is_done(self.folder(kind, fingerprint))

    def manifest(self, kind: str, fingerprint: str) -> Manifest:
        """The manifest of an artefact.

        Raises:
            UserError: there is no such artefact, or its manifest is damaged.
        """
        return manifest.read(self.folder(kind, fingerprint))

    def verified(self, kind: str, fingerprint: str) -> Manifest:
        """The manifest of an artefact that is about to be read, and that is what was written.

        Every file is compared with its description: its size, and its digest, too, except that of a Parquet file in an
        artefact of more than 64 MiB, of which the footer is compared, and the pages when they are read.

        Raises:
            UserError: there is no such artefact, or it is damaged.
        """
        folder = self.folder(kind, fingerprint)
        found = manifest.verify(folder, most_bytes=_WHOLE_BYTES)
        if (found.kind, found.fingerprint) != (kind, fingerprint):
            raise UserError(
                f"{folder} holds {found.kind}/{found.fingerprint}; remove it, and the next run makes it again"
            )
        return found

    def list(self, kind: str | None = None) -> Artefacts:
        """Every finished artefact, or those of one kind, ordered by kind and fingerprint."""
        found = self.root.glob(f"{kind or '*'}/*/{manifest.MANIFEST_NAME}")
        return sorted(Artefact(path.parent.parent.name, path.parent.name) for path in found)

    def parents(self, artefact: Artefact) -> Artefacts:
        """The parents of an artefact, ordered; a parent may have been removed since."""
        parents = self.manifest(artefact.kind, artefact.fingerprint).parents.values()
        return sorted({Artefact(parent.kind, parent.fingerprint) for parent in parents})

    def descendants(self, artefact: Artefact) -> Artefacts:
        """Every artefact that was made from this one, directly or not; each comes after those that it was made from."""
        parents = {one: self.parents(one) for one in self.list()}
        found: Artefacts = []
        seen = {artefact}
        while layer := sorted(one for one in parents.keys() - seen if seen.intersection(parents[one])):
            seen.update(layer)
            found += layer
        return _after_parents(found, parents)

    def remove(self, artefact: Artefact, *, with_descendants: bool = False) -> Artefacts:
        """Remove an artefact and return the removed ones; with its descendants, these first.

        The manifest goes before the folder, so that a removal which is interrupted leaves no artefact.

        Raises:
            UserError: it has descendants, or a stage is building one of these artefacts anew.
        """
        descendants = self.descendants(artefact)
        if descendants and not with_descendants:
            raise UserError(
                f"{artefact} in store={self.root} is what {', '.join(map(str, descendants))} "
                "was made from; remove these first, or ask for its descendants to be removed too"
            )
        removed = [*reversed(descendants), artefact]
        for one in removed:
            self._remove(one)
        return removed

    def _remove(self, artefact: Artefact) -> None:
        folder = self.folder(artefact.kind, artefact.fingerprint)
        if not folder.is_dir():
            raise UserError(f"{artefact} is not in store={self.root}; choose one that is")
        drivers = exclusive(folder, "driver", timeout_seconds=_LOCK_SECONDS)
        with drivers, exclusive(folder, timeout_seconds=_LOCK_SECONDS):
            manifest.remove(folder)


def _after_parents(artefacts: Artefacts, parents: dict[Artefact, Artefacts]) -> Artefacts:
    """The same artefacts, each after those of them that it was made from."""
    waiting, ordered = list(artefacts), Artefacts()
    while waiting:
        ready = [one for one in waiting if not set(waiting).intersection(parents[one])]
        assert ready, f"{waiting} were made from one another"
        ordered += ready
        waiting = [one for one in waiting if one not in ready]
    return ordered
