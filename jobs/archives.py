"""Packed environments as a run finds them: the facts that `ringmill pack` wrote into an archive, and their check."""

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.manifest import code_version
from pipelines.settings import UserError

_PROJECT = Path(__file__).parent.parent
FACTS = "environment.json"  # the first member of an archive, with the state of the code that was packed


def check_archives(conf: Mapping[str, str], *, project: Path = _PROJECT) -> None:
    """Hold the local archives that Spark is to unpack against the code that is about to run.

    Args:
        conf: settings of Spark.

    Raises:
        UserError: one of them is not there, or was packed of other pipelines: what executors made would go under the
            fingerprint of these.
    """
    archives = [one.partition("#")[0].strip() for one in conf.get("spark.archives", "").split(",")]
    for path in (Path(one.removeprefix("file://")) for one in archives if one.startswith(("/", "file:///"))):
        if not path.is_file():
            raise UserError(f"spark.archives names {path}, which does not exist; write it by `ringmill pack {path}`")
        facts = read_facts(path)
        if facts is not None and facts["pipelines"] != code_version(project / "pipelines"):
            raise UserError(
                f"spark.archives names {path}, which holds another state of the code than this; pack it again: "
                f"ringmill pack {path} --for {facts['for']}"
            )


def read_facts(path: Path) -> dict[str, Any] | None:
    """The facts that ``pack`` wrote into an archive; None if it did not write the archive."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            first = archive.next()
            stream = archive.extractfile(first) if first is not None and first.name == FACTS else None
            facts = None if stream is None else json.load(stream)
    except (tarfile.TarError, EOFError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
