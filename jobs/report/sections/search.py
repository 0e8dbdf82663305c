"""The search for near-duplicates, and the share of them that it finds."""

from jobs.report.contents import Contents
from jobs.report.section import Body


def build(contents: Contents) -> Body | None:
    """The section; None where no near-duplicates have been looked for yet."""
    pairs = contents.newest("pairs")
    return Body({"search": pairs.manifest.facts["near_duplicates"]}) if pairs else None
