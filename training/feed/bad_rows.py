"""Damaged rows: named, counted, and replaced by others, up to the number that the settings allow.

The rule of replacement: in place of a bad row the next good row of the same row group is shown, round from the last to
the first, with its own label and its own random changes. It follows from the plan and the bytes alone, so no number of
threads or ranks changes it. Where identities are fed side by side, the row that stands in may be another person's.
"""

import logging
from collections.abc import Iterable

from pipelines.settings import UserError

REMEDY = "remove the dataset folder and run the shard stage again"

_log = logging.getLogger(__name__)


class BadRowError(UserError):
    """One row that cannot be shown."""

    def __init__(self, row: str, what: str) -> None:
        """Name a row.

        Args:
            row: its shard, row group, place and image_id.
            what: the fault, as a verb phrase.
        """
        super().__init__(f"{row} {what}; {REMEDY}")
        self.row = row
        self.what = what


class BadRows:
    """Damaged rows that one rank met in a pass over the split, each counted once; a resumed pass counts its rest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._met: set[str] = set()

    def __len__(self) -> int:
        return len(self._met)

    def note(self, errors: Iterable[BadRowError]) -> None:
        """Count and log rows in whose place others are shown.

        Raises:
            UserError: there are more than the settings allow.
        """
        for error in errors:
            if error.row in self._met:
                continue
            self._met.add(error.row)
            if len(self._met) > self._most:
                raise UserError(
                    f"{error.row} {error.what}, and feed.max_bad_rows={self._most}; {REMEDY}, or raise it"
                ) from None
            _log.warning("%s %s; the next good row is shown in its place", error.row, error.what)
