"""The command that joins the class centres of a sharded head, which the ranks saved in pieces, into one file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.child import USER_EXIT_CODE
from jobs.settings import load
from pipelines.settings import UserError
from pipelines.store import Store
from training.checkpoint import latest
from training.row_shards import merge_rows


def main(argv: Sequence[str] | None = None) -> int:
    """Write the centres of the run's newest checkpoint; return the exit code: 0 done, 2 the user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m jobs.centres")
    parser.add_argument("--run", type=Path, required=True, metavar="RUN_YAML", help="written by `ringmill run`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors: weight and velocity")
    arguments = parser.parse_args(argv)
    try:
        num_classes = merge_rows(_checkpoint(arguments.run), arguments.out)
    except UserError as error:
        print(f"ringmill: {error}", file=sys.stderr)
        return USER_EXIT_CODE
    print(f"{num_classes:,} centres in {arguments.out}")
    return 0


def _checkpoint(run: Path) -> Path:
    """The newest checkpoint of the first round of training."""
    settings = load(run)
    if "train" not in settings.fingerprints:
        raise UserError(f"{run} names no artefact of train; freeze it by `ringmill run`")
    folder = Store(settings.store).folder("model", settings.fingerprints["train"])
    found = latest(folder)
    if found is None:
        raise UserError(f"{folder} holds no checkpoint; run the stage train first")
    return found


if __name__ == "__main__":
    sys.exit(main())
